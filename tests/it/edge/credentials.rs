//! Group I at the edge: a credential goes to its service and nowhere else, and does not come back.

use writ::catalog::Service;
use writ::token::chain::Authority;
use writ::vault::CredentialKind;

use super::authority::Lending;
use super::raw::Client;
use super::upstream::{OK, Script};
use super::{SECRET, World, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_echoes_its_credential_tells_the_caller_nothing() {
    let world = World::start().await;
    world.upstream.answer(Script::Echo);
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("GET /v1/notes/7"), "{}", answer.text());
    assert!(!answer.text().contains(SECRET), "{}", answer.text());

    let head =
        format!("HTTP/1.1 200 OK\r\nx-echo: a {SECRET} b\r\nlocation: /x?key={SECRET}\r\ncontent-length: 0\r\n\r\n");
    world.upstream.answer(Script::Bytes(head.into_bytes()));
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-echo").unwrap().starts_with("a "));
    assert!(!answer.text().contains(SECRET), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_in_pieces_is_found_as_well() {
    let world = World::start().await;
    let (one, two) = SECRET.split_at(7);
    let chunks = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n<{one}\r\n{:x}\r\n{two}>\r\n0\r\n\r\n",
        one.len() + 1,
        two.len() + 1
    );
    world.upstream.answer(Script::Bytes(chunks.into_bytes()));
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.body.len(), SECRET.len() + 2);
    assert!(!answer.text().contains(SECRET) && !answer.text().contains(two), "{}", answer.text());
}

