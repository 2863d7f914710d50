//! What is authorised is what is forwarded: independent parsers read from the forwarded bytes the very arguments and calls that
//! were authorised.
//!
//! Failure is any difference. A request that is refused shows nothing; most are accepted.

use std::collections::HashMap;

use http::HeaderMap;
use proptest::prelude::*;
use tinyjson::JsonValue;

use crate::catalog::*;
use crate::token::{Operation, Value};

const SERVICE: &str = r#"
name = "mail"
upstream = "https://api.example.com/base"
[[route]]
methods = ["POST"]
path = "/json/{room}"
action = "send"
resource = "{room}"
argument = [
    { name = "room", from = "path", type = "string" },
    { name = "page", from = "query", type = "integer" },
    { name = "ids", from = "query", type = "string", list = "repeated" },
    { name = "to", from = "json", key = "/to/*/email", also = ["/cc"], type = "email", list = "array" },
    { name = "tags", from = "json", type = "string", list = "array" },
    { name = "price", from = "json", type = "decimal" },
    { name = "count", from = "json", key = "/order/count", type = "integer" },
    { name = "urgent", from = "json", type = "boolean" },
]
[[route]]
methods = ["POST"]
path = "/form"
action = "form"
resource = "/"
argument = [
    { name = "amount", from = "form", type = "integer" },
    { name = "to", from = "form", key = "to[]", type = "string", list = "repeated" },
]
[[route]]
methods = ["POST"]
path = "/rpc"
body = "json-rpc"
[[route.call]]
method = "run"
action = "run"
resource = "{tool}"
argument = [{ name = "tool", from = "json", type = "string", required = true }]
[[route.call]]
action = "other"
resource = "/"
"#;

/// What is authorised, and the URL and body that are forwarded.
fn sent(target: &str, body: &str) -> Option<(Vec<Operation>, url::Url, Vec<u8>)> {
    thread_local!(static SERVICE_READ: Service = Service::from_toml(SERVICE).unwrap());
    SERVICE_READ.with(|service| {
        let target = Target::parse(target).ok()?;
        let found = service.route("POST", &target).ok()?;
        let content = found.body_rule().unwrap().parse(body.as_bytes()).ok()?;
        let asked = found.ask(&HeaderMap::new(), content.as_ref()).ok()?;
        let url = format!("https://api.example.com{}", service.upstream().path_and_query(&target));
        let forwarded = content.map(|content| content.to_bytes()).unwrap_or_default();
        Some((asked.operations.iter().cloned().collect(), url::Url::parse(&url).unwrap(), forwarded))
    })
}

fn texts(values: impl IntoIterator<Item = String>) -> Option<Value> {
    let values: Vec<Value> = values.into_iter().map(|text| Value::String(text.into())).collect();
    Some(Value::List(crate::token::List::new(values).unwrap()))
}

fn member<'a>(value: &'a JsonValue, key: &str) -> Option<&'a JsonValue> {
    value.get::<HashMap<String, JsonValue>>()?.get(key)
}

fn array(value: &JsonValue) -> &Vec<JsonValue> {
    value.get::<Vec<JsonValue>>().unwrap()
}

fn lowered(address: &JsonValue) -> String {
    let (local, domain) = address.get::<String>().unwrap().split_once('@').unwrap();
    format!("{local}@{}", domain.to_lowercase())
}

