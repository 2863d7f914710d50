//! Holders who revoke with a token as witness: what is theirs to end, what is not, and that a flood of them stops nobody.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use serde_json::{Value, json};
use writ::authority::revoke::{Named, RevocationRequest};
use writ::authority::witness::{CHECKED_AT_ONCE, IN_FLIGHT_MAX, PER_KEY_MAX};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::revocation::{RevocationSet, Statement, Target};
use writ::store::witnessed::ROOT_ENTRIES_MAX;
use writ::token::inspect::inspect;
use writ::token::{Chain, Limits, RawToken, RootKeys, verify};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAgent, TestAuthority, keyring, random, start};

for_every_backend!(
    a_holder_ends_its_hop_and_what_hangs_below_and_nothing_else,
    a_holder_without_a_hop_ends_the_whole_writ,
    a_witness_works_at_every_replica_and_twice_is_one_entry,
    what_has_expired_is_answered_and_once_over_not_stored,
    a_forged_or_foreign_witness_stores_nothing,
    a_writ_that_was_never_issued_is_no_witness,
    a_holder_who_mints_endless_hops_leaves_room_for_those_above,
);

fn key() -> KeyPair {
    KeyPair::from_seed(&random())
}

/// The id of a token's last block.
fn last(token: &str) -> BlockId {
    let limits = Limits::default();
    let unverified = inspect(&RawToken::parse(token, &limits).unwrap(), &limits).unwrap();
    unverified.claims().block_ids().last().unwrap()
}

async fn chain(test: &TestAuthority, token: &str) -> Chain {
    let keys = test.get("/v1/keys").await.ok();
    let keys = keys["root_keys"].as_array().unwrap().iter();
    let trusted = keys.map(|key| json!({ "id": key["id"], "key": key["key"], "until": Value::Null }));
    let keys: RootKeys = serde_json::from_value(json!({ "keys": trusted.collect::<Vec<_>>() })).unwrap();
    let limits = Limits::default();
    verify(&RawToken::parse(token, &limits).unwrap(), &keys, &limits).unwrap()
}

/// Whether the log as it stands in the store kills a token.
async fn is_dead(test: &TestAuthority, token: &str) -> bool {
    let log = test.store.live_revocations(0, u64::MAX, test.clock_now(), 1000).await.unwrap();
    RevocationSet::of(&Statement::of(0, u64::MAX, log)).revokes(&chain(test, token).await).is_some()
}

async fn writ(test: &TestAuthority) -> (TestAgent, String) {
    let agent = test.agent("planner").await;
    let grant = json!({ "agent": "planner", "capabilities": ["notes:read:team"], "depth_max": 5 });
    test.post("/v1/grants", grant).await.ok();
    let token = test.writ(&agent, "notes:read:team").await;
    (agent, token)
}

