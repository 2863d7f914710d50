//! Typed arguments from every part of a request, lists of them, and what no argument reads.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::catalog::*;
use crate::token::{Decimal, Value};

/// A route `POST /send/{room}` with these arguments and settings.
pub(super) fn service(settings: &str, arguments: &[&str]) -> Service {
    let arguments: String = arguments.iter().map(|lines| format!("[[route.argument]]\n{lines}\n")).collect();
    let text = format!(
        "name = \"mail\"\nupstream = \"https://api.example.com\"\n[[route]]\nmethods = [\"POST\"]\npath = \"/send/{{room}}\"\n\
         action = \"send\"\nresource = \"{{room}}\"\n{settings}\n{arguments}"
    );
    Service::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) struct Sent<'a> {
    pub(super) target: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a str,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self { target: "/send/r", headers: &[], body: "" }
    }
}

pub(super) fn asked(service: &Service, sent: &Sent<'_>) -> Result<Asked, String> {
    let target = Target::parse(sent.target).map_err(|error| error.code().to_owned())?;
    let found = service.route("POST", &target).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in sent.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let content = match found.body_rule() {
        Some(rule) => rule.parse(sent.body.as_bytes()).map_err(|error| error.code().to_owned())?,
        None => None,
    };
    found.ask(&headers, content.as_ref()).map_err(|error| match error {
        BadArgument::Unknown(..) | BadArgument::UnknownCall(..) => format!("{}: {error}", error.code()),
        error => error.code().to_owned(),
    })
}

