//! What is counted, refused and given back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use writ::audit::Event;
use writ::store::AuditQuery;

use super::{Stage, bank, flood};
use crate::edge::raw::Answer;
use crate::edge::{PATIENCE, eventually};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    two_edges_let_through_what_the_limit_says_and_no_more,
    of_fifty_spends_of_ten_at_once_a_budget_of_a_hundred_serves_ten,
    a_call_over_the_limit_says_which_limit_until_when_and_who_can_change_it,
    what_cannot_be_counted_is_refused,
    what_was_not_sent_is_not_counted,
    without_the_authority_what_is_held_is_used_up_and_then_nothing_passes,
    an_edge_that_dies_gives_nothing_back_and_one_that_stops_does,
    a_bound_that_is_lowered_counts_at_once,
    a_limit_is_counted_for_each_agent_and_each_grant_alone,
);

fn calls(max: u32, window: &str) -> Value {
    json!([{ "name": "calls", "per": "agent", "service": "bank", "window": window, "calls": max }])
}

fn spend(max: &str) -> Value {
    json!([{ "name": "spend", "per": "agent", "service": "bank", "action": "pay", "window": "1d", "sum": "amount", "max": max }])
}

/// Calls one by one through each edge in turn, as time passes, until nothing is left of `max` units beside `lost`; a call
/// takes `each`.
async fn rest(stage: &Stage, max: i64, each: i64, lost: i64) -> usize {
    let mut through = 0;
    loop {
        for edge in 0..stage.edges.len() {
            loop {
                let amount = (each != 1).then(|| each.to_string());
                let answer = stage.counted(edge, amount.as_deref()).await;
                if answer.status != 200 {
                    assert_eq!(answer.status, 429, "{}", answer.text());
                    break;
                }
                through += 1;
            }
        }
        // What is idle is given back after two seconds of the edge's clock.
        stage.pass(Duration::from_secs(3)).await;
        let spent = i64::try_from(stage.served()).unwrap() * each;
        eventually_held(stage, spent + lost).await;
        if spent + lost + each > max {
            return through;
        }
    }
}

/// Waits until edges hold so much.
async fn eventually_held(stage: &Stage, amount: i64) {
    let given_back = async {
        while held(stage).await != Some(amount) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, given_back).await;
    assert!(waited.is_ok(), "edges hold {:?} instead of {amount}", held(stage).await);
}

/// What edges hold of the first limit, spent or not; `None` while that is a fraction, as it may be of a sum.
async fn held(stage: &Stage) -> Option<i64> {
    stage.test.get("/v1/limits/used").await.ok()[0]["used"].as_str().unwrap().parse().ok()
}

async fn two_edges_let_through_what_the_limit_says_and_no_more(database: &Database) {
    let stage = Arc::new(Stage::start(database, 2, calls(40, "1d")).await);
    let at_once = flood(&stage, 40, None).await;
    assert!((20..=40).contains(&at_once), "{at_once}");
    let later = rest(&stage, 40, 1, 0).await;
    assert_eq!((at_once + later, stage.served()), (40, 40));
    assert_eq!(stage.used().await, ["calls agent:planner 40/40"]);
}

async fn of_fifty_spends_of_ten_at_once_a_budget_of_a_hundred_serves_ten(database: &Database) {
    let stage = Arc::new(Stage::start(database, 1, spend("100.00")).await);
    assert_eq!((flood(&stage, 50, Some("10")).await, stage.served()), (10, 10));
    let two = Arc::new(Stage::start(&Database::sqlite().await, 2, spend("100")).await);
    let at_once = flood(&two, 25, Some("10")).await;
    assert_eq!(at_once + rest(&two, 100, 10, 0).await, 10);
    assert_eq!(two.served(), 10);
}

fn problem(answer: &Answer, status: u16, reason: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["reason"], reason, "{problem}");
    problem
}

async fn a_call_over_the_limit_says_which_limit_until_when_and_who_can_change_it(database: &Database) {
    let stage = Stage::start(database, 1, calls(2, "1m")).await;
    // 10 seconds into a window.
    stage.pass(Duration::from_secs(10)).await;
    for _ in 0..2 {
        assert_eq!(stage.read(0).await.status, 200);
    }
    let answer = stage.read(0).await;
    let told = problem(&answer, 429, "limit_exceeded");
    assert_eq!((&told["code"], &told["limit"]), (&json!("limit_exceeded"), &json!("calls")));
    assert_eq!(answer.header("retry-after"), Some("50"));
    assert_eq!(
        told["detail"],
        "limit `calls` (2 calls per agent in 1m) is used up for `agent:planner` until 2027-01-15T08:01:00Z: try again then, \
         or ask an operator to change it"
    );
    let recorded = async || {
        let records = stage.test.store.audit(&AuditQuery { limit: 1000, ..AuditQuery::default() }).await.unwrap();
        let denied = |(_, record): &(u64, writ::audit::Record)| match serde_json::from_str(record.event.get()).unwrap()
        {
            Event::Decision(decision) if &*decision.reason == "limit_exceeded" => decision.detail,
            _ => None,
        };
        records.iter().find_map(denied)
    };
    let detail = loop {
        match recorded().await {
            Some(detail) => break detail,
            None => stage.pass(Duration::from_millis(50)).await,
        }
    };
    assert!(detail.contains("limit `calls`") && detail.contains("agent:planner"), "{detail}");
    // The next window.
    stage.pass(Duration::from_secs(50)).await;
    assert_eq!(stage.read(0).await.status, 200);
    assert_eq!(stage.served(), 3);
}

