//! Groups A, B, F, H and I: requests by an honest holder who asks for what is not its to ask, or in words with two meanings.

use writ::token::chain::Authority;

use super::Siege;
use crate::edge::{World, Writ};

/// May do everything with the notes, so that only the request itself can be at fault.
fn writer(world: &World) -> Writ {
    world.writ_of(Authority { capabilities: vec!["notes:/:/".parse().unwrap()], ..World::block() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_body_does_not_count() {
    let world = World::start().await;
    let writ = writer(&world);
    let (host, text) = (world.host(), writ.token.text().to_owned());
    let mut siege = Siege::of(&world);
    for (kind, body) in [
        ("application/x-www-form-urlencoded", format!("access_token={text}&amount=1")),
        ("application/json", format!(r#"{{"access_token":"{text}","amount":1}}"#)),
    ] {
        let length = body.len();
        let head =
            format!("POST /notes/pay HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}");
        let answer = siege.repelled(kind, format!("{head}\r\n\r\n{body}"), 401, "token_missing").await;
        assert!(!answer.text().contains(&text) && !world.authority.records_text().contains(&text));
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_looks_like_another_is_another() {
    let world = World::start().await;
    let block = Authority { capabilities: vec!["notes:notes/read:team/caf%C3%A9".parse().unwrap()], ..World::block() };
    let writ = world.writ_of(block);
    let mut siege = Siege::of(&world);
    siege.served("composed, as granted", writ.get("/notes/notes/caf%C3%A9")).await;
    for (what, path) in [
        ("decomposed", "/notes/notes/cafe%CC%81"),
        ("upper case", "/notes/notes/CAF%C3%89"),
        ("a Cyrillic letter", "/notes/notes/%D1%81af%C3%A9"),
        ("full width", "/notes/notes/%EF%BD%83af%C3%A9"),
        ("a full-width slash", "/notes/notes/caf%C3%A9%EF%BC%8Fx"),
        ("a full-width dot segment", "/notes/notes/%EF%BC%8E%EF%BC%8E"),
        ("another escaping of an escape", "/notes/notes/caf%25C3%25A9"),
        ("a longer word", "/notes/notes/caf%C3%A9s"),
    ] {
        siege.repelled(what, writ.get(path), 403, "no_capability").await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_exactly_the_edges_is_misdirected() {
    let world = World::start().await;
    let host = world.host();
    let (name, port) = host.split_once(':').unwrap();
    let mut siege = Siege::of(&world);
    for other in [
        format!("{name}.:{port}"),
        format!("user@{host}"),
        format!("user:secret@{host}"),
        name.to_owned(),
        format!("{name}:0{port}"),
        format!("LOCALHOST:{port}"),
        format!("[::ffff:{name}]:{port}"),
        format!("[::1]:{port}"),
        format!("{host}, elsewhere.example"),
        format!("{host}/x"),
        "notes".to_owned(),
        String::new(),
    ] {
        let request = world.writ().get("/notes/notes/7").replace(&format!("Host: {host}"), &format!("Host: {other}"));
        siege.repelled(&other, request, 421, "host").await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_two_readings_is_refused() {
    let world = World::start().await;
    let writ = writer(&world);
    let mut siege = Siege::of(&world);
    let utf16: Vec<u8> = r#"{"amount":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: [(&str, &[u8], &str); 14] = [
        ("a key twice, once escaped", br#"{"amount":1,"\u0061mount":2}"#, "body_duplicate_key"),
        ("UTF-16", &utf16, "body_syntax"),
        ("not UTF-8", b"{\"amount\":1,\"a\":\"\xff\"}", "body_syntax"),
        ("an overlong slash", b"{\"amount\":1,\"a\":\"\xc0\xaf\"}", "body_syntax"),
        ("a lone surrogate", br#"{"amount":1,"a":"\ud800"}"#, "body_syntax"),
        ("a comment", b"{\"amount\":1/* 2 */}", "body_syntax"),
        ("a trailing comma", br#"{"amount":1,}"#, "body_syntax"),
        ("two documents", br#"{"amount":1}{"amount":2}"#, "body_syntax"),
        ("an exponent", br#"{"amount":1e2}"#, "argument_type"),
        ("minus zero", br#"{"amount":-0}"#, "argument_type"),
        ("a leading zero", br#"{"amount":01}"#, "body_syntax"),
        ("more than 64 bits", br#"{"amount":18446744073709551617}"#, "argument_type"),
        ("a list of one", br#"{"amount":[1]}"#, "argument_type"),
        ("null", br#"{"amount":null}"#, "argument_type"),
    ];
    for (what, body, reason) in bodies {
        let fields = writ.fields("POST", "/notes/pay");
        let length = body.len();
        let head =
            format!("POST /notes/pay HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}");
        siege.repelled(what, [head.as_bytes(), b"\r\n\r\n", body].concat(), 400, reason).await;
    }
    for kind in [
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json, text/plain",
        "text/json",
        "application/json+x",
    ] {
        let request = writ.post("/notes/pay", r#"{"amount":1}"#).replace("application/json", kind);
        siege.repelled(kind, request, 415, "body_content_type").await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_on_an_argument_holds_whatever_is_sent_in_its_place() {
    use writ::token::Limits;
    use writ::token::hop::{Narrowing, narrow};
    let world = World::start().await;
    let parent = world.writ();
    let checks = vec![r#"check if arg("amount", $x), $x >= 1, $x <= 100"#.into()];
    let narrowing = Narrowing { checks, ..Narrowing::default() };
    let token = narrow(&parent.token, &narrowing, &crate::edge::random(), &Limits::default()).unwrap();
    let writ = Writ { token, ..parent };
    let mut siege = Siege::of(&world);
    siege.served("within its bounds", writ.post("/notes/pay", r#"{"amount":100}"#)).await;
    for body in [r#"{"amount":101}"#, r#"{"amount":0}"#, r#"{"amount":-5}"#] {
        siege.repelled(body, writ.post("/notes/pay", body), 403, "check_failed").await;
    }
    siege.repelled("a text", writ.post("/notes/pay", r#"{"amount":"100"}"#), 400, "argument_type").await;
    let rounded = r#"{"amount":9007199254740993}"#;
    siege.repelled("beyond what floats keep", writ.post("/notes/pay", rounded), 400, "argument_type").await;
    siege.repelled("none", writ.post("/notes/pay", "{}"), 400, "argument_missing").await;
    siege.repelled("a route without it", writ.get("/notes/notes/7"), 403, "check_failed").await;
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_by_its_name_alone() {
    let world = World::start().await;
    let writ = writer(&world);
    let mut siege = Siege::of(&world);
    for (what, path, status, reason) in [
        ("a host as the service", "/127.0.0.1:9/x", 404, "unknown_service"),
        ("the name in upper case", "/NOTES/notes/7", 404, "unknown_service"),
        ("the name escaped twice", "/%256eotes/notes/7", 404, "unknown_service"),
        ("a name that goes on", "/notes2/notes/7", 404, "unknown_service"),
        ("the credential's name", "/notes-key/notes/7", 404, "unknown_service"),
        ("a service that the writ does not name", "/nowhere/x", 403, "no_capability"),
        ("a URL as the resource", "/notes/http:%2F%2Fevil/7", 400, "path_separator"),
    ] {
        siege.repelled(what, writ.get(path), status, reason).await;
    }
    siege.over().await;
}
