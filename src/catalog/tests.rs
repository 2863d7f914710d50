//! A service from its file to an operation, as the edge goes about it.

mod agreement;
mod arguments;
mod bodies;

use http::HeaderMap;

use super::*;
use crate::token::{Argument, Operation, Value};

/// The example of `spec/catalog.md`.
const SPEC: &str = include_str!("../../spec/catalog.md");

fn service() -> Service {
    let file = SPEC.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    Service::from_toml(file).unwrap()
}

fn operation(method: &str, target: &str, body: Option<&str>) -> Result<Operation, &'static str> {
    let service = service();
    let target = Target::parse(target).map_err(|error| error.code())?;
    let found = service.route(method, &target).map_err(|error| error.code())?;
    let content = match (found.body_rule(), body) {
        (Some(rule), Some(text)) => rule.parse(text.as_bytes()).map_err(|error| error.code())?,
        _ => None,
    };
    let asked = found.ask(&HeaderMap::new(), content.as_ref()).map_err(|error| error.code())?;
    assert_eq!(asked.operations.count(), 1);
    Ok(asked.operations.first().clone())
}

fn arguments(operation: Result<Operation, &'static str>) -> Result<Vec<(String, Value)>, &'static str> {
    Ok(operation?.arguments.into_iter().map(|argument| (argument.name.to_string(), argument.value)).collect())
}

#[test]
fn a_request_becomes_an_operation() {
    let read = operation("GET", "/calendars/team%20a/events/2026/x", None).unwrap();
    assert_eq!(read.needed().to_string(), "notes:events/read:calendars/team%20a/2026/x");
    assert_eq!(read.method, "GET".into());
    assert_eq!(read.arguments, [Argument { name: "calendar".into(), value: Value::String("team a".into()) }]);

    let body = r#"{"order": {"amount": 5}, "title": "a\u0062"}"#;
    let write = operation("PUT", "/calendars/team/events/", Some(body));
    assert_eq!(write.as_ref().unwrap().needed().to_string(), "notes:events/write:calendars/team");
    let expected = [("amount", Value::Integer(5)), ("title", Value::String("ab".into()))];
    assert_eq!(arguments(write), Ok(expected.map(|(name, value)| (name.to_owned(), value)).to_vec()));
}

#[test]
fn what_has_no_route_is_denied() {
    assert_eq!(operation("GET", "/", None), Err("no_route"));
    assert_eq!(operation("GET", "/notes/1", None), Err("no_route"));
    assert_eq!(operation("GET", "/NOTES", None), Err("no_route"));
    assert_eq!(operation("GET", "/calendars/a/events/", None), Err("method_not_allowed"));
    assert_eq!(operation("DELETE", "/notes", None), Err("method_not_allowed"));
    assert_eq!(operation("get", "/notes", None), Err("method_not_allowed"));
    let target = Target::parse("/calendars/a/events").unwrap();
    let allowed = vec!["POST".into(), "PUT".into()];
    assert_eq!(service().route("DELETE", &target).err(), Some(NoRoute::Method { allowed }));
}

#[test]
fn head_is_allowed_where_get_is_and_keeps_its_name() {
    let head = operation("HEAD", "/notes", None).unwrap();
    assert_eq!((&*head.method, head.action.as_str()), ("HEAD", "notes/read"));
    assert_eq!(operation("HEAD", "/calendars/a/events", None), Err("method_not_allowed"));
}

#[test]
fn a_catalog_has_one_service_of_a_name() {
    let listed = || Listed { tenant: "acme".parse().unwrap(), service: service() };
    let catalog = Catalog::new([listed()]).unwrap();
    assert_eq!(catalog.service(&"notes".parse().unwrap()).unwrap().tenant.as_str(), "acme");
    assert_eq!(catalog.service(&"other".parse().unwrap()).err(), Some(NoRoute::Service));
    assert_eq!(catalog.at_origin(&"https://api.notes.example".parse().unwrap()).count(), 1);
    assert_eq!(catalog.at_origin(&"http://127.0.0.1:8081".parse().unwrap()).count(), 0);
    assert_eq!(Catalog::new([listed(), listed()]).unwrap_err().code(), "service_duplicate");
}

#[test]
fn a_service_has_the_same_form_in_toml_and_json() {
    let service = service();
    assert_eq!(Service::from_toml(&service.to_toml()), Ok(service.clone()));
    let json = serde_json::to_string(&service).unwrap();
    assert_eq!(serde_json::from_str::<Service>(&json).unwrap(), service);
    let broken = json.replace("events/read", "events read");
    assert!(serde_json::from_str::<Service>(&broken).unwrap_err().to_string().contains("`action`"));
}

fn limit(query: &str) -> Result<Option<Value>, &'static str> {
    let arguments = arguments(operation("GET", &format!("/notes?{query}"), None))?;
    Ok(arguments.into_iter().find(|(name, _)| name == "limit").map(|(_, value)| value))
}

