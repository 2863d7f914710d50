//! A service from its file to an operation, as the edge goes about it.

use super::*;
use crate::token::{Argument, Operation, Value};

/// The example of `spec/catalog.md`.
const NOTES: &str = r#"
name = "notes"
upstream = "http://127.0.0.1:8081/v1"
allow_private = true
credential = "notes-key"
origins = ["https://api.notes.example"]

[[route]]
methods = ["GET"]
path = "/notes"
action = "notes/read"
resource = "notes"

[[route.argument]]
name = "limit"
from = "query"
type = "integer"
loggable = true

[[route.argument]]
name = "tag"
from = "query"
key = "label"
type = "string"

[[route]]
methods = ["GET"]
path = "/calendars/{calendar}/events/{*event}"
action = "events/read"
resource = "calendars/{calendar}/{*event}"

[[route.argument]]
name = "calendar"
from = "path"
type = "string"

[[route]]
methods = ["POST", "PUT"]
path = "/calendars/{calendar}/events"
action = "events/write"
resource = "calendars/{calendar}"
body_bytes_max = 1000

[[route.argument]]
name = "amount"
from = "json"
key = "/order/amount"
type = "integer"
required = true
loggable = true

[[route.argument]]
name = "urgent"
from = "json"
type = "boolean"

[[route.argument]]
name = "title"
from = "json"
type = "string"
loggable = true
"#;

fn service() -> Service {
    Service::from_toml(NOTES).unwrap()
}

fn operation(method: &str, target: &str, body: Option<&str>) -> Result<Operation, &'static str> {
    let service = service();
    let target = Target::parse(target).map_err(|error| error.code())?;
    let found = service.route(method, &target).map_err(|error| error.code())?;
    let body = match (found.body_rule(), body) {
        (Some(rule), Some(text)) => {
            Some(json::Body::parse(text.as_bytes(), rule.bytes_max).map_err(|error| error.code())?)
        }
        _ => None,
    };
    found.operation(body.as_ref()).map_err(|error| error.code())
}

fn arguments(operation: Result<Operation, &'static str>) -> Result<Vec<(String, Value)>, &'static str> {
    Ok(operation?.arguments.into_iter().map(|argument| (argument.name.into_string(), argument.value)).collect())
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