/// What came of an answer with this head, these chunks and this trailer, and of the next one on the same connection.
async fn echoed(world: &World, head: &str, chunks: &[&str], trailer: &str) -> String {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    let bytes = format!("HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n{trailer}\r\n");
    world.upstream.answer(Script::Bytes(bytes.into_bytes()));
    let mut client = Client::connect(world.edge.address()).await;
    let answer = client.exchange(world.writ().get("/notes/notes/7")).await;
    assert!(!answer.body.is_empty(), "{}", answer.text());
    world.upstream.answer(Script::Bytes(OK.to_vec()));
    let next = client.exchange(world.writ().get("/notes/notes/7")).await;
    assert!(next.head.starts_with("HTTP/1.1 200") && next.body == b"ok", "{}", next.text());
    format!("{}{}", answer.text(), next.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_is_found_in_events_trailers_the_reason_and_the_answer_to_an_error() {
    let world = World::start().await;
    let (one, two) = SECRET.split_at(9);
    let events = ["data: 0\n\ndata: <", one, two, ">\n\n", "id: ", SECRET, "\n\n"];
    let told = echoed(&world, "200 OK\r\ncontent-type: text/event-stream", &events, "").await;
    assert!(told.contains("data: 0\n\n") && told.contains(">\n\n"), "{told}");
    for (what, told) in [
        ("events", told),
        ("a trailer", echoed(&world, "200 OK\r\ntrailer: x-echo", &["ok"], &format!("x-echo: {SECRET}\r\n")).await),
        ("the reason", echoed(&world, &format!("200 {SECRET}"), &["ok"], "").await),
        ("an error", echoed(&world, "500 Broken", &["no rights for ", SECRET], "").await),
        (
            "the parameter of a type",
            echoed(&world, &format!("200 OK\r\ncontent-type: a/b; c={SECRET}"), &["ok"], "").await,
        ),
    ] {
        assert!(!told.contains(SECRET) && !told.contains(two), "{what}: {told}");
    }
    assert!(!world.authority.records_text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_is_found_in_every_spelling_that_is_known_wherever_it_is_cut() {
    let world = World::start().await;
    let password = "pa55/w0rd\"+canary";
    crate::canaries::canary(password);
    world.authority.store("notes", CredentialKind::Basic { username: "alice".into() }, password);
    for spelling in [
        password,
        r#"pa55/w0rd\"+canary"#,
        "pa55%2Fw0rd%22%2Bcanary",
        "pa55%2fw0rd%22%2bcanary",
        "pa55/w0rd&quot;+canary",
        "YWxpY2U6cGE1NS93MHJkIitjYW5hcnk=",
        "cGE1NS93MHJkIitjYW5hcnk",
    ] {
        for cut in [1, spelling.len() / 2, spelling.len() - 1] {
            let (one, two) = spelling.split_at(cut);
            let told = echoed(&world, "200 OK", &["<", one, two, ">"], "").await;
            assert!(!told.contains(spelling) && told.contains('>'), "{spelling} cut at {cut}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_is_not_passed_on() {
    let world = World::start().await;
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd".to_vec();
    world.upstream.answer(Script::Bytes(bytes));
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(finish(&world.outcome().await), ("failed", "upstream_encoding"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_cannot_speak_for_the_edge_nor_open_a_session_with_the_caller() {
    let world = World::start().await;
    let head = "HTTP/1.1 403 Forbidden\r\nwrit-edge: denied\r\nwrit-request: 00\r\nset-cookie: s=1\r\ndpop-nonce: n\r\n\
         www-authenticate: Basic\r\nx-accel-redirect: /x\r\nconnection: x-named\r\nx-named: 1\r\nx-kept: yes\r\ncontent-length: 0\r\n\r\n";
    world.upstream.answer(Script::Bytes(head.as_bytes().to_vec()));
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 403);
    for name in ["writ-edge", "set-cookie", "dpop-nonce", "www-authenticate", "x-accel-redirect", "x-named"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("yes"));
    assert_eq!(answer.header("writ-request").unwrap().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_in_the_query_replaces_the_callers_own() {
    let world = World::start().await;
    world.authority.store("notes", CredentialKind::Query { name: "key".into() }, SECRET);
    let answer = world.send(world.writ().get("/notes/notes/7?a=1&key=mine&%6bey=too")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.upstream.seen()[0].line(), format!("GET /v1/notes/7?a=1&key={SECRET} HTTP/1.1"));
    assert!(!world.authority.records_text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_in_a_header_replaces_the_callers_own() {
    let world = World::start().await;
    world.authority.store("notes", CredentialKind::Header { name: "x-notes-key".into() }, SECRET);
    let fields = world.writ().fields("GET", "/notes/notes/7");
    let answer = world.send(format!("GET /notes/notes/7 HTTP/1.1\r\n{fields}X-Notes-Key: mine\r\n\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.upstream.seen().remove(0);
    assert_eq!(seen.head.to_ascii_lowercase().matches("x-notes-key").count(), 1);
    assert_eq!(seen.header("x-notes-key"), Some(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_credential_nothing_is_sent() {
    let world = World::start().await;
    world.authority.set_lending(Lending::Unavailable);
    let answer = world.read(&world.writ()).await;
    assert_eq!((answer.status, answer.header("writ-edge")), (503, Some("denied")), "{}", answer.text());
    assert_eq!(finish(&world.outcome().await), ("refused", "lend_unavailable"));
    assert!(world.upstream.seen().is_empty());
}

/// A world with one service more.
async fn with_service(upstream: &str) -> (World, super::Writ) {
    let text = format!(
        "name = 'more'\nupstream = '{upstream}'\ncredential = 'more-key'\n\
         [[route]]\nmethods = ['GET']\npath = '/x'\naction = 'read'\nresource = 'x'\n"
    );
    let world = World::start_with_services(|_| {}, vec![Service::from_toml(&text).unwrap()]).await;
    world.authority.store("more", CredentialKind::Bearer, SECRET);
    let writ = world.writ_of(Authority { capabilities: vec!["more:read:x".parse().unwrap()], ..World::block() });
    (world, writ)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_at_a_private_address_is_refused_unless_it_is_meant_to_be_there() {
    for upstream in ["https://169.254.169.254", "https://10.0.0.1", "https://[fd00::1]"] {
        let (world, writ) = with_service(upstream).await;
        let answer = world.send(writ.get("/more/x")).await;
        assert_eq!(answer.status, 502, "{upstream}: {}", answer.text());
        assert_eq!(finish(&world.outcome().await), ("failed", "upstream_address"), "{upstream}");
        assert!(!answer.text().contains(&upstream[8..]), "{}", answer.text());
    }
}
