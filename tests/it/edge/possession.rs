//! Group C: a proof counts for its request, at this edge, once.

use std::time::Duration;

use writ::clock::Timestamp;
use writ::config::edge::NonceMode;
use writ::key::KeyPair;
use writ::token::chain::{Authority, ProofCovers};

use super::raw::Client;
use super::{Proving, World, Writ};

const PATH: &str = "/notes/notes/7";

fn get(writ: &Writ, proof: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\n{}\r\n", writ.fields_with(proof))
}

async fn refused(change: impl FnOnce(&World, &mut Writ, &mut Proving<'static>), reason: &str) {
    let world = World::start().await;
    let mut writ = world.writ();
    let mut proving = writ.proving("GET", PATH);
    change(&world, &mut writ, &mut proving);
    let answer = world.send(get(&writ, &writ.proof(&proving))).await;
    world.assert_refused(&answer, 401, reason, Some(&writ)).await;
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP ") && challenge.contains(r#"error="invalid_dpop_proof""#), "{challenge}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_writ_without_exactly_one_proof_is_refused() {
    let world = World::start().await;
    let writ = world.writ();
    let (host, text) = (world.host(), writ.token.text());
    let head = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {text}\r\n");
    let answer = world.send(format!("{head}\r\n")).await;
    world.assert_refused(&answer, 401, "proof_missing", Some(&writ)).await;
    let [one, two] = [0, 1].map(|_| writ.proof(&writ.proving("GET", PATH)));
    let answer = world.send(format!("{head}DPoP: {one}\r\nDPoP: {two}\r\n\r\n")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(&*world.decisions(2).await[1].reason, "proof_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_by_another_key_is_refused() {
    refused(|_, writ, _| writ.holder = KeyPair::from_seed(&[9; 32]), "proof_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_out_of_time_is_refused() {
    refused(|_, _, proving| proving.at = proving.at.before(Duration::from_secs(33)), "proof_time").await;
    refused(|_, _, proving| proving.at = proving.at.after(Duration::from_secs(8)), "proof_time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_another_request_is_refused() {
    refused(|_, _, proving| proving.method = "POST", "proof_mismatch").await;
    refused(|_, _, proving| proving.method = "get", "proof_mismatch").await;
    refused(|_, _, proving| proving.url = proving.url.replace("/7", "/8"), "proof_mismatch").await;
    refused(|_, _, proving| proving.url = proving.url.replace("http://", "https://"), "proof_mismatch").await;
    refused(|_, _, proving| proving.url = proving.url.replace("127.0.0.1", "localhost"), "proof_mismatch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_another_token_is_refused() {
    let world = World::start().await;
    let (writ, other) = (world.writ(), world.writ());
    let answer = world.send(get(&writ, &other.proof(&other.proving("GET", PATH)))).await;
    world.assert_refused(&answer, 401, "proof_mismatch", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_header_does_not_change_what_a_proof_must_be_for() {
    let world = World::start().await;
    let writ = world.writ();
    let mut proving = writ.proving("GET", PATH);
    proving.url = format!("http://elsewhere.example{PATH}");
    let spoofed = |proof: String| get(&writ, &proof).replace(&world.host(), "elsewhere.example");
    let answer = world.send(spoofed(writ.proof(&proving))).await;
    world.assert_refused(&answer, 401, "proof_mismatch", Some(&writ)).await;

    let answer = world.send(spoofed(writ.proof(&writ.proving("GET", PATH)))).await;
    assert_eq!(answer.status, 421, "{}", answer.text());
    for host in ["localhost", "127.0.0.1", "127.0.0.1:1", "user@127.0.0.1"] {
        let request = writ.get(PATH).replace(&format!("Host: {}", world.host()), &format!("Host: {host}"));
        assert_eq!(world.send(request).await.status, 421, "{host}");
    }
    assert!(world.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_counts_once_also_after_a_restart() {
    let world = World::start().await;
    let writ = world.writ();
    let request = get(&writ, &writ.proof(&writ.proving("GET", PATH)));
    assert_eq!(world.send(&request).await.status, 200);
    assert_eq!(world.send(&request).await.status, 401);
    let world = world.restarted().await;
    assert_eq!(world.send(&request).await.status, 401);
    assert_eq!(world.upstream.seen().len(), 1);
    let decisions = world.decisions(3).await;
    assert_eq!(decisions.iter().filter(|decision| &*decision.reason == "proof_replayed").count(), 2);
    assert_eq!(world.read(&writ).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_of_one_proof_at_once_one_gets_through() {
    let world = World::start().await;
    let writ = world.writ();
    let request = get(&writ, &writ.proof(&writ.proving("GET", PATH)));
    let sends = (0..16).map(|_| {
        let (address, request) = (world.edge.address(), request.clone());
        tokio::spawn(async move { Client::connect(address).await.exchange(request).await.status })
    });
    let mut statuses = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        statuses.push(send.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(world.upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_of_proofs_refuses_new_ones_and_still_knows_the_old() {
    let world = World::start_with(|config| config.limits.remembered_proofs_max = 16).await;
    let writ = world.writ();
    let mut used = Vec::new();
    let mut full = 0;
    for _ in 0..60 {
        let request = get(&writ, &writ.proof(&writ.proving("GET", PATH)));
        match world.send(&request).await.status {
            200 => used.push(request),
            503 => full += 1,
            status => panic!("{status}"),
        }
    }
    assert!(full >= 44 && used.len() <= 16, "{full} {}", used.len());
    for request in &used {
        assert_eq!(world.send(request).await.status, 401);
    }
    assert_eq!(world.upstream.seen().len(), used.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_nonce_is_demanded_the_first_answer_hands_one_out() {
    let world = World::start_with(|config| config.nonce = NonceMode::Demanded).await;
    let writ = world.writ();
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 401, "proof_nonce", Some(&writ)).await;
    assert!(answer.header("www-authenticate").unwrap().contains(r#"error="use_dpop_nonce""#));
    let nonce = answer.header("dpop-nonce").unwrap().to_owned();

    let with = |nonce: &str| get(&writ, &writ.proof(&Proving { nonce: Some(nonce), ..writ.proving("GET", PATH) }));
    let answer = world.send(with(&nonce)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("dpop-nonce").is_some());
    assert_eq!(world.send(with("AAAAAAAAAAAAAAAAAAAAAA")).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writ_that_demands_it_binds_query_and_body() {
    let world = World::start().await;
    let covers = ProofCovers { query: true, body: true };
    let writ = world.writ_of(Authority { proof_covers: covers, ..World::block() });
    let body = r#"{"amount":1}"#;
    let post = |query: &str, sent: &str, proving: &Proving<'_>| {
        let fields = writ.fields_with(&writ.proof(proving));
        let length = sent.len();
        format!(
            "POST /notes/pay{query} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{sent}"
        )
    };
    let proving = || Proving { body: Some(body.as_bytes()), query: Some("a=1"), ..writ.proving("POST", "/notes/pay") };
    assert_eq!(world.send(post("?a=1", body, &proving())).await.status, 200);
    assert_eq!(world.send(post("?a=2", body, &proving())).await.status, 401);
    assert_eq!(world.send(post("?a=1", r#"{"amount":2}"#, &proving())).await.status, 401);
    assert_eq!(world.send(post("", body, &proving())).await.status, 401);
    assert_eq!(world.upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_deployment_or_tenant_is_refused() {
    let world = World::start().await;
    let writ = world.writ_of(Authority { audience: "elsewhere".parse().unwrap(), ..World::block() });
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 401, "token_audience", Some(&writ)).await;
    let other = world.writ_of(Authority { tenant: "other".parse().unwrap(), ..World::block() });
    let answer = world.read(&other).await;
    assert_eq!(answer.status, 404);
    assert!(world.upstream.seen().is_empty());
    let block = World::block();
    let early = Authority { not_before: Timestamp::from_secs(block.expires.secs() - 1), ..block };
    assert_eq!(world.read(&world.writ_of(early)).await.status, 401);
    assert_eq!(&*world.decisions(3).await[2].reason, "token_not_yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_is_told_the_services_of_its_writ_and_nobody_else_is_told_anything() {
    const LIST: &str = "/.writ/services";
    let world = World::start().await;
    let writ = world.writ();
    let list = |proof: &str| format!("GET {LIST} HTTP/1.1\r\n{}\r\n", writ.fields_with(proof));
    let proof = writ.proof(&writ.proving("GET", LIST));
    let answer = world.send(list(&proof)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let services = told["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "only those that the writ has a capability for: {told}");
    assert_eq!(services[0]["name"], "notes");
    assert!(services[0]["origins"][0].as_str().unwrap().starts_with("http://127.0.0.1:"));

    // The proof is used up, and none is as bad as a used one.
    assert_eq!(world.send(list(&proof)).await.status, 401);
    let host = world.host();
    assert_eq!(world.send(format!("GET {LIST} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 401);
}
