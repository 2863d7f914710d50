//! Arguments: no request makes their reader panic, and every accepted one is within its bounds.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use writ::catalog::{Service, Target};
use writ::token::{List, Value};

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let argument = |name: &str, kind: &str, more: &str| {
        format!("[[route.argument]]\nname = \"{name}\"\nfrom = \"json\"\ntype = \"{kind}\"\n{more}\n")
    };
    let head = "name = \"a\"\nupstream = \"https://a.example\"\n[[route]]\nmethods = [\"POST\"]\npath = \"/{x}\"\naction = \"a\"\nresource = \"{x}\"\nunknown_query = \"note\"\nunknown_body = \"note\"\n";
    let kinds = ["integer", "decimal", "string", "boolean", "time", "email", "url"];
    let single = kinds.map(|kind| argument(kind, kind, "loggable = true")).concat();
    let several = kinds.map(|kind| argument(&format!("{kind}s"), kind, "list = \"array\"")).concat();
    let deep = argument("to", "string", "key = \"/to/*/a\"\nlist = \"array\"\nloggable = true");
    Service::from_toml(&format!("{head}{single}{several}{deep}")).expect("a service")
});

fuzz_target!(|data: (&str, &str)| {
    let (target, body) = data;
    let Ok(target) = Target::parse(target) else { return };
    let Ok(found) = SERVICE.route("POST", &target) else { return };
    let Ok(content) = found.body_rule().expect("the route reads its body").parse(body.as_bytes()) else { return };
    let Ok(asked) = found.ask(&Default::default(), content.as_ref()) else { return };
    assert_eq!(asked.operations.count(), asked.shown.len());
    for argument in &asked.operations.first().arguments {
        match &argument.value {
            Value::List(list) => assert!(list.items().len() <= List::ITEMS_MAX),
            Value::Integer(number) => assert!(number.unsigned_abs() < 1 << 53),
            Value::String(text) => assert!(text.len() <= 4096),
            Value::Boolean(_) | Value::Decimal(_) | Value::Time(_) => {}
        }
    }
});