/// The arguments of `/json/{room}` as other parsers read them from what is forwarded.
fn read_elsewhere(url: &url::Url, body: &[u8]) -> Vec<(&'static str, Value)> {
    let body: JsonValue = std::str::from_utf8(body).unwrap().parse().unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let all =
        |key: &str| pairs.iter().filter(|(own, _)| own == key).map(|(_, value)| value.clone()).collect::<Vec<_>>();
    let room =
        percent_encoding::percent_decode_str(url.path_segments().unwrap().nth(2).unwrap()).decode_utf8().unwrap();
    let ids = all("ids");
    let mut to: Vec<String> = Vec::new();
    let lists = [member(&body, "to"), member(&body, "cc")];
    to.extend(lists[0].into_iter().flat_map(array).map(|entry| lowered(member(entry, "email").unwrap())));
    to.extend(lists[1].into_iter().flat_map(array).map(lowered));
    let price = member(&body, "price").map(|price| match price {
        JsonValue::Number(number) => *number,
        other => other.get::<String>().unwrap().parse().unwrap(),
    });
    let count = member(&body, "order").and_then(|order| member(order, "count")).and_then(|count| count.get::<f64>());
    let exact = |number: f64| number.round() as i64;
    // By its shortest text: multiplied, a number of 15 digits is no longer exact.
    let scaled = |number: f64| {
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        format!("{whole}{fraction:0<4}").parse::<i64>().unwrap()
    };
    [
        ("room", Some(Value::String(room.into()))),
        ("page", all("page").first().map(|page| Value::Integer(page.parse().unwrap()))),
        ("ids", texts(ids).filter(|ids| *ids != texts([]).unwrap())),
        ("to", texts(to).filter(|_| lists.iter().any(Option::is_some))),
        (
            "tags",
            member(&body, "tags")
                .and_then(|tags| texts(array(tags).iter().map(|tag| tag.get::<String>().unwrap().clone()))),
        ),
        ("price", price.map(|price| Value::Decimal(crate::token::Decimal::from_scaled(scaled(price))))),
        ("count", count.map(|count| Value::Integer(exact(*count)))),
        ("urgent", member(&body, "urgent").map(|urgent| Value::Boolean(*urgent.get::<bool>().unwrap()))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

fn any_address() -> impl Strategy<Value = String> {
    prop_oneof![8 => "\"[a-c.+]{1,3}@[a-cA-C]{1,2}\\.(example|COM)\"", 1 => "\"[a-c]{0,2}\"", 1 => Just("null".to_owned())]
}

fn any_body() -> impl Strategy<Value = String> {
    let list = |item: BoxedStrategy<String>| {
        proptest::collection::vec(item, 0..3).prop_map(|items| format!("[{}]", items.join(", "))).boxed()
    };
    let entry = any_address().prop_map(|address| format!("{{\"name\": \"x\", \"email\": {address}}}")).boxed();
    let members = prop_oneof![
        list(entry).prop_map(|list| format!("\"to\": {list}")),
        list(any_address().boxed()).prop_map(|list| format!("\"cc\": {list}")),
        list("\"([a-c]|\\\\u0061|\\\\n|é|\\\\ud83d\\\\ude00){0,3}\"".boxed())
            .prop_map(|list| format!("\"t\\u0061gs\": {list}")),
        "\"?-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,5})?\"?".prop_map(|price| format!("\"price\" : {price}")),
        "-?(0|[1-9][0-9]{0,16})".prop_map(|count| format!("\"order\": {{\"count\": {count}, \"x\": [1]}}")),
        any::<bool>().prop_map(|urgent| format!("\"urgent\":{urgent}")),
        Just("\"other\": {\"to\": [1e400]}".to_owned()),
    ];
    proptest::collection::vec(members, 0..6).prop_map(|members| format!("{{ {} }}", members.join(" ,\n")))
}

fn any_query() -> impl Strategy<Value = String> {
    let pair = prop_oneof!["page=-?[0-9]{1,3}", "ids=([a-c+]|%20|%2B|%C3%A9){0,3}", "%69ds=x", "x=[a-z]", "ID=1"];
    proptest::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::cases()))]

    #[test]
    fn arguments_are_what_other_parsers_read(room in "([a-c+]|%20|%25|%C3%A9){1,3}", query in any_query(), body in any_body()) {
        let Some((operations, url, forwarded)) = sent(&format!("/json/{room}?{query}"), &body) else { return Ok(()) };
        let authorised: Vec<(&str, Value)> =
            operations[0].arguments.iter().map(|argument| (&*argument.name, argument.value.clone())).collect();
        prop_assert_eq!(authorised, read_elsewhere(&url, &forwarded), "{}", String::from_utf8_lossy(&forwarded));
    }

    #[test]
    fn form_arguments_are_what_other_parsers_read(
        fields in proptest::collection::vec("(amount=-?[0-9]{1,4}|(to%5B%5D|to\\[\\])=([a-c+]|%26|%3D|%C3%A9|%0A){0,3}|x=[a-z+]?)", 0..5),
    ) {
        let Some((operations, _, forwarded)) = sent("/form", &fields.join("&")) else { return Ok(()) };
        let read: Vec<(String, String)> = url::form_urlencoded::parse(&forwarded).into_owned().collect();
        let all = |key: &str| read.iter().filter(|(own, _)| own == key).map(|(_, value)| value.clone()).collect::<Vec<_>>();
        let amount = all("amount").first().map(|amount| Value::Integer(amount.parse().unwrap()));
        let expected: Vec<Value> = amount.into_iter().chain(texts(all("to[]")).filter(|to| *to != texts([]).unwrap())).collect();
        let authorised: Vec<Value> = operations[0].arguments.iter().map(|argument| argument.value.clone()).collect();
        prop_assert_eq!(authorised, expected);
    }

    #[test]
    fn the_calls_of_a_batch_are_what_another_parser_reads(
        calls in proptest::collection::vec(("(run|r\\\\u0075n|Run|stop)", "([a-c.é]|\\\\u002f|\\\\\\\\){1,3}", proptest::option::of(0u8..20)), 1..5),
        batch: bool,
    ) {
        let call = |(method, tool, id): &(String, String, Option<u8>)| {
            let id = id.map(|id| format!("\"id\" : {id}, ")).unwrap_or_default();
            format!("{{ {id}\"params\": {{\"tool\": \"{tool}\"}}, \"method\": \"{method}\", \"jsonrpc\": \"2.0\" }}")
        };
        let texts: Vec<String> = calls.iter().map(call).collect();
        let body = if batch { format!("[ {} ]", texts.join(", ")) } else { texts[0].clone() };
        let Some((operations, _, forwarded)) = sent("/rpc", &body) else { return Ok(()) };
        let read: JsonValue = std::str::from_utf8(&forwarded).unwrap().parse().unwrap();
        let read = match read {
            JsonValue::Array(calls) => calls,
            call => vec![call],
        };
        let read: Vec<(String, Option<String>)> = read.iter().map(|call| {
            let text = |value: &JsonValue| value.get::<String>().unwrap().clone();
            let is_run = text(member(call, "method").unwrap()) == "run";
            let tool = text(member(member(call, "params").unwrap(), "tool").unwrap());
            (if is_run { "run" } else { "other" }.to_owned(), is_run.then_some(tool))
        }).collect();
        let authorised: Vec<(String, Option<String>)> = operations.iter().map(|operation| {
            let tool = operation.resource.segments().next().map(|segment| {
                percent_encoding::percent_decode_str(segment).decode_utf8().unwrap().into_owned()
            });
            (operation.action.to_string(), tool)
        }).collect();
        prop_assert_eq!(authorised, read);
    }
}

#[test]
fn most_random_requests_are_accepted() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut draw = || {
        let body = any_body().new_tree(&mut runner).unwrap().current();
        let query = any_query().new_tree(&mut runner).unwrap().current();
        sent(&format!("/json/a?{query}"), &body).is_some_and(|(operations, ..)| operations[0].arguments.len() > 1)
    };
    let accepted = (0..500).filter(|_| draw()).count();
    assert!(accepted >= 100, "{accepted} of 500 are accepted with arguments: the property would prove little");
}