fn amount(json: &str) -> Result<Value, &'static str> {
    let body = format!("{{\"order\":{{\"amount\":{json}}}}}");
    Ok(arguments(operation("POST", "/calendars/a/events", Some(&body)))?.remove(0).1)
}

#[test]
fn an_integer_is_exact_or_refused() {
    for (text, value) in [
        ("0", 0),
        ("-5", -5),
        ("9007199254740991", 9_007_199_254_740_991),
        ("-9007199254740991", -9_007_199_254_740_991),
    ] {
        assert_eq!(amount(text), Ok(Value::Integer(value)));
        assert_eq!(limit(&format!("limit={text}")), Ok(Some(Value::Integer(value))));
    }
    for text in [
        "1.0",
        "1e2",
        "1E2",
        "-0",
        "9007199254740992",
        "-9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "0.5",
    ] {
        assert_eq!(amount(text), Err("argument_type"), "{text}");
        assert_eq!(limit(&format!("limit={text}")), Err("argument_type"), "{text}");
    }
    for text in ["\"100\"", "true", "null", "[]", "[1]", "{}", "\"\""] {
        assert_eq!(amount(text), Err("argument_type"), "{text}");
    }
    for text in ["", "+1", "%2B1", "01", "1%20", "%201", "0x10", "1_0", "true", "NaN", "%EF%BC%91"] {
        assert_eq!(limit(&format!("limit={text}")), Err("argument_type"), "{text}");
    }
    assert_eq!(limit("limit"), Err("argument_type"));
}

#[test]
fn other_types_are_not_coerced_either() {
    let post = |members: &str| {
        arguments(operation("POST", "/calendars/a/events", Some(&format!("{{\"order\":{{\"amount\":1}},{members}}}"))))
            .map(|arguments| arguments.into_iter().nth(1).map(|(_, value)| value))
    };
    assert_eq!(post("\"urgent\":true"), Ok(Some(Value::Boolean(true))));
    assert_eq!(post("\"title\":\"\""), Ok(Some(Value::String("".into()))));
    assert_eq!(post("\"other\":1"), Ok(None));
    for members in ["\"urgent\":1", "\"urgent\":\"true\"", "\"urgent\":null", "\"title\":1", "\"title\":[\"a\"]"] {
        assert_eq!(post(members), Err("argument_type"), "{members}");
    }
}

#[test]
fn an_absent_argument_is_absent_and_an_empty_one_is_empty() {
    assert_eq!(limit(""), Ok(None));
    assert_eq!(limit("other=1"), Ok(None));
    let tag = |query: &str| arguments(operation("GET", &format!("/notes?{query}"), None));
    let is = |value: &str| Ok(vec![("tag".to_owned(), Value::String(value.into()))]);
    assert_eq!(tag("label="), is(""));
    assert_eq!(tag("label"), is(""));
    assert_eq!(tag("label=a+b%2Bc%20d"), is("a b+c d"));
    assert_eq!(tag("tag=a"), Ok(vec![]));
}

#[test]
fn a_required_argument_must_be_there() {
    for body in [None, Some("{}"), Some("{\"order\":{}}"), Some("{\"order\":1}"), Some("[]"), Some("1")] {
        assert_eq!(operation("POST", "/calendars/a/events", body).err(), Some("argument_missing"), "{body:?}");
    }
}

#[test]
fn an_argument_that_another_parser_could_read_otherwise_is_refused() {
    assert_eq!(limit("limit=1&limit=1"), Err("argument_repeated"));
    assert_eq!(limit("limit=1&%6cimit=2"), Err("argument_repeated"));
    for query in ["limit=1&LIMIT=2", "Limit=2", "limit[]=1", "limit%5B%5D=1", "limit=1&limit[0]=2", "LIMIT[a][b]=1"] {
        assert_eq!(limit(query), Err("argument_ambiguous"), "{query}");
    }
    assert_eq!(limit("limits=1&lim=2&other[limit]=3&limit=4&b=1&b=2"), Ok(Some(Value::Integer(4))));
    for body in [
        r#"{"order":{"amount":1,"Amount":2}}"#,
        r#"{"order":{"amount":1},"Order":{"amount":2}}"#,
        r#"{"order":{"amount":1},"TITLE":"x"}"#,
    ] {
        assert_eq!(operation("POST", "/calendars/a/events", Some(body)).err(), Some("argument_ambiguous"), "{body}");
    }
    let twice = r#"{"order":{"amount":1,"amount":2}}"#;
    assert_eq!(operation("POST", "/calendars/a/events", Some(twice)).err(), Some("body_duplicate_key"));
}

