//! A holder that proves its key once for a connection, by TLS, with clients of other people.

use std::process::Command;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use writ::audit::Verdict;
use writ::key::KeyPair;

use super::tls::Certificate;
use super::{SECRET, World, Writ, holder};

type Client = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate of `key` that signs itself.
fn of(key: &rcgen::KeyPair) -> Client {
    let params = rcgen::CertificateParams::new(vec!["whatever.example".to_owned()]).unwrap();
    let certificate = params.self_signed(key).unwrap().der().clone();
    (certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
}

fn of_holder(key: &KeyPair) -> Client {
    of(&rcgen::KeyPair::from_pem(&key.to_pem()).unwrap())
}

async fn world(edge: &Certificate, mutual: bool) -> World {
    World::start_with(|config| {
        config.tls = Some(edge.files());
        config.mutual_tls = mutual;
    })
    .await
}

fn plain(writ: &Writ) -> String {
    let host = writ.origin.split_once("//").unwrap().1;
    let token = writ.token.text();
    format!("GET /notes/notes/7 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// The head of the answer, or nothing where the edge ends the connection.
async fn exchange(edge: &Certificate, world: &World, client: Option<Client>, request: &str) -> String {
    let Ok(mut stream) = edge.connect_as(world, b"http/1.1", client, &[&TLS13]).await else { return String::new() };
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read_buf(&mut answer).await {
                Ok(read) if read > 0 => {}
                _ => break,
            }
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_holder_proved_needs_no_proof_with_its_requests() {
    let edge = Certificate::new();
    let world = world(&edge, true).await;
    let writ = world.writ();
    let client = of_holder(&writ.holder);
    let mut stream = edge.connect_as(&world, b"http/1.1", Some(client), &[&TLS13]).await.unwrap();
    for _ in 0..3 {
        stream.write_all(plain(&writ).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(world.upstream.seen().len(), 3);
    let decisions = world.decisions(3).await;
    assert!(decisions.iter().all(|decision| decision.by_connection && decision.proof.is_none()));
    assert_eq!(decisions[0].who.as_ref().unwrap().holders, [holder().public()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_holders_opens_nothing() {
    let edge = Certificate::new();
    let world = world(&edge, true).await;
    let writ = world.writ();
    let other = || of_holder(&KeyPair::from_seed(&[9; 32]));
    let mut reasons = Vec::new();
    for (client, reason) in [(Some(other()), "token_connection"), (None, "token_downgrade")] {
        let answer = exchange(&edge, &world, client, &plain(&writ)).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        reasons.push(reason);
    }
    // The holder's certificate is no secret. Without its key it proves nothing.
    let stolen = (of_holder(&writ.holder).0, other().1);
    let answer = exchange(&edge, &world, Some(stolen), &plain(&writ)).await;
    assert_eq!(answer, "", "the handshake fails");
    // With the scheme of proofs, a proof is due, whoever connected.
    let dpop = plain(&writ).replace("Bearer", "DPoP");
    let answer = exchange(&edge, &world, Some(of_holder(&writ.holder)), &dpop).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    reasons.push("proof_missing");

    let decisions = world.decisions(3).await;
    assert!(decisions.iter().all(|decision| decision.verdict == Verdict::Denied && !decision.by_connection));
    assert_eq!(decisions.iter().map(|decision| &*decision.reason).collect::<Vec<_>>(), reasons);
    assert!(world.upstream.seen().is_empty());
    assert_eq!(world.authority.lent(), 0);
    assert!(!world.authority.records_text().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_kinds_and_older_tls_are_not_taken_for_a_proof() {
    let edge = Certificate::new();
    let world = world(&edge, true).await;
    let writ = world.writ();
    // A client keeps a key to itself that the edge has no use for.
    let curve = of(&rcgen::KeyPair::generate().unwrap());
    let answer = exchange(&edge, &world, Some(curve), &plain(&writ)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let old = edge.connect_as(&world, b"http/1.1", Some(of_holder(&writ.holder)), &[&TLS12]).await;
    assert!(old.is_err(), "a key over TLS 1.2");
    assert!(edge.connect_as(&world, b"http/1.1", None, &[&TLS12]).await.is_ok(), "none");
    assert!(world.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_no_key_is_asked_for() {
    let edge = Certificate::new();
    let world = world(&edge, false).await;
    let writ = world.writ();
    let answer = exchange(&edge, &world, Some(of_holder(&writ.holder)), &plain(&writ)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(&*world.decisions(1).await[0].reason, "token_downgrade");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_proves_a_key_with_a_certificate_that_openssl_made() {
    let edge = Certificate::new();
    let world = world(&edge, true).await;
    let writ = world.writ();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("planner.pem"), writ.holder.to_pem().as_bytes()).unwrap();
    let made = Command::new("openssl")
        .current_dir(dir.path())
        .args(["req", "-x509", "-key", "planner.pem", "-subj", "/", "-days", "3650", "-out", "planner.crt"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let url = format!("{}/notes/notes/7", writ.origin);
    let authorization = format!("Authorization: Bearer {}", writ.token.text());
    let curl = async |more: &[&str]| {
        let mut curl = tokio::process::Command::new("curl");
        curl.current_dir(dir.path()).args(["-sS", "--tlsv1.3", "-w", " %{http_code}", "--cacert"]);
        curl.arg(edge.file()).args(["-H", &authorization]).args(more).arg(&url);
        String::from_utf8(curl.output().await.unwrap().stdout).unwrap()
    };
    assert_eq!(curl(&["--cert", "planner.crt", "--key", "planner.pem"]).await, "ok 200");
    assert!(curl(&[]).await.ends_with(" 401"));
}
