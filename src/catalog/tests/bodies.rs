//! Bodies that hold several things: each is an operation, and what has no entry is denied.

use super::arguments::{Sent, asked};
use crate::catalog::*;

const HEAD: &str = "name = \"tools\"\nupstream = \"https://api.example.com\"\n";

fn rpc(more: &str) -> Service {
    let text = format!(
        "{HEAD}[[route]]\nmethods = [\"POST\"]\npath = \"/send/{{room}}\"\nbody = \"json-rpc\"\n{more}\n\
         [[route.call]]\nmethod = \"tools/call\"\naction = \"tools/call\"\nresource = \"{{room}}/{{tool}}\"\n\
         [[route.call.argument]]\nname = \"tool\"\nfrom = \"json\"\nkey = \"/name\"\ntype = \"string\"\nrequired = true\nloggable = true\n\
         [[route.call]]\nmethod = \"tools/list\"\naction = \"tools/read\"\nresource = \"{{room}}\"\n"
    );
    Service::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn needed(service: &Service, target: &str, body: &str) -> Result<Vec<String>, String> {
    let asked = asked(service, &Sent { target, body, ..Sent::default() })?;
    Ok(asked.operations.iter().map(|operation| operation.needed().to_string()).collect())
}

#[test]
fn each_call_of_a_batch_is_an_operation() {
    let call =
        |name: &str| format!(r#"{{"jsonrpc":"2.0","id":"{name}","method":"tools/call","params":{{"name":"{name}"}}}}"#);
    let list = r#"{"jsonrpc":"2.0","method":"tools/list"}"#;
    let all = format!("[{}, {list}, {}]", call("a"), call("b"));
    let expected = ["tools:tools/call:r/a", "tools:tools/read:r", "tools:tools/call:r/b"];
    assert_eq!(needed(&rpc(""), "/send/r", &all), Ok(expected.map(str::to_owned).to_vec()));
    let shown = asked(&rpc(""), &Sent { body: &all, ..Sent::default() }).unwrap().shown;
    assert_eq!(shown.iter().map(|shown| shown.arguments.len()).collect::<Vec<_>>(), [1, 0, 1]);
}

#[test]
fn a_call_without_an_entry_is_denied_by_its_exact_name() {
    for method in ["tools.call", "Tools/call", "tools/call ", "tools/calls", "rpc.discover", ""] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"a"}}}}"#);
        let error = needed(&rpc(""), "/send/r", &body).unwrap_err();
        assert!(error.starts_with("unknown_call: the service offers no method "), "{error}");
    }
    let other = rpc("[[route.call]]\naction = \"other\"\nresource = \"/\"");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#;
    assert_eq!(needed(&other, "/send/r", body), Ok(vec!["tools:other:/".to_owned()]));
}

#[test]
fn a_call_is_not_taken_from_the_query_and_needs_its_arguments() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let denied = |name: &str| Err(format!("unknown_parameter: this route takes no query parameter `{name}`"));
    assert_eq!(needed(&rpc(""), "/send/r?method=x", body), denied("method"));
    assert_eq!(needed(&rpc("unknown_query = \"allow\""), "/send/r?method=x", body).map(|all| all.len()), Ok(1));
    let without = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
    assert_eq!(needed(&rpc(""), "/send/r", without), Err("argument_missing".to_owned()));
    let odd = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#;
    assert_eq!(needed(&rpc(""), "/send/r", odd), Err("argument_ambiguous".to_owned()));
    assert_eq!(needed(&rpc(""), "/send/r", ""), Err("body_syntax".to_owned()));
    let closed = rpc("unknown_body = \"deny\"");
    let more = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","x":1}}"#;
    assert_eq!(needed(&closed, "/send/r", more), Err("unknown_parameter: this route takes no member `/x`".to_owned()));
}

#[test]
fn more_than_can_be_recorded_is_refused() {
    let call = |i: usize| {
        let name = format!("{}{i}", "%".repeat(40));
        format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"{name}"}}}}"#)
    };
    let batch = |count: usize| format!("[{}]", (0..count).map(call).collect::<Vec<_>>().join(","));
    assert_eq!(needed(&rpc(""), "/send/r", &batch(32)).map(|all| all.len()), Ok(32));
    assert_eq!(needed(&rpc(""), "/send/r", &batch(33)), Err("body_operations".to_owned()));
    let deep = format!("/send/{}", "%25".repeat(42));
    assert_eq!(needed(&rpc(""), &deep, &batch(32)), Err("body_operations".to_owned()));
}

#[test]
fn each_field_of_a_graphql_operation_is_an_operation() {
    let graphql = builtin::Builtin::named("linear").unwrap().service(None).unwrap();
    let asks = |document: &str, variables: &str| {
        let query = serde_json::to_string(document).unwrap();
        needed(&graphql, "/graphql", &format!("{{\"query\":{query},\"variables\":{variables}}}"))
    };
    assert_eq!(
        asks("query($id: String!) { me: viewer { name } issue(id: $id) { title } }", r#"{"id":"LIN-1"}"#),
        Ok(vec!["linear:users/read:/".to_owned(), "linear:issues/read:issues/LIN-1".to_owned()])
    );
    assert_eq!(
        asks("mutation { issueDelete(id: \"LIN-1\") { success } }", "{}"),
        Ok(vec!["linear:issues/write/delete:issues/LIN-1".to_owned()])
    );
    assert_eq!(
        asks(
            "mutation($i: IssueCreateInput!) { issueCreate(input: $i) { success } }",
            r#"{"i":{"teamId":"T","title":"x"}}"#
        ),
        Ok(vec!["linear:issues/write:teams/T".to_owned()])
    );
    assert_eq!(asks("{ integrationsSettings { id } }", "{}"), Ok(vec!["linear:other/read:/".to_owned()]));
    let unknown = asks("mutation { apiKeyCreate(input: {}) { success } }", "{}").unwrap_err();
    assert_eq!(unknown, "unknown_call: the service offers no mutation field `apiKeyCreate`");
    let in_url = needed(&graphql, "/graphql?query=mutation%7Bx%7D", r#"{"query":"{viewer{id}}"}"#);
    assert_eq!(in_url, Err("unknown_parameter: this route takes no query parameter `query`".to_owned()));
}
