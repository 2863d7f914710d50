//! The path of a request: what gets through and how it looks there, and what is told when it doesn't.

use std::time::Duration;

use writ::audit::Verdict;
use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::revocation::Target;
use writ::token::chain::Authority;
use writ::token::proof::BearerRule;

use super::authority::LEASE;
use super::upstream::Script;
use super::{SECRET, World, eventually, finish};
use crate::attacks::Siege;

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_request_reaches_the_service_with_its_credential_and_is_recorded() {
    let world = World::start().await;
    let answer = world.read(&world.writ()).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()), "{}", answer.text());
    assert_eq!(answer.header("writ-edge"), None);

    let seen = world.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), "GET /v1/notes/7 HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(seen[0].header("host"), Some(world.upstream.address().to_string().as_str()));
    assert_eq!(seen[0].header("dpop"), None);

    let decision = world.decisions(1).await.remove(0);
    assert_eq!((decision.verdict, &*decision.reason, &*decision.path), (Verdict::Allowed, "allowed", "/notes/notes/7"));
    assert_eq!(decision.credential.unwrap().as_str(), "notes-key");
    assert_eq!(decision.who.unwrap().agent.as_str(), "assistant");
    assert_eq!(decision.capability.unwrap().to_string(), "notes:notes/read:team");
    assert!(decision.proof.is_some());
    let outcome = world.outcome().await;
    assert_eq!(finish(&outcome), ("completed", ""));
    assert_eq!((outcome.status, outcome.bytes_down, outcome.injected_at_seq), (Some(200), 2, Some(0)));
    assert!(!world.authority.records_text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests_and_one_token_is_verified_once() {
    let world = World::start().await;
    let writ = world.writ();
    let mut client = super::raw::Client::connect(world.edge.address()).await;
    for _ in 0..5 {
        assert_eq!(client.exchange(writ.get("/notes/notes/7")).await.status, 200);
    }
    assert_eq!(world.upstream.seen().len(), 5);
    assert_eq!(world.upstream.connections(), 1);
    assert_eq!(world.authority.lent(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_a_route_reads_is_forwarded_as_it_was_understood() {
    let world = World::start().await;
    let writ = world.writ();
    let answer = world.send(writ.post("/notes/pay", "{ \"amount\" : 5,\n \"to\":\"b\\u0062\" }")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.upstream.seen();
    assert_eq!(seen[0].body, br#"{"amount":5,"to":"bb"}"#);
    assert_eq!(seen[0].header("content-length"), Some("22"));
    let decision = world.decisions(1).await.remove(0);
    assert_eq!(serde_json::to_string(&decision.what.unwrap().arguments).unwrap(), r#"[{"name":"amount","value":5}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_no_route_reads_streams_through() {
    let world = World::start().await;
    let block = Authority { capabilities: vec!["notes:notes/write:team".parse().unwrap()], ..World::block() };
    let writ = world.writ_of(block);
    let fields = writ.fields("PUT", "/notes/notes/7");
    let answer = world
        .send(format!(
            "PUT /notes/notes/7 HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = String::from_utf8(world.upstream.seen()[0].body.clone()).unwrap();
    assert!(body.contains("abc") && body.contains("de") && body.ends_with("0\r\n\r\n"), "{body:?}");
    assert_eq!(world.outcome().await.bytes_up, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_capability_covers_is_denied_and_the_denial_says_what_to_ask_for() {
    let world = World::start().await;
    let writ = world.writ();
    let fields = writ.fields("DELETE", "/notes/notes/7");
    let answer = world.send(format!("DELETE /notes/notes/7 HTTP/1.1\r\n{fields}\r\n")).await;
    world.assert_refused(&answer, 403, "no_capability", Some(&writ)).await;
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["code"], "insufficient_scope");
    assert_eq!(problem["needed"], "notes:notes/write:team/7");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains(r#"error="insufficient_scope", scope="notes:notes/write:team/7""#), "{challenge}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_route_is_denied() {
    for (line, status, reason) in [
        ("GET /nothing/here HTTP/1.1", 404, "unknown_service"),
        ("GET / HTTP/1.1", 404, "unknown_service"),
        ("GET /notes/else HTTP/1.1", 404, "no_route"),
        ("PATCH /notes/notes/7 HTTP/1.1", 405, "method_not_allowed"),
        ("get /notes/notes/7 HTTP/1.1", 405, "method"),
        ("TRACE /notes/notes/7 HTTP/1.1", 405, "method"),
    ] {
        let world = World::start().await;
        let writ = world.writ();
        let mut parts = line.split(' ');
        let fields = writ.fields(parts.next().unwrap(), parts.next().unwrap());
        let answer = world.send(format!("{line}\r\n{fields}\r\n")).await;
        world.assert_refused(&answer, status, reason, Some(&writ)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_cannot_tell_an_unknown_an_expired_and_a_revoked_token_apart() {
    let world = World::start().await;
    let now = SystemClock.now().secs();
    let expired = world.writ_of(Authority { expires: Timestamp::from_secs(now - 1), ..World::block() });
    let revoked = world.writ();
    world.authority.revoke(Target::Block(revoked.block.id)).await;
    let mut forged = world.writ();
    forged.token = writ::token::mint::mint(
        &Authority { issuer: world.authority.issuer().into(), ..World::block() },
        &super::holder(),
        super::ROOT_KEY_ID,
        &super::random(),
        &writ::token::Limits::default(),
    )
    .unwrap();

    let mut told = Vec::new();
    for writ in [&expired, &revoked, &forged] {
        let answer = world.read(writ).await;
        let id = answer.header("writ-request").unwrap().to_owned();
        let date = format!("date: {}", answer.header("date").unwrap());
        told.push(answer.text().replace(&id, "").replace(&date, ""));
    }
    assert!(told[0].starts_with("HTTP/1.1 401") && told[0].contains(r#""code":"invalid_token""#), "{}", told[0]);
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    let reasons: Vec<_> = world.decisions(3).await.into_iter().map(|decision| decision.reason).collect();
    assert_eq!(reasons, ["token_expired", "revoked", "token_signature"].map(Into::into));
    assert!(world.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_its_one_place_only() {
    let world = World::start().await;
    let writ = world.writ();
    let (host, text) = (world.host(), writ.token.text());
    let fields = writ.fields("GET", "/notes/notes/7");
    let cases = [
        (format!("GET /notes/notes/7?access_token={text} HTTP/1.1\r\nHost: {host}\r\n\r\n"), 401, "token_missing"),
        (format!("GET /notes/notes/7 HTTP/1.1\r\nHost: {host}\r\nCookie: token={text}\r\n\r\n"), 401, "token_missing"),
        (
            format!("GET /notes/notes/7 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {text}\r\n\r\n"),
            401,
            "token_missing",
        ),
        (format!("GET /notes/notes/7 HTTP/1.1\r\nHost: {host}\r\nAuthorization: {text}\r\n\r\n"), 401, "token_missing"),
        (
            format!("GET /notes/notes/7 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {text}\r\n\r\n"),
            401,
            "token_downgrade",
        ),
        (
            format!("GET /notes/notes/7 HTTP/1.1\r\n{fields}Authorization: DPoP {text}\r\n\r\n"),
            400,
            "authorization_repeated",
        ),
    ];
    let mut siege = Siege::of(&world);
    for (request, status, reason) in cases {
        siege.repelled(&format!("{request:?}"), request, status, reason).await;
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_writ_counts_only_where_the_operator_said_so() {
    let bearer = |world: &World| {
        let writ = world.writ_of(Authority { holder: None, depth_max: 0, ..World::block() });
        format!(
            "GET /notes/notes/7 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            world.host(),
            writ.token.text()
        )
    };
    let world = World::start().await;
    let answer = world.send(bearer(&world)).await;
    world.assert_refused(&answer, 401, "token_bearer_refused", None).await;

    let world = World::start_with(|config| config.bearer = BearerRule::Accept).await;
    assert_eq!(world.send(bearer(&world)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_nothing_is_served() {
    let world = World::start().await;
    world.authority.set_reachable(false);
    let lease = world.edge.knowledge().clone();
    eventually("the lease ends", || !lease.lease_holds()).await;
    let writ = world.writ();
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 503, "no_lease", Some(&writ)).await;
    let ready = |world: &World| format!("GET /.writ/readyz HTTP/1.1\r\nHost: {}\r\n\r\n", world.host());
    assert_eq!(world.send(ready(&world)).await.status, 503);

    world.authority.set_reachable(true);
    eventually("the lease is back", || lease.lease_holds()).await;
    assert_eq!(world.send(ready(&world)).await.status, 200);
    assert_eq!(world.read(&writ).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_clock_is_wrong_serves_nothing() {
    let world = World::start().await;
    world.authority.set_clock_ahead(300_000);
    let lease = world.edge.knowledge().clone();
    eventually("the difference is noticed", || !lease.lease_holds()).await;
    let writ = world.writ();
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 503, "clock_skew", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_is_a_502_and_its_outcome_says_so() {
    let world = World::start().await;
    let block = Authority { capabilities: vec!["nowhere:read:x".parse().unwrap()], ..World::block() };
    let answer = world.send(world.writ_of(block).get("/nowhere/x")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.header("writ-edge"), Some("denied"));
    assert_eq!(finish(&world.outcome().await), ("failed", "upstream_unreachable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_nothing_is_a_504() {
    let world = World::start_with(|config| config.limits.answer_timeout = Duration::from_millis(200)).await;
    world.upstream.answer(Script::Silence);
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(finish(&world.outcome().await), ("failed", "upstream_timeout"));
    // Its connection is gone with it.
    world.upstream.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_told_to_stop_finishes_what_it_began() {
    let world = World::start().await;
    world.upstream.answer(Script::Events);
    let mut client = super::raw::Client::connect(world.edge.address()).await;
    client.write(world.writ().get("/notes/notes/7")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.chunk().await, Ok(Some(b"data: 0\n\n".to_vec())));
    let World { edge, upstream, authority, .. } = world;
    let address = edge.address();
    let stopping = tokio::spawn(edge.shutdown());
    let mut refused = false;
    for _ in 0..1000 {
        refused = tokio::net::TcpStream::connect(address).await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(refused, "it still takes connections");
    upstream.send_event();
    assert_eq!(client.chunk().await, Ok(Some(b"data: 1\n\n".to_vec())));
    drop(client);
    tokio::time::timeout(super::PATIENCE + LEASE, stopping).await.unwrap().unwrap();
    eventually("the last records are shipped", || authority.events().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_answered_with_the_length_and_without_the_body() {
    let world = World::start().await;
    world.upstream.answer(Script::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec()));
    let writ = world.writ();
    let mut client = super::raw::Client::connect(world.edge.address()).await;
    let fields = writ.fields("HEAD", "/notes/notes/7");
    client.write(format!("HEAD /notes/notes/7 HTTP/1.1\r\n{fields}\r\n")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 1234\r\n"), "{head}");
    assert_eq!(world.upstream.seen()[0].line(), "HEAD /v1/notes/7 HTTP/1.1");
    assert_eq!(finish(&world.outcome().await), ("completed", ""));
    world.upstream.answer(Script::Bytes(super::upstream::OK.to_vec()));
    assert_eq!(client.exchange(writ.get("/notes/notes/7")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_passed_on_as_a_whole_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let world = World::start().await;
        world.upstream.answer(Script::Last(answer.as_bytes().to_vec()));
        let mut client = super::raw::Client::connect(world.edge.address()).await;
        client.write(world.writ().get("/notes/notes/7")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        if head.contains("chunked") {
            assert_eq!(client.chunk().await, Ok(Some(b"hello".to_vec())));
            assert_eq!(client.chunk().await, Err(()));
        } else {
            assert_eq!(client.rest().await, b"hello");
        }
        assert_eq!(finish(&world.outcome().await), ("failed", "upstream_broken"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_http_is_a_502() {
    let world = World::start().await;
    world.upstream.answer(Script::Last(b"SSH-2.0-OpenSSH\r\n".to_vec()));
    let answer = world.read(&world.writ()).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(finish(&world.outcome().await), ("failed", "upstream_broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_before_the_answer_ends_the_exchange_with_the_service() {
    let world = World::start().await;
    world.upstream.answer(Script::Silence);
    let mut client = super::raw::Client::connect(world.edge.address()).await;
    client.write(world.writ().get("/notes/notes/7")).await;
    eventually("the service got it", || world.upstream.seen().len() == 1).await;
    drop(client);
    world.upstream.cut().await;
    assert_eq!(finish(&world.outcome().await), ("abandoned", ""));
}