async fn a_holder_ends_its_hop_and_what_hangs_below_and_nothing_else(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let (bob, carol, dave, eve) = (key(), key(), key(), key());
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    let at_carol = test.delegated(&at_bob, &bob, &carol, [2; 16]);
    let at_dave = test.delegated(&at_carol, &carol, &dave, [3; 16]);
    let at_eve = test.delegated(&at_bob, &bob, &eve, [4; 16]);
    let root_id = chain(&test, &root).await.authority().id;

    // Not an ancestor, not a sibling, not what is in no chain of hers; and not with somebody else's key.
    for (holder, token, block) in [
        (&dave, &at_dave, last(&at_carol)),
        (&dave, &at_dave, last(&at_bob)),
        (&dave, &at_dave, root_id),
        (&carol, &at_dave, last(&at_bob)),
        (&carol, &at_carol, last(&at_eve)),
        (&carol, &at_carol, BlockId::from_bytes([9; 16])),
        (&eve, &at_carol, last(&at_carol)),
        (&key(), &at_carol, last(&at_carol)),
    ] {
        test.witness(holder, &json!({ "token": token, "block": block })).await.refused(403, "not_yours");
    }
    assert_eq!(test.store.revocation_head().await.unwrap(), 0);

    // Nor by giving a hop of her own the id of another block: it names her hop all the same.
    for copied in [*root_id.as_bytes(), [1; 16], [4; 16], *last(&at_bob).as_bytes(), *last(&at_eve).as_bytes()] {
        let imitation = test.delegated(&at_dave, &dave, &key(), copied);
        test.witness(&dave, &json!({ "token": imitation })).await.ok();
        assert!(is_dead(&test, &imitation).await);
        for alive in [&root, &at_bob, &at_carol, &at_dave, &at_eve] {
            assert!(!is_dead(&test, alive).await);
        }
    }
    let before = test.store.revocation_head().await.unwrap();

    // Her own hop, by a token further down.
    let receipt = test.witness(&carol, &json!({ "token": at_dave, "block": last(&at_carol) })).await.ok();
    assert_eq!(
        (&receipt["seq"], &receipt["target"]),
        (&json!(before + 1), &json!(format!("block:{}", last(&at_carol))))
    );
    assert!(receipt["signature"].is_string());
    assert!(is_dead(&test, &at_carol).await && is_dead(&test, &at_dave).await);
    for alive in [&root, &at_bob, &at_eve] {
        assert!(!is_dead(&test, alive).await);
    }
    // A hop made afterwards is dead from the start, and to end it once more is the same entry.
    let later = test.delegated(&at_carol, &carol, &key(), [5; 16]);
    assert!(is_dead(&test, &later).await);
    assert_eq!(test.witness(&carol, &json!({ "token": later })).await.ok()["seq"], before + 1);

    // The last hop, without naming it; and a parent ends a child's.
    assert_eq!(
        test.witness(&eve, &json!({ "token": at_eve })).await.ok()["target"],
        format!("block:{}", last(&at_eve))
    );
    test.witness(&agent.key, &json!({ "token": at_eve, "block": last(&at_bob) })).await.ok();
    assert!(is_dead(&test, &at_bob).await && !is_dead(&test, &root).await);

    let audit = test.get("/v1/audit?limit=1000").await.ok();
    let records = audit.as_array().unwrap();
    let text = records
        .iter()
        .map(|record| record.to_string())
        .find(|text| text.contains("revocation.witness") && text.contains(&carol.public().to_string()));
    let text = text.unwrap();
    let sha256 = hex::encode(chain(&test, &at_dave).await.digest().0);
    for told in [carol.public().to_string(), sha256, "\"position\":2".into()] {
        assert!(text.contains(&told) || text.contains(&told.replace('"', "\\\"")), "{told} in {text}");
    }
    for token in [&at_dave, &at_eve] {
        assert!(!audit.to_string().contains(token.as_str()), "no token in the audit log");
    }
}

async fn a_holder_without_a_hop_ends_the_whole_writ(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let at_bob = test.delegated(&root, &agent.key, &key(), [1; 16]);
    let root_id = chain(&test, &root).await.authority().id;
    test.witness(&agent.key, &json!({ "token": at_bob, "block": root_id })).await.ok();
    assert!(is_dead(&test, &root).await && is_dead(&test, &at_bob).await);
    // A bearer writ has no holder who could prove anything.
    let grant = json!({ "agent": "planner", "capabilities": ["mail:send:x"], "bearer": true });
    test.post("/v1/grants", grant).await.ok();
    let bearer = test.token_with(&test.form(&agent, &[("scope", "mail:send:x")]), None).await.ok();
    test.witness(&agent.key, &json!({ "token": bearer["access_token"] })).await.refused(403, "not_yours");
}

async fn a_witness_works_at_every_replica_and_twice_is_one_entry(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let bob = key();
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    let beside = test.beside(keyring(&test.kek, &[])).await;
    let edge = test.edge("edge-1").await;
    let _following = edge.follow();
    // The edge follows the other one: this one waits for its lease to end.
    let body = json!({ "token": at_bob });
    let first = test.let_time_pass(beside.witness(&bob, &body)).await.ok();
    // Whoever saw the request may send it again, and changes nothing by it.
    let path = "/v1/revocations/witness";
    let body = body.to_string();
    let proof = test.body_proof(&bob, path, body.as_bytes());
    for _ in 0..2 {
        let again = test.json_with_proofs(path, body.clone(), &[&proof]).await.ok();
        assert_eq!((&again["seq"], &again["committed"]), (&first["seq"], &first["committed"]));
    }
    assert_eq!(test.store.revocation_head().await.unwrap(), 1);
}

