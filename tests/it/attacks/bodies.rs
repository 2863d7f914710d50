//! Groups B, C and H where a body decides: forms, JSON-RPC, GraphQL, lists, closed routes. Each by an honest holder's key, so that only
//! the request can be at fault.

use writ::catalog::Service;
use writ::token::Limits;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::hop::{Narrowing, narrow};
use writ::vault::CredentialKind;

use super::Siege;
use crate::edge::upstream::Recorder;
use crate::edge::{SECRET, World, Writ, random};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// An edge in front of a service that is called by every kind of body.
struct Scene {
    world: World,
    service: Recorder,
}

impl Scene {
    async fn start() -> Self {
        let service = Recorder::start().await;
        let text = SERVICE.replace("ADDRESS", &service.address().to_string());
        let world = World::start_with_services(|_| {}, vec![Service::from_toml(&text).unwrap()]).await;
        world.authority.store("mail", CredentialKind::Bearer, SECRET);
        Self { world, service }
    }

    fn siege(&self) -> Siege<'_> {
        Siege::at(self.world.edge.address(), &self.world.authority, &self.service)
    }

    fn writ(&self, capabilities: &[&str]) -> Writ {
        let capabilities = capabilities.iter().map(|text| text.parse().unwrap()).collect();
        self.world.writ_of(Authority { capabilities, ..World::block() })
    }

    /// The body that the service got last.
    fn got(&self) -> String {
        String::from_utf8(self.service.seen().last().unwrap().body.clone()).unwrap()
    }
}