#[test]
fn sizes_are_bounded() {
    let body = |title: usize| format!("{{\"order\":{{\"amount\":1}},\"title\":\"{}\"}}", "a".repeat(title));
    assert_eq!(operation("POST", "/calendars/a/events", Some(&body(1000))).err(), Some("body_too_long"));
    let long = |bytes: usize| operation("GET", &format!("/notes?label={}", "a".repeat(bytes)), None);
    assert!(long(4096).is_ok());
    assert_eq!(long(4097).err(), Some("argument_too_long"));
    assert_eq!(
        operation("GET", &format!("/calendars/{}/events/x", "a".repeat(129)), None).err(),
        Some("resource_invalid")
    );
    assert_eq!(
        operation("GET", &format!("/calendars/a/events{}", "/a".repeat(15)), None).err(),
        Some("resource_invalid")
    );
    assert!(operation("GET", &format!("/calendars/a/events{}", "/a".repeat(14)), None).is_ok());
}

#[test]
fn only_what_the_route_marks_is_logged_and_long_text_is_cut() {
    let service = service();
    let target = Target::parse("/calendars/a/events").unwrap();
    let found = service.route("POST", &target).unwrap();
    let text = format!("{{\"order\":{{\"amount\":1}},\"urgent\":true,\"title\":\"{}\"}}", "é".repeat(400));
    let content = found.body_rule().unwrap().parse(text.as_bytes()).unwrap();
    let logged = found.ask(&HeaderMap::new(), content.as_ref()).unwrap().shown[0].arguments.clone();
    let expected = [
        Argument { name: "amount".into(), value: Value::Integer(1) },
        Argument { name: "title".into(), value: Value::String(format!("{}…", "é".repeat(256)).into()) },
    ];
    assert_eq!(logged, expected);
}

#[test]
fn double_encoding_is_the_same_literal_for_policy_and_upstream() {
    let read = operation("GET", "/calendars/%252e%252e/events/x", None).unwrap();
    assert_eq!(read.resource.as_str(), "calendars/%252e%252e/x");
    assert_eq!(operation("GET", "/calendars/a/events/%2e%2e/x", None), Err("path_dot_segment"));
    let target = Target::parse("/calendars/%252e%252e/events/x").unwrap();
    assert_eq!(service().upstream().path_and_query(&target), "/v1/calendars/%252e%252e/events/x");
}

#[test]
fn the_specification_names_every_code() {
    let codes = [
        NoRoute::Service.code(),
        NoRoute::Path.code(),
        NoRoute::Method { allowed: vec![] }.code(),
        BadArgument::Missing("".into()).code(),
        BadArgument::Repeated("".into()).code(),
        BadArgument::Ambiguous("".into()).code(),
        BadArgument::Type("".into(), argument::Expected(Kind::String, None)).code(),
        BadArgument::Unknown("", argument::Named::of("")).code(),
        BadArgument::UnknownCall("", argument::Named::of("")).code(),
        BadArgument::TooMuch.code(),
        BadArgument::TooLong("".into()).code(),
        BadArgument::Mcp("").code(),
        BadArgument::Resource.code(),
        BadBody::ContentType(BodyKind::Json).code(),
        BadBody::ContentEncoding.code(),
        BadBody::TooLong(0).code(),
        BadBody::TooDeep.code(),
        BadBody::Syntax(0).code(),
        BadBody::DuplicateKey(0).code(),
        BadBody::Form("").code(),
        BadBody::Rpc("").code(),
        BadBody::Graphql("").code(),
        BadBody::TooMany.code(),
        Ambiguous::Form.code(),
        Ambiguous::PathTooLong.code(),
        Ambiguous::QueryTooLong.code(),
        Ambiguous::Character.code(),
        Ambiguous::Escape.code(),
        Ambiguous::Utf8.code(),
        Ambiguous::Control.code(),
        Ambiguous::Separator.code(),
        Ambiguous::DotSegment.code(),
        Ambiguous::EmptySegment.code(),
        Ambiguous::EmptyKey.code(),
        "service_malformed",
        "service_invalid",
        "route_ambiguous",
        "service_duplicate",
    ];
    for code in codes {
        assert!(SPEC.contains(&format!("`{code}`")), "{code}");
    }
}

/// How many random cases a parser-agreement test runs: `PROPTEST_CASES=1000000 cargo test --release --lib catalog::` for a million each.
pub(crate) fn cases() -> u32 {
    proptest::test_runner::Config::default().cases.max(10_000)
}
