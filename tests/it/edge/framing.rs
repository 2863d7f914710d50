//! Groups F and G: what two parsers could read differently is a 400 and the end of the connection.

use writ::token::chain::Authority;

use super::raw::Client;
use super::{World, Writ};
use crate::attacks::Siege;

/// Each request alone on its connection: refused with that status and reason, and with all that holds of a refusal.
async fn all_refused(world: &World, cases: Vec<(String, u16, &'static str)>) {
    let mut siege = Siege::of(world);
    for (request, status, reason) in cases {
        siege.repelled(&format!("{request:?}"), &request, status, reason).await;
    }
    siege.over().await;
}

fn writer(world: &World) -> Writ {
    world.writ_of(Authority { capabilities: vec!["notes:/:/".parse().unwrap()], ..World::block() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_two_readings_is_refused() {
    let world = World::start().await;
    let writ = writer(&world);
    let get = |path: &str, reason| (writ.get(path), 400, reason);
    let cases = vec![
        get("/notes/notes/../admin", "path_dot_segment"),
        get("/notes/notes/%2e%2e/admin", "path_dot_segment"),
        get("/notes/notes/.%2e/admin", "path_dot_segment"),
        get("/notes/notes/..;/admin", "path_dot_segment"),
        get("/notes/./notes/7", "path_dot_segment"),
        get("/notes/notes%2F7", "path_separator"),
        get("/notes/notes%5c7", "path_separator"),
        get("/notes/notes\\7", "path_separator"),
        get("/notes//notes/7", "path_empty_segment"),
        get("//notes/notes/7", "path_empty_segment"),
        get("/notes/notes/%c0%af", "target_utf8"),
        get("/notes/notes/%00", "target_control"),
        get("/notes/notes/7%0d%0aX-Evil:%201", "target_control"),
        get("/notes/notes/%zz", "target_escape"),
        get("/notes/notes/7#x", "target_form"),
        get("http://elsewhere/notes/notes/7", "target_form"),
        get("notes/notes/7", "target_form"),
        get("*", "target_form"),
    ];
    all_refused(&world, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn double_encoding_stays_literal() {
    let world = World::start().await;
    let answer = world.send(writer(&world).get("/notes/notes/%252e%252e")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.upstream.seen()[0].line(), "GET /v1/notes/%252e%252e HTTP/1.1");
    let resource = world.decisions(1).await.remove(0).what.unwrap().resource;
    assert_eq!(resource.as_str(), "team/%252e%252e");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_with_two_readings_is_refused_and_the_connection_ends() {
    let world = World::start().await;
    let writ = writer(&world);
    let put = |lengths: &str, reason| {
        let fields = writ.fields("PUT", "/notes/notes/7");
        (format!("PUT /notes/notes/7 HTTP/1.1\r\n{fields}{lengths}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 400, reason)
    };
    let cases = vec![
        put("Content-Length: 5\r\nTransfer-Encoding: chunked", "two_lengths"),
        put("Transfer-Encoding: chunked\r\nContent-Length: 5", "two_lengths"),
        put("Content-Length: 5\r\nContent-Length: 6", "content_length"),
        put("Content-Length: 5\r\nContent-Length: 5", "content_length"),
        put("Content-Length: +5", "content_length"),
        put("Content-Length: 0x5", "content_length"),
        put("Transfer-Encoding: chunked, identity", "transfer_encoding"),
        put("Transfer-Encoding: xchunked", "transfer_encoding"),
        put("Transfer-Encoding:\tchunked", "transfer_encoding"),
        put("Transfer-Encoding : chunked", "header_field"),
        put("X: a\r\n Transfer-Encoding: chunked", "header_field"),
    ];
    let mut siege = Siege::of(&world);
    for (request, status, reason) in cases {
        let mut client = Client::connect(world.edge.address()).await;
        let answer = siege.repelled_on(&mut client, &format!("{request:?}"), &request, status, reason).await;
        assert_eq!(answer.header("connection"), Some("close"), "{request:?}");
        assert!(client.is_closed().await, "{request:?}");
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_heads_with_two_readings_are_refused() {
    let world = World::start().await;
    let writ = writer(&world);
    let fields = writ.fields("GET", "/notes/notes/7");
    let get = |before: &str, after: &str, reason| {
        (format!("{before}GET /notes/notes/7 HTTP/1.1\r\n{fields}{after}\r\n"), 400, reason)
    };
    let cases = vec![
        get("\r\n", "", "request_line"),
        get("", "X: y\nZ: w\r\n", "line_end"),
        get("", "X: a\r\n\tb\r\n", "header_field"),
        get("", "Host: other\r\n", "host"),
        get("", "Upgrade: websocket\r\nConnection: upgrade\r\n", "upgrade"),
        get("", "Expect: something\r\n", "expectation"),
        (
            format!("GET /notes/notes/7 HTTP/1.0\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"),
            400,
            "transfer_encoding",
        ),
        (format!("GET /notes/notes/7 HTTP/1.0\r\n{fields}\r\n"), 400, "http_version"),
        (format!("GET  /notes/notes/7 HTTP/1.1\r\n{fields}\r\n"), 400, "request_line"),
        (format!("CONNECT notes:443 HTTP/1.1\r\n{fields}\r\n"), 400, "target_form"),
        (format!("GET /notes/notes/7 HTTP/1.1\r\n{fields}Content-Length: 2\r\n\r\nab"), 400, "body_unexpected"),
    ];
    all_refused(&world, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_refused_request_is_not_read() {
    let world = World::start().await;
    let writ = writer(&world);
    let fields = writ.fields("GET", "/notes/notes/7");
    let smuggled = writ.get("/notes/notes/8");
    let mut client = Client::connect(world.edge.address()).await;
    let first = writ.get("/notes/notes/9");
    client.write(format!("{first}GET /notes/notes/7 HTTP/1.1\r\n{fields}Upgrade: h2c\r\n\r\n{smuggled}")).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
    let seen = world.upstream.seen();
    assert_eq!(seen.iter().map(super::upstream::Seen::line).collect::<Vec<_>>(), ["GET /v1/notes/9 HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_chunk_is_refused_before_a_route_reads_it() {
    let world = World::start().await;
    let writ = writer(&world);
    let mut cases = Vec::new();
    for chunks in ["5;x=1\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n", "5\nhello\r\n", "0\r\nX-Trailer: 1\r\n\r\n"] {
        let fields = writ.fields("POST", "/notes/pay");
        let head = format!("POST /notes/pay HTTP/1.1\r\n{fields}Content-Type: application/json\r\n");
        cases.push((format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"), 400, "body_broken"));
    }
    all_refused(&world, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_strict_json_is_refused() {
    let world = World::start().await;
    let writ = writer(&world);
    let post = |body: &str, status, reason| (writ.post("/notes/pay", body), status, reason);
    let mut cases = vec![
        post(r#"{"amount":1,"amount":2}"#, 400, "body_duplicate_key"),
        post("\u{feff}{\"amount\":1}", 400, "body_syntax"),
        post(r#"{"amount":1} x"#, 400, "body_syntax"),
        post(r#"{"amount":NaN}"#, 400, "body_syntax"),
        post(r#"{"amount":"1"}"#, 400, "argument_type"),
        post(r#"{"amount":1.0}"#, 400, "argument_type"),
        post(r#"{"amount":9223372036854775808}"#, 400, "argument_type"),
        post(r#"{"Amount":1}"#, 400, "argument_ambiguous"),
        post("{}", 400, "argument_missing"),
        post("", 400, "argument_missing"),
        post(&"[".repeat(10_000), 400, "body_too_deep"),
        post(&format!("\"{}\"", "a".repeat(70_000)), 413, "body_too_large"),
    ];
    for (kind, status, reason) in [
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415, "body_content_type"),
        ("", 415, "body_content_type"),
        ("Content-Type: application/json\r\nContent-Type: text/plain\r\n", 415, "body_content_type"),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 415, "body_content_encoding"),
    ] {
        let fields = writ.fields("POST", "/notes/pay");
        let body = r#"{"amount":1}"#;
        let head = format!("POST /notes/pay HTTP/1.1\r\n{fields}{kind}Content-Length: {}\r\n\r\n", body.len());
        cases.push((format!("{head}{body}"), status, reason));
    }
    all_refused(&world, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_by_which_a_caller_could_speak_past_the_edge_reaches_the_service() {
    let world = World::start().await;
    let writ = writer(&world);
    let fields = writ.fields("GET", "/notes/notes/7");
    let extra = "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
         X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: e\r\nForwarded: for=x\r\nX-Accel-Redirect: /x\r\nCookie: a=b\r\n\
         X-Api-Key: k\r\nProxy-Authorization: Basic x\r\nRange: bytes=0-1\r\nAccept-Encoding: gzip\r\nTE: trailers\r\n\
         Connection: x-named\r\nX-Named: 1\r\nwrit-edge: denied\r\nX_Api_Key: k\r\nX-Kept: yes\r\n";
    let answer = world.send(format!("GET /notes/notes/7?_method=DELETE&a=1 HTTP/1.1\r\n{fields}{extra}\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.upstream.seen().remove(0);
    assert_eq!(seen.line(), "GET /v1/notes/7?a=1 HTTP/1.1");
    let mut names: Vec<String> =
        seen.head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase())).collect();
    names.sort();
    assert_eq!(names, ["accept-encoding", "authorization", "host", "x-kept"], "{}", seen.head);
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_asked_for_before_the_request_may_be_made() {
    let world = World::start().await;
    let ask = |writ: &Writ| {
        let fields = writ.fields("POST", "/notes/pay");
        format!(
            "POST /notes/pay HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let block = Authority { capabilities: vec!["notes:notes/read:team".parse().unwrap()], ..World::block() };
    let mut client = Client::connect(world.edge.address()).await;
    client.write(ask(&world.writ_of(block))).await;
    assert!(client.head().await.starts_with("HTTP/1.1 403"));

    let mut client = Client::connect(world.edge.address()).await;
    client.write(ask(&world.writ())).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"));
    client.write(r#"{"amount":1}"#).await;
    assert_eq!(client.answer().await.status, 200);
}