/// The value of the first argument.
fn value(service: &Service, sent: &Sent<'_>) -> Result<Option<Value>, String> {
    let asked = asked(service, sent)?;
    Ok(asked.operations.first().arguments.first().map(|argument| argument.value.clone()))
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn list(values: &[Value]) -> Value {
    Value::List(crate::token::List::new(values.to_vec()).unwrap())
}

fn body(service: &Service, body: &str) -> Result<Option<Value>, String> {
    value(service, &Sent { body, ..Sent::default() })
}

fn query(service: &Service, query: &str) -> Result<Option<Value>, String> {
    value(service, &Sent { target: &format!("/send/r?{query}"), ..Sent::default() })
}

fn wrong<T>() -> Result<T, String> {
    Err("argument_type".to_owned())
}

#[test]
fn a_decimal_is_a_number_or_a_text_of_digits() {
    let json = service("", &["name = \"price\"\nfrom = \"json\"\ntype = \"decimal\""]);
    for (sent, scaled) in [
        ("12.50", 125_000),
        ("\"12.50\"", 125_000),
        ("-3", -30_000),
        ("0.0001", 1),
        ("99999999999.9999", 999_999_999_999_999),
    ] {
        let expected = Value::Decimal(Decimal::from_scaled(scaled));
        assert_eq!(body(&json, &format!("{{\"price\":{sent}}}")), Ok(Some(expected)), "{sent}");
    }
    for sent in [
        "1e2",
        "1.00000",
        "\"1e2\"",
        "\"\"",
        "\" 1\"",
        "-0",
        "-0.00",
        "true",
        "null",
        "[1]",
        "{}",
        "1234567890123456",
        "0.12345",
        "\"NaN\"",
    ] {
        assert_eq!(body(&json, &format!("{{\"price\":{sent}}}")), wrong(), "{sent}");
    }
    let text = service("", &["name = \"price\"\nfrom = \"query\"\ntype = \"decimal\""]);
    assert_eq!(query(&text, "price=12.5"), Ok(Some(Value::Decimal(Decimal::from_scaled(125_000)))));
    assert_eq!(query(&text, "price=12,5"), wrong());
}

#[test]
fn times_addresses_and_urls_are_read_in_one_spelling() {
    let of = |kind: &str| service("", &[&format!("name = \"x\"\nfrom = \"json\"\ntype = \"{kind}\"")]);
    let time = body(&of("time"), r#"{"x":"2026-12-01T10:00:00+01:00"}"#).unwrap().unwrap();
    assert_eq!(serde_json::to_string(&time).unwrap(), r#"{"time":"2026-12-01T09:00:00Z"}"#);
    assert_eq!(body(&of("email"), r#"{"x":"Team@Example.COM"}"#), Ok(Some(text("Team@example.com"))));
    assert_eq!(body(&of("url"), r#"{"x":"https://Example.com"}"#), Ok(Some(text("https://example.com/"))));
    for (kind, sent) in [
        ("time", "1795000000"),
        ("time", "\"2026-12-01\""),
        ("email", "\"Team <team@example.com>\""),
        ("email", "[\"team@example.com\"]"),
        ("email", "null"),
        ("url", "\"https://user@example.com/\""),
        ("url", "\"/relative\""),
        ("boolean", "\"true\""),
        ("integer", "9007199254740992"),
    ] {
        assert_eq!(body(&of(kind), &format!("{{\"x\":{sent}}}")), wrong(), "{kind} {sent}");
    }
}

#[test]
fn a_list_holds_every_value_and_none_that_is_odd() {
    let to = service("", &["name = \"to\"\nfrom = \"json\"\ntype = \"email\"\nlist = \"array\""]);
    let both = list(&[text("a@b.example"), text("c@d.example")]);
    assert_eq!(body(&to, r#"{"to":["a@b.example","c@D.example"]}"#), Ok(Some(both.clone())));
    assert_eq!(body(&to, r#"{"to":[]}"#), Ok(Some(list(&[]))));
    assert_eq!(body(&to, "{}"), Ok(None));
    for sent in [
        "\"a@b.example\"",
        "[\"a@b.example\",null]",
        "[\"a@b.example\",1]",
        "[[\"a@b.example\"]]",
        "null",
        "{}",
        "[\"x\"]",
    ] {
        assert_eq!(body(&to, &format!("{{\"to\":{sent}}}")), wrong(), "{sent}");
    }
    let many = |count: usize| format!("{{\"to\":[{}]}}", vec!["\"a@b.example\""; count].join(","));
    assert!(body(&to, &many(256)).is_ok());
    assert_eq!(body(&to, &many(257)), Err("argument_too_long".to_owned()));

    let every = "name = \"to\"\nfrom = \"json\"\nkey = \"/to/*/email\"\nalso = [\"/cc/*/email\", \"/bcc\"]\ntype = \"email\"\nlist = \"array\"";
    let every = service("", &[every]);
    let sent = r#"{"to":[{"email":"a@b.example"}],"bcc":["c@d.example"]}"#;
    assert_eq!(body(&every, sent), Ok(Some(both.clone())));
    for sent in [
        r#"{"to":[{"email":"a@b.example"},{"name":"x"}]}"#,
        r#"{"to":[],"cc":"x"}"#,
        r#"{"to":[],"bcc":[{"email":"a@b.example"}]}"#,
    ] {
        assert_eq!(body(&every, sent), wrong(), "{sent}");
    }
    assert_eq!(
        body(&every, r#"{"to":[{"email":"a@b.example","Email":"x@y.example"}]}"#),
        Err("argument_ambiguous".to_owned())
    );

    let repeated =
        service("", &["name = \"to\"\nfrom = \"query\"\nkey = \"to[]\"\ntype = \"email\"\nlist = \"repeated\""]);
    assert_eq!(query(&repeated, "to[]=a@b.example&x=1&to%5B%5D=c@d.example"), Ok(Some(both.clone())));
    assert_eq!(query(&repeated, "to[]=a@b.example&to=c@d.example"), Err("argument_ambiguous".to_owned()));
    assert_eq!(query(&repeated, "to[]=a@b.example&to[1]=c@d.example"), Err("argument_ambiguous".to_owned()));
    assert_eq!(query(&repeated, "to[]="), wrong());

    let commas = service("", &["name = \"to\"\nfrom = \"query\"\ntype = \"email\"\nlist = \"commas\""]);
    assert_eq!(query(&commas, "to=a@b.example,%20c@d.example"), Ok(Some(both)));
    assert_eq!(query(&commas, "to=a@b.example&to=c@d.example"), Err("argument_repeated".to_owned()));
    for sent in ["to=", "to=,", "to=a@b.example,", "to=a@b.example,,c@d.example", "to=a@b.example;c@d.example"] {
        assert_eq!(query(&commas, sent), wrong(), "{sent}");
    }
}

#[test]
fn a_header_counts_once_and_only_where_it_reaches_the_service() {
    let header = service("", &["name = \"priority\"\nfrom = \"header\"\nkey = \"X-Priority\"\ntype = \"integer\""]);
    let sent = |headers: &[(&'static str, &str)]| value(&header, &Sent { headers, ..Sent::default() });
    assert_eq!(sent(&[("x-priority", "1")]), Ok(Some(Value::Integer(1))));
    assert_eq!(sent(&[]), Ok(None));
    assert_eq!(sent(&[("x-priority", "1"), ("x-priority", "1")]), Err("argument_repeated".to_owned()));
    assert_eq!(sent(&[("x-priority", "1"), ("connection", "close, X-Priority")]), Err("argument_ambiguous".to_owned()));
    for value in ["1.0", "1, 2", "", "é", "\"1\""] {
        assert_eq!(sent(&[("x-priority", value)]), wrong(), "{value}");
    }
    let list =
        service("", &["name = \"tags\"\nfrom = \"header\"\nkey = \"x-tags\"\ntype = \"string\"\nlist = \"commas\""]);
    let tags = value(&list, &Sent { headers: &[("x-tags", "a, b")], ..Sent::default() });
    assert_eq!(tags, Ok(Some(super::arguments::list(&[text("a"), text("b")]))));
}

#[test]
fn a_form_gives_arguments_as_a_query_does() {
    let form = service("", &["name = \"amount\"\nfrom = \"form\"\ntype = \"integer\""]);
    assert_eq!(body(&form, "amount=500&note=a+b"), Ok(Some(Value::Integer(500))));
    assert_eq!(body(&form, ""), Ok(None));
    assert_eq!(body(&form, "amount=1&amount=2"), Err("argument_repeated".to_owned()));
    for sent in ["amount=1&Amount=2", "amount[]=1", "amount%5B%5D=1", "amount=1&amount[x]=2"] {
        assert_eq!(body(&form, sent), Err("argument_ambiguous".to_owned()), "{sent}");
    }
    assert_eq!(body(&form, "amount=1;amount=2"), Err("body_form".to_owned()));
    assert_eq!(body(&form, "{\"amount\":1}"), Err("body_form".to_owned()));
}

#[test]
fn the_same_key_in_query_and_body_is_refused() {
    let both = |service: &Service, target: &str, body: &str| value(service, &Sent { target, body, ..Sent::default() });
    let ambiguous = Err("argument_ambiguous".to_owned());
    let form = service("", &["name = \"amount\"\nfrom = \"form\"\ntype = \"integer\""]);
    assert_eq!(both(&form, "/send/r?amount=5", "amount=1"), ambiguous);
    assert_eq!(both(&form, "/send/r?Amount[]=5", "amount=1"), ambiguous);
    assert_eq!(both(&form, "/send/r?other=5", "amount=1"), Ok(Some(Value::Integer(1))));
    let json = service("", &["name = \"amount\"\nfrom = \"json\"\nkey = \"/order/amount\"\ntype = \"integer\""]);
    assert_eq!(both(&json, "/send/r?order=5", r#"{"order":{"amount":1}}"#), ambiguous);
    assert_eq!(both(&json, "/send/r?amount=5", r#"{"order":{"amount":1}}"#), Ok(Some(Value::Integer(1))));
    let url = service("body = \"json\"", &["name = \"amount\"\nfrom = \"query\"\ntype = \"integer\""]);
    assert_eq!(both(&url, "/send/r?amount=5", r#"{"Amount":1}"#), ambiguous);
    assert_eq!(both(&url, "/send/r?amount=5", r#"{"other":1}"#), Ok(Some(Value::Integer(5))));
    let two = [
        "name = \"a\"\nfrom = \"query\"\ntype = \"integer\"",
        "name = \"b\"\nfrom = \"json\"\nkey = \"/a\"\ntype = \"integer\"",
    ];
    assert_eq!(both(&service("", &two), "/send/r?a=5", r#"{"a":1}"#), Ok(Some(Value::Integer(5))));
}

#[test]
fn a_closed_route_takes_what_its_arguments_read_and_nothing_else() {
    let arguments = [
        "name = \"page\"\nfrom = \"query\"\ntype = \"integer\"",
        "name = \"to\"\nfrom = \"json\"\nkey = \"/mail/to/*/email\"\ntype = \"email\"\nlist = \"array\"",
        "name = \"title\"\nfrom = \"json\"\ntype = \"string\"",
    ];
    let closed = service("closed = true", &arguments);
    let sent = |target: &str, body: &str| asked(&closed, &Sent { target, body, ..Sent::default() }).map(|_| ());
    let good = r#"{"title":"x","mail":{"to":[{"email":"a@b.example"}]}}"#;
    assert_eq!(sent("/send/r?page=1", good), Ok(()));
    for (target, body, name) in [
        ("/send/r?page=1&debug=1", good, "query parameter `debug`"),
        ("/send/r", r#"{"title":"x","admin":true}"#, "member `/admin`"),
        ("/send/r", r#"{"mail":{"to":[],"bcc":[]}}"#, "member `/mail/bcc`"),
        ("/send/r", r#"{"mail":{"to":[{"email":"a@b.example","name":"x"}]}}"#, "member `/mail/to/0/name`"),
        ("/send/r", r#"{"mail":1}"#, "member `/mail`"),
        ("/send/r", r#"{"mail":null}"#, "member `/mail`"),
        ("/send/r", "1", "member `/`"),
        ("/send/r", "[{}]", "member `/0`"),
        ("/send/r", "{\"a\\nb\":1}", "member of a name that it sent"),
    ] {
        assert_eq!(
            sent(target, body),
            Err(format!("unknown_parameter: this route takes no {name}")),
            "{target} {body}"
        );
    }
    let form = service("unknown_body = \"deny\"", &["name = \"a\"\nfrom = \"form\"\ntype = \"string\""]);
    let sent = |body| asked(&form, &Sent { target: "/send/r?x=1", body, ..Sent::default() }).map(|_| ());
    assert_eq!(sent("a=1"), Ok(()));
    assert_eq!(sent("a=1&b=2"), Err("unknown_parameter: this route takes no form field `b`".to_owned()));
}

#[test]
fn what_a_route_ignores_is_noted_where_it_says_so() {
    let noted = service(
        "unknown_query = \"note\"\nunknown_body = \"note\"",
        &["name = \"title\"\nfrom = \"json\"\ntype = \"string\""],
    );
    let asked =
        asked(&noted, &Sent { target: "/send/r?debug=1", body: r#"{"title":"x","admin":true}"#, ..Sent::default() });
    let notes: Vec<String> = asked.unwrap().shown[0].notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["ignored: the query parameter `debug`", "ignored: the member `/admin`"]);
}

#[test]
fn a_resource_may_name_a_required_argument() {
    let text = "name = \"mail\"\nupstream = \"https://api.example.com\"\n[[route]]\nmethods = [\"POST\"]\npath = \"/send\"\n\
        action = \"send\"\nresource = \"rooms/{room}\"\n[[route.argument]]\nname = \"room\"\nfrom = \"json\"\ntype = \"string\"\n";
    let error = Service::from_toml(text).unwrap_err().to_string();
    assert!(error.contains("`resource`: `{room}` is not captured"), "{error}");
    let service = Service::from_toml(&format!("{text}required = true\n")).unwrap();
    let room = |room: &str| {
        let body = format!("{{\"room\":{}}}", serde_json::to_string(room).unwrap());
        asked(&service, &Sent { target: "/send", body: &body, ..Sent::default() })
            .map(|asked| asked.operations.first().resource.to_string())
    };
    assert_eq!(room("a b"), Ok("rooms/a%20b".to_owned()));
    assert_eq!(room("a/b"), Ok("rooms/a%2Fb".to_owned()));
    assert_eq!(room("%2e"), Ok("rooms/%252e".to_owned()));
    for bad in ["", ".", "..", &"a".repeat(129)] {
        assert_eq!(room(bad), Err("resource_invalid".to_owned()), "{bad}");
    }
    let target = Target::parse("/send").unwrap();
    assert_eq!(service.route("POST", &target).unwrap().needed(), Ok(None));
}

#[test]
fn the_record_shows_bounded_parts_and_says_what_is_missing() {
    let long = service(
        "body_bytes_max = 1000000",
        &["name = \"to\"\nfrom = \"json\"\ntype = \"string\"\nlist = \"array\"\nloggable = true"],
    );
    let values = vec![format!("\"{}\"", "a".repeat(200)); 5].join(",");
    let shown =
        asked(&long, &Sent { body: &format!("{{\"to\":[{values}]}}"), ..Sent::default() }).unwrap().shown[0].clone();
    let Value::List(list) = &shown.arguments[0].value else { panic!("{shown:?}") };
    assert_eq!(list.items().len(), 2);
    assert_eq!(&*shown.notes[0], "the argument `to` is shown to 2 of its 5 values");
    let many: Vec<String> =
        (0..32).map(|i| format!("name = \"a{i}\"\nfrom = \"json\"\ntype = \"string\"\nloggable = true")).collect();
    let many = service("body_bytes_max = 1000000", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let members: Vec<String> = (0..32).map(|i| format!("\"a{i}\":\"{}\"", "\\u0001".repeat(512))).collect();
    let shown = asked(&many, &Sent { body: &format!("{{{}}}", members.join(",")), ..Sent::default() }).unwrap().shown
        [0]
    .clone();
    assert!(serde_json::to_string(&shown.arguments).unwrap().len() <= 12 * 1024);
    assert_eq!(shown.arguments.len() + shown.notes.len(), 32);
    assert!(shown.notes[0].contains("the record is full"), "{}", shown.notes[0]);
}