fn post(writ: &Writ, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let fields = writ.fields("POST", path.split('?').next().unwrap());
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\n{fields}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn narrowed(parent: Writ, check: &str) -> Writ {
    let narrowing = Narrowing { checks: vec![check.into()], ..Narrowing::default() };
    let token = narrow(&parent.token, &narrowing, &random(), &Limits::default()).unwrap();
    Writ { token, ..parent }
}

const SERVICE: &str = r#"
name = "mail"
upstream = "http://ADDRESS"
allow_private = true
credential = "mail-key"

[[route]]
methods = ["POST"]
path = "/send"
action = "send"
resource = "team"
closed = true
[[route.argument]]
name = "to"
from = "json"
key = "/to/*/email"
also = ["/cc/*/email", "/bcc/*/email"]
type = "email"
list = "array"
required = true
loggable = true
[[route.argument]]
name = "price"
from = "json"
type = "decimal"

[[route]]
methods = ["POST"]
path = "/form"
action = "form"
resource = "team"
[[route.argument]]
name = "amount"
from = "form"
type = "integer"
required = true

[[route]]
methods = ["GET"]
path = "/search"
action = "search"
resource = "team"
unknown_query = "note"
[[route.argument]]
name = "scope"
from = "header"
key = "X-Scope"
type = "string"
required = true

[[route]]
methods = ["POST"]
path = "/rpc"
body = "json-rpc"
[[route.call]]
method = "tools/call"
action = "tools/call"
resource = "tools/{tool}"
[[route.call.argument]]
name = "tool"
from = "json"
key = "/name"
type = "string"
required = true
loggable = true
[[route.call]]
method = "tools/list"
action = "tools/read"
resource = "tools"

[[route]]
methods = ["POST"]
path = "/graphql"
body = "graphql"
[[route.field]]
on = "query"
name = "viewer"
action = "users/read"
resource = "users"
[[route.field]]
on = "query"
name = "issue"
action = "issues/read"
resource = "issues/{id}"
[[route.field.argument]]
name = "id"
from = "json"
type = "string"
required = true
[[route.field]]
on = "mutation"
name = "issueDelete"
action = "issues/write/delete"
resource = "issues"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_allowed_only_if_every_call_of_it_is() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:tools/read:/", "mail:tools/call:tools/safe"]);
    let call = |name: &str| {
        format!(r#"{{"jsonrpc": "2.0", "id": "{name}", "method": "tools/call", "params": {{"name": "{name}"}}}}"#)
    };
    let list = r#"{"jsonrpc":"2.0","method":"tools/list"}"#;
    let rpc = |body: &str| post(&writ, "/mail/rpc", JSON, body.as_bytes());
    let mut siege = scene.siege();
    siege.served("all of them", rpc(&format!("[ {} , {list} ]", call("safe")))).await;
    let forwarded = r#"[{"jsonrpc":"2.0","id":"safe","method":"tools/call","params":{"name":"safe"}},{"jsonrpc":"2.0","method":"tools/list"}]"#;
    assert_eq!(scene.got(), forwarded);
    let decision = scene.world.decisions(1).await.remove(0);
    assert_eq!(decision.what.unwrap().resource.as_str(), "tools/safe");
    assert_eq!(decision.capability.unwrap().to_string(), "mail:tools/call:tools/safe");
    let also = &decision.also[0];
    assert_eq!(also.what.action.as_str(), "tools/read");
    assert_eq!(also.capability.as_ref().unwrap().to_string(), "mail:tools/read:/");

    for (what, body) in [
        ("the other tool", call("danger")),
        ("the other tool last", format!("[{},{list},{}]", call("safe"), call("danger"))),
        ("the other tool first", format!("[{},{}]", call("danger"), call("safe"))),
        ("the other tool as a notification", call("danger").replace(r#""id": "danger", "#, "")),
        ("the tool in upper case", call("Safe")),
        ("a longer name", call("safer")),
        ("a path", call("safe/../danger")),
        ("another namespace", call("mail.safe")),
    ] {
        let answer = siege.repelled(what, rpc(&body), 403, "no_capability").await;
        assert!(answer.text().contains(r#""needed":"mail:tools/call:tools/"#), "{what}: {}", answer.text());
    }
    let narrow = narrowed(scene.writ(&["mail:/:/"]), r#"check if arg("tool", "safe")"#);
    for body in [format!("[{},{list}]", call("safe")), format!("[{},{}]", call("safe"), call("danger"))] {
        siege
            .repelled(
                "a check of the first alone",
                post(&narrow, "/mail/rpc", JSON, body.as_bytes()),
                403,
                "check_failed",
            )
            .await;
    }
    // The record of a denial shows what else was asked for.
    let denied = scene.world.decisions(3).await.remove(2);
    assert_eq!(
        denied.also.iter().map(|also| also.what.resource.to_string()).collect::<Vec<_>>(),
        ["tools", "tools/danger"]
    );
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_two_servers_could_read_differently_is_refused() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:/:/"]);
    let rpc = |body: &str| post(&writ, "/mail/rpc", JSON, body.as_bytes());
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let mut siege = scene.siege();
    siege.served("a call", rpc(list)).await;
    let long = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"NAME"}}"#.replace("NAME", &"a".repeat(100));
    siege.served("as many as one record can hold", rpc(&format!("[{}]", vec![long; 32].join(",")))).await;
    for (what, body, reason) in [
        ("two names of the method", list.replace("}", r#","Method":"tools/call"}"#), "body_json_rpc"),
        ("the method twice", list.replace("}", r#","method":"tools/call"}"#), "body_duplicate_key"),
        (
            "two names of the tool",
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","Name":"b"}}"#.to_owned(),
            "argument_ambiguous",
        ),
        (
            "the tool twice",
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#.to_owned(),
            "body_duplicate_key",
        ),
        ("no tool", r#"{"jsonrpc":"2.0","method":"tools/call","params":{}}"#.to_owned(), "argument_missing"),
        (
            "a list for the tool",
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":["a"]}}"#.to_owned(),
            "argument_type",
        ),
        ("the same id twice", format!("[{list},{list}]"), "body_json_rpc"),
        ("another version", list.replace("2.0", "1.0"), "body_json_rpc"),
        ("an answer", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), "body_json_rpc"),
        ("a batch in a batch", format!("[[{list}]]"), "body_json_rpc"),
        ("an empty batch", "[]".to_owned(), "body_operations"),
        ("33 calls", format!("[{}]", vec![list.replace(r#""id":1,"#, ""); 33].join(",")), "body_operations"),
        ("two documents", format!("{list}{list}"), "body_syntax"),
    ] {
        siege.repelled(what, rpc(&body), 400, reason).await;
    }
    for method in ["tools.call", "Tools/Call", "tools/delete", "rpc.discover"] {
        siege.repelled(method, rpc(&list.replace("tools/list", method)), 403, "unknown_call").await;
    }
    siege
        .repelled(
            "a call in the query",
            post(&writ, "/mail/rpc?method=tools/call", JSON, list.as_bytes()),
            400,
            "unknown_parameter",
        )
        .await;
    siege.repelled("no body", post(&writ, "/mail/rpc", JSON, b""), 400, "body_syntax").await;
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_headers_say_what_the_body_says_or_the_call_is_refused() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:/:/"]);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger"}}"#;
    let with = |headers: &[&str], body: &str| {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request = String::from_utf8(post(&writ, "/mail/rpc", JSON, body.as_bytes())).unwrap();
        request.replacen("Content-Type:", &format!("{headers}Content-Type:"), 1)
    };
    const NEW: &str = "MCP-Protocol-Version: 2026-07-28";
    let mut siege = scene.siege();
    for headers in [
        &[][..],
        &["Mcp-Method: tools/call", "Mcp-Name: danger"],
        &[NEW, "MCP-METHOD: tools/call", "mcp-name:  =?base64?ZGFuZ2Vy?= "],
    ] {
        siege.served(&format!("{headers:?}"), with(headers, body)).await;
    }
    assert_eq!(scene.service.seen().last().unwrap().header("mcp-method"), Some("tools/call"), "they are forwarded");
    for headers in [
        &["Mcp-Method: tools/list"][..],
        &["Mcp-Method: Tools/Call"],
        &["Mcp-Name: safe"],
        &["Mcp-Name: safe", "Mcp-Name: danger"],
        &["Mcp-Name: danger", "Mcp-Name: safe"],
        &["Mcp-Name: =?base64?c2FmZQ==?="],
        &["Mcp-Name: d\u{e4}nger"],
        &[NEW],
        &[NEW, "Mcp-Method: tools/call"],
        &[NEW, "Mcp-Name: danger"],
        &["MCP-Protocol-Version: 2031-01-01", "Mcp-Name: danger"],
        &[NEW, NEW, "Mcp-Method: tools/call", "Mcp-Name: danger"],
    ] {
        siege.repelled(&format!("{headers:?}"), with(headers, body), 400, "mcp_header").await;
    }
    let batch = format!("[{body},{}]", r#"{"jsonrpc":"2.0","method":"tools/list"}"#);
    siege.repelled("one header for two calls", with(&["Mcp-Method: tools/call"], &batch), 400, "mcp_header").await;
    let stated =
        body.replace(r#""name""#, r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"name""#);
    for headers in [&["Mcp-Method: tools/call"][..], &["MCP-Protocol-Version: 2025-11-25"]] {
        siege.repelled("another version than the body's", with(headers, &stated), 400, "mcp_header").await;
    }
    // A name with `_` could be taken for the header by a server, and does not arrive.
    siege.served("a header that looks alike", with(&["mcp_name: safe"], body)).await;
    assert!(!scene.service.seen().last().unwrap().head.contains("mcp_name"));
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_graphql_request_is_authorised_whatever_hides_it() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:users/read:/", "mail:issues/read:issues/L1"]);
    let graphql = |body: &serde_json::Value| post(&writ, "/mail/graphql", JSON, body.to_string().as_bytes());
    let query = |text: &str| graphql(&serde_json::json!({"query": text}));
    let mut siege = scene.siege();
    let document = "query A($i: ID!) { me: viewer { id } ...F } fragment F on Query { issue(id: $i) { title } } query B { secrets }";
    let request = serde_json::json!({"query": document, "operationName": "A", "variables": {"i": "L1"}});
    siege.served("what is granted", graphql(&request)).await;
    let forwarded: serde_json::Value = serde_json::from_str(&scene.got()).unwrap();
    let written = "query A($i:ID!){me:viewer{id} ...F} fragment F on Query{issue(id:$i){title}}";
    assert_eq!(forwarded, serde_json::json!({"query": written, "operationName": "A", "variables": {"i": "L1"}}));

    for (what, text) in [
        ("another issue", r#"{ issue(id: "L2") { title } }"#),
        ("under an alias", r#"{ viewer: issue(id: "L2") { title } }"#),
        ("beside what is granted", r#"{ viewer { id } issue(id: "L2") { title } }"#),
        ("in a fragment", r#"{ viewer { id } ...F } fragment F on Query { issue(id: "L2") { title } }"#),
        (
            "in a fragment of a fragment",
            r#"{ ...F } fragment F on Query { ...G } fragment G on Query { issue(id: "L2") { title } }"#,
        ),
        ("inline", r#"{ viewer { id } ... on Query { issue(id: "L2") { title } } }"#),
        ("skipped", r#"{ viewer { id } issue(id: "L2") @skip(if: true) { title } }"#),
        ("by a default", r#"query ($i: ID = "L2") { issue(id: $i) { title } }"#),
        ("a mutation", "mutation { issueDelete(id: \"L1\") { success } }"),
        ("a mutation called as a query", "mutation viewer { viewer: issueDelete(id: \"L1\") { success } }"),
    ] {
        siege.repelled(what, query(text), 403, "no_capability").await;
    }
    let batch = serde_json::json!([{"query": "{viewer{id}}"}, {"query": "mutation {issueDelete(id:\"L1\"){success}}"}]);
    siege.repelled("in a batch", graphql(&batch), 403, "no_capability").await;
    for text in ["{ secrets }", "{ __schema { types { name } } }", "mutation { viewer { id } }", "{ Viewer { id } }"] {
        siege.repelled(text, query(text), 403, "unknown_call").await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graphql_request_that_two_servers_could_read_differently_is_refused() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:/:/"]);
    let graphql = |body: serde_json::Value| post(&writ, "/mail/graphql", JSON, body.to_string().as_bytes());
    let mut siege = scene.siege();
    siege.served("a query", graphql(serde_json::json!({"query": "{viewer{id}}"}))).await;
    for body in [
        serde_json::json!({"query": "query A{viewer{id}} query B{secrets}"}),
        serde_json::json!({"query": "query A{viewer{id}} query A{secrets}", "operationName": "A"}),
        serde_json::json!({"query": "query A{viewer{id}}", "operationName": "B"}),
        serde_json::json!({"query": "{viewer{id}}", "Query": "{secrets}"}),
        serde_json::json!({"query": "{viewer{id}}", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}),
        serde_json::json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}),
        serde_json::json!({"query": "subscription {viewer{id}}"}),
        serde_json::json!({"query": "{...F} fragment F on Query {...F}"}),
        serde_json::json!({"query": "{issue(id:\"a\",id:\"b\"){title}}"}),
        serde_json::json!({"query": "{issue(id:\"\"\"a\"\"\"){title}}"}),
        serde_json::json!({"query": "{issue(id:$i){title}}", "variables": {"i": "a"}}),
        serde_json::json!({"query": "{viewer{id}"}),
        serde_json::json!({"query": ""}),
    ] {
        siege.repelled(&body.to_string(), graphql(body), 400, "body_graphql").await;
    }
    let nested = format!("{}id{}", "{viewer".repeat(40), "}".repeat(40));
    siege.repelled("deep", graphql(serde_json::json!({"query": nested})), 400, "body_too_deep").await;
    siege
        .repelled(
            "33 fields",
            graphql(serde_json::json!({"query": format!("{{{}}}", "viewer{id} ".repeat(33))})),
            400,
            "body_operations",
        )
        .await;
    let in_query = post(&writ, "/mail/graphql?query=%7Bsecrets%7D", JSON, br#"{"query":"{viewer{id}}"}"#);
    siege.repelled("a query in the URL", in_query, 400, "unknown_parameter").await;
    siege.repelled("by GET", writ.get("/mail/graphql?query=%7Bviewer%7Bid%7D%7D"), 405, "method_not_allowed").await;
    let plain = post(&writ, "/mail/graphql", "application/graphql", b"{viewer{id}}");
    siege.repelled("as a document", plain, 415, "body_content_type").await;
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_on_recipients_holds_for_every_one_of_them() {
    let scene = Scene::start().await;
    let writ = narrowed(scene.writ(&["mail:send:/"]), r#"check if arg("to", $to), {"team@domain.com"}.contains($to)"#);
    let send = |body: &str| post(&writ, "/mail/send", JSON, body.as_bytes());
    let mut siege = scene.siege();
    siege
        .served("the team", send(r#"{"to":[{"email":"team@Domain.com"}], "bcc":[{"email":"team@domain.com"}]}"#))
        .await;
    assert_eq!(scene.got(), r#"{"to":[{"email":"team@Domain.com"}],"bcc":[{"email":"team@domain.com"}]}"#);
    for body in [
        r#"{"to":[{"email":"team@domain.com"},{"email":"ceo@domain.com"}]}"#,
        r#"{"to":[{"email":"team@domain.com"}],"cc":[{"email":"ceo@domain.com"}]}"#,
        r#"{"to":[{"email":"team@domain.com"}],"bcc":[{"email":"ceo@domain.com"}]}"#,
        r#"{"to":[{"email":"team@domain.com.evil.example"}]}"#,
        r#"{"to":[{"email":"TEAM@domain.com"}]}"#,
        r#"{"to":[{"email":"team+x@domain.com"}]}"#,
    ] {
        siege.repelled(body, send(body), 403, "check_failed").await;
    }
    for (body, reason) in [
        (r#"{"to":[{"email":"team@domain.com"},{}]}"#, "argument_type"),
        (r#"{"to":[{"email":"team@domain.com"},{"email":null}]}"#, "argument_type"),
        (r#"{"to":{"email":"team@domain.com"}}"#, "argument_type"),
        (r#"{"to":"team@domain.com"}"#, "argument_type"),
        (r#"{"to":[{"email":"team@domain.com, ceo@domain.com"}]}"#, "argument_type"),
        (r#"{"to":[{"email":"Team <ceo@domain.com>"}]}"#, "argument_type"),
        (r#"{"to":[{"email":"team@domain.com","Email":"ceo@domain.com"}]}"#, "argument_ambiguous"),
        (r#"{"to":[{"email":"team@domain.com"}],"To":[{"email":"ceo@domain.com"}]}"#, "argument_ambiguous"),
        (r#"{"to":[{"email":"team@domain.com"}],"recipients":["ceo@domain.com"]}"#, "unknown_parameter"),
        (r#"{"to":[{"email":"team@domain.com","forward":"ceo@domain.com"}]}"#, "unknown_parameter"),
        ("{}", "argument_missing"),
    ] {
        siege.repelled(body, send(body), 400, reason).await;
    }
    let beside = post(&writ, "/mail/send?to=ceo@domain.com", JSON, br#"{"to":[{"email":"team@domain.com"}]}"#);
    siege.repelled("another in the query", beside, 400, "argument_ambiguous").await;
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_two_readings_is_refused() {
    let scene = Scene::start().await;
    let writ = narrowed(scene.writ(&["mail:form:/"]), r#"check if arg("amount", $x), $x >= 0, $x <= 500"#);
    let form = |body: &str| post(&writ, "/mail/form", FORM, body.as_bytes());
    let mut siege = scene.siege();
    siege.served("within bounds", form("note=a+b%2fc&amount=%35&_method=DELETE")).await;
    assert_eq!(scene.got(), "note=a%20b/c&amount=5");
    for (body, status, reason) in [
        ("amount=501", 403, "check_failed"),
        ("amount=-1", 403, "check_failed"),
        ("amount=5&amount=501", 400, "argument_repeated"),
        ("amount=5&%61mount=501", 400, "argument_repeated"),
        ("amount=5&amount[]=501", 400, "argument_ambiguous"),
        ("amount%5B%5D=501", 400, "argument_ambiguous"),
        ("amount=5&Amount=501", 400, "argument_ambiguous"),
        ("amount=5;amount=501", 400, "body_form"),
        ("amount=5&=501", 400, "body_form"),
        ("amount=5%00", 400, "body_form"),
        ("amount=5&x=%ff", 400, "body_form"),
        ("amount=5&x=%c0%af", 400, "body_form"),
        ("amount=5&x=%zz", 400, "body_form"),
        ("amount=5&x", 400, "body_form"),
        (r#"{"amount":5}"#, 400, "body_form"),
        ("amount=5.0", 400, "argument_type"),
        ("amount=1e2", 400, "argument_type"),
        ("amount=%2B5", 400, "argument_type"),
        ("amount=9007199254740993", 400, "argument_type"),
        ("other=5", 400, "argument_missing"),
        ("", 400, "argument_missing"),
    ] {
        siege.repelled(body, form(body), status, reason).await;
    }
    let beside = post(&writ, "/mail/form?amount=501", FORM, b"amount=5");
    siege.repelled("another in the query", beside, 400, "argument_ambiguous").await;
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_what_the_route_reads_or_it_is_refused() {
    let scene = Scene::start().await;
    let writ = scene.writ(&["mail:/:/"]);
    let mut siege = scene.siege();
    let good = [
        ("/mail/send", JSON, r#"{"to":[]}"#),
        ("/mail/form", FORM, "amount=5"),
        ("/mail/rpc", JSON, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
        ("/mail/graphql", JSON, r#"{"query":"{viewer{id}}"}"#),
    ];
    for (path, kind, body) in good {
        siege.served(path, post(&writ, path, kind, body.as_bytes())).await;
        let other = if kind == JSON { FORM } else { JSON };
        for wrong in [
            other,
            "multipart/form-data; boundary=x",
            "text/plain",
            &format!("{kind}, {other}"),
            &format!("{kind}; charset=utf-16"),
        ] {
            siege
                .repelled(
                    &format!("{path} as {wrong}"),
                    post(&writ, path, wrong, body.as_bytes()),
                    415,
                    "body_content_type",
                )
                .await;
        }
        let twice = format!("{kind}\r\nContent-Type: {other}");
        siege
            .repelled(
                &format!("{path} declared twice"),
                post(&writ, path, &twice, body.as_bytes()),
                415,
                "body_content_type",
            )
            .await;
        for coding in ["gzip", "br", "gzip, identity", "identity, gzip"] {
            let packed = format!("{kind}\r\nContent-Encoding: {coding}");
            siege
                .repelled(
                    &format!("{path} {coding}"),
                    post(&writ, path, &packed, body.as_bytes()),
                    415,
                    "body_content_encoding",
                )
                .await;
        }
        let bare = String::from_utf8(post(&writ, path, kind, body.as_bytes()))
            .unwrap()
            .replace(&format!("Content-Type: {kind}\r\n"), "");
        siege.repelled(&format!("{path} undeclared"), bare, 415, "body_content_type").await;
        let large = vec![b'a'; 65_537];
        siege.repelled(&format!("{path} too large"), post(&writ, path, kind, &large), 413, "body_too_large").await;
    }
    for path in ["/mail/send", "/mail/rpc", "/mail/graphql"] {
        for (what, body, reason) in [
            ("deep", [b"{\"a\":".repeat(10_000).as_slice(), b"1"].concat(), "body_too_deep"),
            ("deep arrays", b"[".repeat(60_000), "body_too_deep"),
            ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), "body_syntax"),
            ("UTF-16", "{}".encode_utf16().flat_map(u16::to_be_bytes).collect(), "body_syntax"),
            ("not UTF-8", b"{\"a\":\"\xed\xa0\x80\"}".to_vec(), "body_syntax"),
            ("a lone surrogate", br#"{"a":"\udc00"}"#.to_vec(), "body_syntax"),
            ("trailing data", b"{} {}".to_vec(), "body_syntax"),
            ("NaN", b"{\"a\":NaN}".to_vec(), "body_syntax"),
            ("a comment", b"{/**/}".to_vec(), "body_syntax"),
            ("a key twice", br#"{"a":1,"\u0061":2}"#.to_vec(), "body_duplicate_key"),
        ] {
            siege.repelled(&format!("{path}: {what}"), post(&writ, path, JSON, &body), 400, reason).await;
        }
    }
    for number in ["1.00001", "1e2", "12345678901234567", "-0", "\"1,5\""] {
        let body = format!(r#"{{"to":[],"price":{number}}}"#);
        siege.repelled(number, post(&writ, "/mail/send", JSON, body.as_bytes()), 400, "argument_type").await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_argument_is_the_header_that_the_service_gets() {
    let scene = Scene::start().await;
    let writ = narrowed(scene.writ(&["mail:search:/"]), r#"check if arg("scope", "mine")"#);
    let search = |more: &str| writ.get("/mail/search?debug=1").replacen("\r\n\r\n", &format!("\r\n{more}\r\n\r\n"), 1);
    let mut siege = scene.siege();
    siege.served("as declared", search("X-Scope: mine")).await;
    assert_eq!(scene.service.seen().last().unwrap().header("x-scope"), Some("mine"));
    let what = scene.world.decisions(1).await.remove(0).what.unwrap();
    assert_eq!(what.notes.iter().map(|note| &**note).collect::<Vec<_>>(), ["ignored: the query parameter `debug`"]);
    for (more, status, reason) in [
        ("X-Scope: all", 403, "check_failed"),
        ("X-Scope: Mine", 403, "check_failed"),
        ("X-Scope: mine, all", 403, "check_failed"),
        ("X-Scope: mine\r\nX-Scope: all", 400, "argument_repeated"),
        ("X-Scope: mine\r\nx-scope: mine", 400, "argument_repeated"),
        ("X-Scope: mine\r\nConnection: X-Scope", 400, "argument_ambiguous"),
        ("X-Scope: m\u{ef}ne", 400, "argument_type"),
        ("X_Scope: mine", 400, "argument_missing"),
        ("X-Other: mine", 400, "argument_missing"),
    ] {
        siege.repelled(more, search(more), status, reason).await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_covers_the_body_is_for_this_batch_and_no_other() {
    let scene = Scene::start().await;
    let block = Authority {
        capabilities: vec!["mail:tools:/".parse().unwrap()],
        proof_covers: ProofCovers { body: true, ..ProofCovers::default() },
        ..World::block()
    };
    let writ = scene.world.writ_of(block);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let signed = |signed: &str, sent: &str| {
        let mut proving = writ.proving("POST", "/mail/rpc");
        proving.body = Some(signed.as_bytes());
        let fields = writ.fields_with(&writ.proof(&proving));
        format!(
            "POST /mail/rpc HTTP/1.1\r\n{fields}Content-Type: {JSON}\r\nContent-Length: {}\r\n\r\n{sent}",
            sent.len()
        )
    };
    let mut siege = scene.siege();
    siege.served("as signed", signed(list, list)).await;
    let more = format!("[{list}]");
    siege.repelled("a batch of the same", signed(list, &more), 401, "proof_mismatch").await;
    siege.repelled("a space more", signed(list, &format!("{list} ")), 401, "proof_mismatch").await;
    siege.repelled("another call", signed(list, &list.replace("list", "call")), 401, "proof_mismatch").await;
    siege.over().await;
}