async fn what_has_expired_is_answered_and_once_over_not_stored(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let bob = key();
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    // Expired: an edge whose clock is behind may think otherwise, so it is ended all the same.
    test.clock.advance(Duration::from_secs(901));
    let receipt = test.witness(&bob, &json!({ "token": at_bob })).await.ok();
    assert_eq!(receipt["seq"], 1);
    // Over for so long that it matters to nobody.
    test.clock.advance(Duration::from_secs(3600));
    let at_carol = test.delegated(&at_bob, &bob, &key(), [2; 16]);
    for (token, target) in [(&at_bob, last(&at_bob)), (&at_carol, last(&at_carol))] {
        let answer = test.witness(&bob, &json!({ "token": token })).await.ok();
        assert_eq!(answer["target"], format!("block:{target}"));
        assert!(answer["over_since"].is_i64() && answer.get("signature").is_none(), "{answer}");
    }
    assert_eq!(test.store.revocation_head().await.unwrap(), 1);
}

async fn a_forged_or_foreign_witness_stores_nothing(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let bob = key();
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    let elsewhere = start(&Database::sqlite().await).await;
    let (foreign_agent, foreign) = writ(&elsewhere).await;
    let before = test.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
    // Another installation's writ, a hop signed by nobody in the chain, a changed byte, no token at all.
    let unsigned = test.delegated(&root, &agent.key, &bob, [1; 16]);
    let mut changed = unsigned.into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    test.witness(&foreign_agent.key, &json!({ "token": foreign })).await.refused(403, "invalid_token");
    for token in [changed.as_str(), "", "x", &"A".repeat(9000)] {
        test.witness(&bob, &json!({ "token": token })).await.refused(403, "invalid_token");
    }
    // The proof: none, two, of another body, of another place, without the body, used with another token.
    let (path, body) = ("/v1/revocations/witness", json!({ "token": at_bob }).to_string());
    let good = test.body_proof(&bob, path, body.as_bytes());
    let bad = [
        vec![],
        vec![good.clone(), good.clone()],
        vec![test.body_proof(&bob, path, b"{}")],
        vec![test.body_proof(&bob, "/oauth/revoke", body.as_bytes())],
        vec![test.token_proof(&bob)],
        vec![format!("{good}x")],
    ];
    for proofs in bad {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        test.json_with_proofs(path, body.clone(), &proofs).await.refused(401, "invalid_dpop_proof");
    }
    let other = json!({ "token": root }).to_string();
    test.json_with_proofs(path, other, &[&good]).await.refused(401, "invalid_dpop_proof");
    test.clock.advance(Duration::from_secs(31));
    test.json_with_proofs(path, body, &[&good]).await.refused(401, "invalid_dpop_proof");
    let told = test.witness(&bob, &json!({ "token": at_bob, "more": 1 })).await.refused(400, "malformed");
    assert!(!told.contains(&at_bob[..20]), "{told}");
    test.witness(&bob, &json!({ "token": "A".repeat(17 << 10) })).await.refused(413, "too_large");
    assert_eq!(test.store.revocation_head().await.unwrap(), 0);
    assert_eq!(test.store.audit_head(&writ::audit::Source::Authority).await.unwrap(), before, "something changed");
}

/// As somebody with a stolen root key could sign them without end.
async fn a_writ_that_was_never_issued_is_no_witness(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    database.sql("DELETE FROM issued_writ").await;
    let bob = key();
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    for (holder, token) in [(&agent.key, &root), (&Arc::new(bob), &at_bob)] {
        test.witness(holder, &json!({ "token": token })).await.refused(403, "unknown_writ");
    }
    assert_eq!(test.store.revocation_head().await.unwrap(), 0);
}