async fn what_cannot_be_counted_is_refused(database: &Database) {
    let stage = Stage::start(database, 1, spend("1000000000")).await;
    for amount in ["0", "-5", "9007199254740991", "1000000001"] {
        let answer = stage.pay(0, amount).await;
        let told = problem(&answer, 403, if amount == "1000000001" { "limit_too_small" } else { "limit_uncountable" });
        assert_eq!(told["limit"], "spend", "{told}");
    }
    for amount in ["1.5", "1e3", "\"5\"", "null", "9223372036854775808", "-0"] {
        assert_eq!(stage.pay(0, amount).await.status, 400, "{amount}");
    }
    problem(&stage.send(0, "POST", "/bank/pay", "{}").await, 403, "limit_uncountable");
    assert_eq!(stage.served(), 0);
    assert_eq!(stage.pay(0, "5").await.status, 200);
    assert_eq!(stage.read(0).await.status, 200, "what no limit counts is not asked for an amount");
}

async fn what_was_not_sent_is_not_counted(database: &Database) {
    let stage = Stage::start(database, 1, calls(2, "1d")).await;
    let put = async |service: Value| {
        let version = stage.test.put("/v1/services/bank", service).await.ok()["version"].as_u64();
        let knowledge = stage.edges[0].running.knowledge();
        eventually("the edge knows the service", || knowledge.settings_version() == version).await;
    };
    // Refused between the reservation and the second look; then where nobody listens.
    put(bank(stage.upstream.address(), "credential = \"none\"")).await;
    for _ in 0..3 {
        problem(&stage.read(0).await, 403, "no_credential");
    }
    put(bank("127.0.0.1:1".parse().unwrap(), "")).await;
    for _ in 0..3 {
        problem(&stage.read(0).await, 502, "upstream_unreachable");
    }
    put(bank(stage.upstream.address(), "")).await;
    assert_eq!(stage.read(0).await.status, 200);
    assert_eq!(stage.read(0).await.status, 200);
    problem(&stage.read(0).await, 429, "limit_exceeded");
    // An answer that never comes is counted: the service may have done it.
    stage.limits(calls(3, "1d")).await;
    stage.upstream.answer(crate::edge::upstream::Script::Last(Vec::new()));
    problem(&stage.read(0).await, 502, "upstream_broken");
    problem(&stage.read(0).await, 429, "limit_exceeded");
}

async fn without_the_authority_what_is_held_is_used_up_and_then_nothing_passes(database: &Database) {
    let mut stage = Stage::start(database, 1, calls(320, "1d")).await;
    assert_eq!(stage.read(0).await.status, 200);
    stage.test.running.take().unwrap().shutdown().await;
    let mut through = 0;
    let refused = loop {
        let answer = stage.read(0).await;
        if answer.status != 200 {
            break answer;
        }
        through += 1;
    };
    let told = problem(&refused, 503, "limit_unknown");
    assert_eq!((&told["limit"], refused.header("retry-after")), (&json!("calls"), Some("1")));
    // A sixteenth of the limit, asked for in advance.
    assert!((1..=42).contains(&through), "{through}");
    assert_eq!(stage.served(), 1 + through);
}

async fn an_edge_that_dies_gives_nothing_back_and_one_that_stops_does(database: &Database) {
    let mut stage = Stage::start(database, 3, calls(64, "1d")).await;
    for edge in 0..3 {
        assert_eq!(stage.read(edge).await.status, 200);
    }
    stage.pass(Duration::from_secs(3)).await;
    eventually_held(&stage, 3).await;
    assert_eq!(stage.read(0).await.status, 200);
    let lost = held(&stage).await.unwrap() - 4;
    assert!((1..=5).contains(&lost), "{lost}: more than a sixteenth of the bound");
    // Without a word, as a crash ends it.
    drop(stage.edges.remove(0));
    assert_eq!(stage.read(0).await.status, 200);
    stage.edges.remove(0).running.shutdown().await;
    assert_eq!(held(&stage).await, Some(5 + lost), "at once");
    let more = rest(&stage, 64, 1, lost).await;
    assert_eq!(stage.served(), 5 + more);
    assert_eq!((i64::try_from(stage.served()).unwrap() + lost, held(&stage).await), (64, Some(64)));
}

async fn a_bound_that_is_lowered_counts_at_once(database: &Database) {
    let stage = Stage::start(database, 2, calls(1000, "1d")).await;
    for _ in 0..5 {
        assert_eq!((stage.read(0).await.status, stage.read(1).await.status), (200, 200));
    }
    // Each edge holds more than that.
    stage.limits(calls(12, "1d")).await;
    assert_eq!((rest(&stage, 12, 1, 0).await, stage.served()), (2, 12));
    stage.limits(json!([])).await;
    assert_eq!(stage.read(0).await.status, 200);
    assert_eq!(stage.used().await, [""; 0]);
}

async fn a_limit_is_counted_for_each_agent_and_each_grant_alone(database: &Database) {
    let per = |per: &str| json!({ "name": per, "per": per, "window": "1d", "calls": 10 });
    let mut stage = Stage::start(database, 1, json!([per("agent"), per("user"), per("grant"), per("service")])).await;
    assert_eq!(stage.read(0).await.status, 200);
    let (other, grant) = stage.test.granted("reader", "bank:read:/").await;
    let token = stage.test.writ(&other, "bank:read:/").await;
    stage.writ = writ::token::RawToken::parse(&token, &writ::token::Limits::default()).unwrap();
    stage.agent = other;
    assert_eq!(stage.read(0).await.status, 200);
    let keys: Vec<String> =
        stage.used().await.iter().map(|row| row.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let grant = format!("grant grant:{grant}");
    for key in ["agent agent:planner", "agent agent:reader", "user agent:reader", "service service:bank", &grant] {
        assert!(keys.iter().any(|listed| listed == key), "{key}: {keys:?}");
    }
    assert_eq!(keys.len(), 7, "{keys:?}");
}
