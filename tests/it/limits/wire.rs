//! What an edge can say about limits, and what it is answered.

use serde_json::json;
use writ::clock::Clock as _;
use writ::edge::channel::ChannelError;
use writ::policy::limit::{Ask, Bucket};
use writ::wire::{ASKS_MAX, LimitsReply, LimitsRequest};

use super::{ALL, document};
use crate::store::Database;
use crate::support::authority::{TestAuthority, TestEdge, WITHIN, random, start};

fn ask(test: &TestAuthority) -> Ask {
    let start = "1h".parse::<writ::policy::limit::Window>().unwrap().start(test.clock.now());
    let bucket = Bucket {
        tenant: "default".parse().unwrap(),
        limit: "calls".parse().unwrap(),
        counted: "calls 3600".into(),
        key: "agent:a".into(),
        start,
    };
    Ask { bucket, holding: 1, keep: 0, needed: 5, wanted: 5 }
}

async fn told(edge: &TestEdge, seq: u64, asks: Vec<Ask>) -> Result<LimitsReply, ChannelError> {
    let process = writ::id::ProcessId::from_bytes([1; 16]);
    edge.channel.call("/v1/edge/limits", &LimitsRequest { process, seq, asks }, WITHIN).await
}

async fn limited() -> TestAuthority {
    let test = start(&Database::sqlite().await).await;
    let limit = json!({ "name": "calls", "per": "agent", "window": "1h", "calls": 100 });
    test.put("/v1/policies", document(ALL, &json!([limit]))).await.ok();
    test
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_is_allotted_nothing_of_limits_and_windows_that_are_not() {
    let test = limited().await;
    let edge = test.edge("edge-1").await;
    let hour = std::time::Duration::from_secs(3600);
    let mut strange = vec![ask(&test); 7];
    strange[0].bucket.limit = "other".parse().unwrap();
    strange[1].bucket.tenant = "acme".parse().unwrap();
    strange[2].bucket.counted = "calls 60".into();
    strange[3].bucket.start = strange[3].bucket.start.after(hour);
    strange[4].bucket.start = strange[4].bucket.start.before(2 * hour);
    strange[5].bucket.start = strange[5].bucket.start.after(std::time::Duration::from_secs(1));
    let answers = told(&edge, 1, strange).await.unwrap().answers;
    assert!(answers[..6].iter().all(Option::is_none), "{answers:?}");
    assert_eq!(answers[6].unwrap().held, 5);
    assert_eq!(told(&edge, 1, vec![ask(&test)]).await.unwrap().answers, [None], "no later than the last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_cannot_be_meant_is_refused_and_changes_nothing() {
    let test = limited().await;
    let edge = test.edge("edge-1").await;
    let of = |change: fn(&mut Ask)| {
        let mut ask = ask(&test);
        change(&mut ask);
        ask
    };
    let bad = [
        of(|ask| ask.keep = -1),
        of(|ask| ask.keep = 6),
        of(|ask| ask.wanted = 4),
        of(|ask| ask.bucket.key = "x".repeat(265).into()),
        of(|ask| ask.bucket.key = "agent:\u{1b}[2J".into()),
    ];
    for bad in bad {
        let refused = told(&edge, 1, vec![ask(&test), bad.clone()]).await;
        assert!(
            matches!(&refused, Err(ChannelError::Refused { status, .. }) if *status == 400),
            "{bad:?}: {refused:?}"
        );
    }
    assert!(told(&edge, 1, vec![ask(&test); ASKS_MAX + 1]).await.is_err());
    assert_eq!(test.get("/v1/limits/used").await.ok(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_a_registered_edge_is_allotted_anything() {
    let test = limited().await;
    let refused = told(&test.stranger(), 1, vec![ask(&test)]).await;
    assert!(matches!(&refused, Err(ChannelError::Refused { status, .. }) if *status == 403), "{refused:?}");
    let path = "/v1/edge/limits";
    let body = json!({ "process": hex::encode(random::<16>()), "seq": 1, "asks": [] }).to_string();
    let reply = test.json_with_proofs(path, body, &[]).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_edge_cannot_speak_of_what_another_holds() {
    let test = limited().await;
    let (one, two) = (test.edge("edge-1").await, test.edge("edge-2").await);
    assert_eq!(told(&one, 1, vec![ask(&test)]).await.unwrap().answers[0].unwrap().used, 5);
    // The same run and holding by name, from another edge: a holding of its own.
    let back = Ask { keep: 0, needed: 0, wanted: 0, ..ask(&test) };
    assert_eq!(told(&two, 2, vec![back]).await.unwrap().answers[0].unwrap().used, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_not_whole_replace_nothing() {
    let test = limited().await;
    let before = test.get("/v1/limits").await.ok();
    assert_eq!(before["limit"][0]["name"], "calls");
    let bad = [
        json!([{ "name": "x", "per": "agent", "window": "1h" }]),
        json!([{ "name": "x", "per": "agent", "window": "1h", "calls": 1, "sum": "a", "max": 1 }]),
        json!([{ "name": "x", "per": "nobody", "window": "1h", "calls": 1 }]),
        json!([{ "name": "x", "per": "agent", "window": "1y", "calls": 1 }]),
        json!([{ "name": "x", "per": "agent", "window": "1h", "calls": 0 }]),
    ];
    for bad in bad {
        test.put("/v1/policies", document(ALL, &bad)).await.refused(400, "malformed");
    }
    assert_eq!(test.get("/v1/limits").await.ok(), before);
}