async fn a_holder_who_mints_endless_hops_leaves_room_for_those_above(database: &Database) {
    let test = start(database).await;
    let (agent, root) = writ(&test).await;
    let (bob, carol) = (key(), key());
    let at_bob = test.delegated(&root, &agent.key, &bob, [1; 16]);
    let at_carol = test.delegated(&root, &agent.key, &carol, [2; 16]);
    let flood = async |from: &str, by: &KeyPair, n: u64| {
        let mut hop = [0xaa; 16];
        hop[..8].copy_from_slice(&n.to_be_bytes());
        let next = key();
        let token = test.delegated(from, by, &next, hop);
        // By the next holder's key: each is another one, so that no key's own limit ends the flood.
        test.witness(&next, &json!({ "token": token })).await
    };
    for n in 0..ROOT_ENTRIES_MAX / 2 {
        flood(&at_bob, &bob, n).await.ok();
    }
    let full = flood(&at_bob, &bob, 1000).await;
    assert_eq!(full.headers[header::RETRY_AFTER], "60");
    full.refused(429, "too_many_witnesses");
    assert_eq!(test.store.revocation_head().await.unwrap(), ROOT_ENTRIES_MAX / 2);
    // A sibling and those above are not concerned; and what ends the flood has room, whatever is full.
    flood(&at_carol, &carol, 2000).await.ok();
    test.witness(&bob, &json!({ "token": at_bob })).await.ok();
    assert!(is_dead(&test, &at_bob).await && !is_dead(&test, &at_carol).await);
    test.witness(&agent.key, &json!({ "token": root })).await.ok();
    assert!(is_dead(&test, &at_carol).await);
    // From here on each is dead by an entry that is there, the first one of them: nothing is added.
    let head = test.store.revocation_head().await.unwrap();
    assert_eq!(flood(&at_bob, &bob, 3000).await.ok()["seq"], head - 1);
    assert_eq!(test.store.revocation_head().await.unwrap(), head);
}

#[tokio::test]
async fn a_key_may_show_so_many_witnesses_within_a_minute() {
    let test = start(&Database::sqlite().await).await;
    let (agent, root) = writ(&test).await;
    for _ in 0..PER_KEY_MAX {
        test.witness(&agent.key, &json!({ "token": root })).await.ok();
    }
    let refused = test.witness(&agent.key, &json!({ "token": root })).await;
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    refused.refused(429, "too_many_witnesses");
    test.clock.advance(Duration::from_secs(60));
    test.witness(&agent.key, &json!({ "token": root })).await.ok();
}

/// While the store stands still, holders send more than there are places for. Then an operator revokes, and the store goes on.
/// Failure is an operator's entry that comes after more holders' than may be committed at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_witnesses_does_not_keep_an_operator_waiting() {
    let database = Database::sqlite().await;
    let test = Arc::new(start(&database).await);
    let (agent, root) = writ(&test).await;
    let mut witnesses = Vec::new();
    for n in 0..100_u8 {
        let next = Arc::new(key());
        witnesses.push((test.delegated(&root, &agent.key, &next, [n; 16]), next));
    }
    let path = database.url.to_string().strip_prefix("sqlite:").unwrap().to_owned();
    let standstill = rusqlite::Connection::open(path).unwrap();
    standstill.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..IN_FLIGHT_MAX + 50 {
        let (token, next) = &witnesses[n % witnesses.len()];
        // Every second one is forged.
        let token = if n % 2 == 0 { token.clone() } else { format!("{}AAAA", &token[..token.len() - 4]) };
        let (body, next, test) = (json!({ "token": token }), Arc::clone(next), Arc::clone(&test));
        flood.spawn(async move { test.witness(&next, &body).await });
    }
    // No more places: the flood is there.
    let mut answers = Vec::new();
    while !answers.iter().any(|reply: &crate::support::authority::Reply| reply.status == 429) {
        answers.push(flood.join_next().await.unwrap().unwrap());
    }
    let what = Named::Target(Target::Tenant("acme".parse().unwrap()));
    let request = RevocationRequest { what, reason: None, idempotency_key: None, confirm: false };
    let by = "root".parse().unwrap();
    let revoking = test.authority.revoke(&by, request);
    tokio::pin!(revoking);
    // One look is enough to be in the store's queue.
    assert!(
        futures_util::FutureExt::now_or_never(std::future::poll_fn(|cx| {
            std::task::Poll::Ready(revoking.as_mut().poll(cx).is_ready())
        })) == Some(false)
    );
    standstill.execute_batch("COMMIT").unwrap();
    revoking.await.unwrap();
    let entries = test.store.revocations_after(0, 1000).await.unwrap();
    let place = entries.iter().position(|entry| matches!(entry.target, Target::Tenant(_))).unwrap();
    assert!(place <= CHECKED_AT_ONCE, "{place} holders came before the operator");
    while let Some(answer) = flood.join_next().await {
        answers.push(answer.unwrap());
    }
    for reply in answers {
        assert!(matches!(reply.status, 200 | 403 | 429), "{} {}", reply.status, reply.text);
    }
}
