//! Counts of limits, and what edges hold of them.

use std::sync::Arc;
use std::time::Duration;

use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::policy::limit::{Allotted, Ask, Bucket, Limits};
use writ::store::{Drawing, NewPolicies, StoreError};

use super::make::{AT, LATER, change, name};
use super::{Database, for_every_backend};

for_every_backend!(
    a_tenants_limits_are_those_of_its_newest_set,
    what_is_asked_is_how_it_is_afterwards,
    a_question_that_comes_late_or_again_changes_nothing,
    edges_that_draw_at_once_never_hold_more_than_the_bound,
    every_key_window_measure_and_tenant_is_a_count_of_its_own,
    counts_are_listed_while_their_window_lasts,
    a_count_is_forgotten_an_hour_after_its_window_and_no_sooner,
);

fn bucket(limit: &str, key: &str) -> Bucket {
    Bucket { tenant: name("acme"), limit: name(limit), counted: "calls 3600".into(), key: key.into(), start: AT }
}

fn drawing(holder: &str, seq: u64, [keep, needed, wanted]: [i64; 3]) -> Drawing {
    let ask = Ask { bucket: bucket("mail", "agent:a"), holding: 1, keep, needed, wanted };
    Drawing { ask, holder: holder.into(), seq, max: 100, ends: LATER }
}

async fn draw(db: &Database, drawing: &Drawing) -> Option<Allotted> {
    db.store.allot(std::slice::from_ref(drawing)).await.unwrap()[0]
}

async fn a_tenants_limits_are_those_of_its_newest_set(db: &Database) {
    let of = |calls: u32| -> Limits {
        let limit = serde_json::json!({ "name": "mail", "per": "user", "window": "1h", "calls": calls });
        serde_json::from_value(serde_json::json!([limit])).unwrap()
    };
    assert_eq!(db.store.limit_sets().await.unwrap(), []);
    let put = async |tenant: &str, limits: &Limits, checked: u64| {
        let author = &"olga".parse().unwrap();
        let new = NewPolicies { tenant: &name(tenant), document: "{}", groups: Vec::new(), limits, author, checked };
        db.store.put_policies(&new, AT, &change("policy.put", tenant)).await.map(|(_, catalog)| catalog)
    };
    assert_eq!(put("b", &of(1), 0).await.unwrap(), 1);
    assert_eq!(put("a", &of(2), 1).await.unwrap(), 2);
    assert_eq!(put("b", &of(3), 2).await.unwrap(), 3);
    assert!(matches!(put("a", &of(4), 2).await, Err(StoreError::Overtaken)));
    assert_eq!(db.store.limit_sets().await.unwrap(), [(name("a"), of(2)), (name("b"), of(3))]);
    put("b", &Limits::default(), 3).await.unwrap();
    assert_eq!(db.store.limit_sets().await.unwrap(), [(name("a"), of(2)), (name("b"), Limits::default())]);
}

async fn what_is_asked_is_how_it_is_afterwards(db: &Database) {
    let allotted = |held, used| Some(Allotted { held, used, max: 100 });
    assert_eq!(draw(db, &drawing("a", 1, [0, 20, 20])).await, allotted(20, 20));
    assert_eq!(draw(db, &drawing("b", 1, [0, 40, 80])).await, allotted(45, 65), "and an eighth of what is left");
    assert_eq!(draw(db, &drawing("a", 2, [20, 20, 20])).await, allotted(20, 65));
    assert_eq!(draw(db, &drawing("a", 3, [5, 5, 5])).await, allotted(5, 50), "given back");
    assert_eq!(draw(db, &drawing("b", 2, [45, 120, 120])).await, allotted(95, 100), "all that is left");
    assert_eq!(draw(db, &drawing("c", 1, [0, 1, 1])).await, allotted(0, 100));
    assert_eq!(db.store.allot(&[]).await.unwrap(), []);
}

async fn a_question_that_comes_late_or_again_changes_nothing(db: &Database) {
    let first = drawing("a", 1, [0, 10, 10]);
    assert!(draw(db, &first).await.is_some());
    assert!(draw(db, &drawing("a", 3, [10, 30, 30])).await.is_some());
    for late in [first, drawing("a", 2, [10, 10, 10]), drawing("a", 3, [30, 60, 60])] {
        assert_eq!(draw(db, &late).await, None);
    }
    let now = draw(db, &drawing("a", 4, [30, 30, 30])).await.unwrap();
    assert_eq!((now.held, now.used), (30, 30));
}

async fn edges_that_draw_at_once_never_hold_more_than_the_bound(db: &Database) {
    // From other processes where there can be some.
    let other = match db.url.to_string().starts_with("sqlite") {
        true => Arc::clone(&db.store),
        false => db.another().await,
    };
    let edges = (0..8_i64).map(|edge| {
        let store = if edge % 2 == 0 { Arc::clone(&db.store) } else { Arc::clone(&other) };
        tokio::spawn(async move {
            let mut held = [0, 0];
            for seq in 1..6 {
                // Two counts, each edge in an order of its own.
                let of = |n: usize| {
                    let mut drawing = drawing(&format!("edge-{edge}"), seq, [held[n], held[n] + 7, held[n] + 9]);
                    drawing.ask.bucket.key = format!("agent:{n}").into();
                    drawing
                };
                let order = if edge < 4 { [0, 1] } else { [1, 0] };
                let answers = store.allot(&order.map(of)).await.unwrap();
                for (n, answer) in order.into_iter().zip(answers) {
                    held[n] = answer.unwrap().held;
                }
            }
            held
        })
    });
    let held: Vec<[i64; 2]> = futures_util::future::join_all(edges).await.into_iter().map(Result::unwrap).collect();
    for n in [0, 1] {
        assert_eq!(held.iter().map(|held| held[n]).sum::<i64>(), 100, "{held:?}");
    }
    let used: Vec<i64> =
        db.store.limit_counts(&name("acme"), None, AT, 10).await.unwrap().iter().map(|count| count.used).collect();
    assert_eq!(used, [100, 100]);
}

async fn every_key_window_measure_and_tenant_is_a_count_of_its_own(db: &Database) {
    let mut others = vec![drawing("a", 1, [0, 100, 100]); 6];
    others[1].ask.bucket.key = "agent:b".into();
    others[2].ask.bucket.start = LATER;
    others[3].ask.bucket.counted = "calls 60".into();
    others[4].ask.bucket.limit = name("other");
    others[5].ask.bucket.tenant = name("other");
    let answers = db.store.allot(&others).await.unwrap();
    assert!(answers.iter().all(|answer| answer.unwrap().held == 100), "{answers:?}");
}

async fn counts_are_listed_while_their_window_lasts(db: &Database) {
    for (limit, key) in [("b", "agent:a"), ("a", "user:ü"), ("a", "agent:z")] {
        let mut drawing = drawing("a", 1, [0, 5, 5]);
        drawing.ask.bucket = bucket(limit, key);
        draw(db, &drawing).await.unwrap();
    }
    let listed = async |tenant: &str, limit: Option<&str>, at, most| -> Vec<String> {
        let counts = db.store.limit_counts(&name(tenant), limit.map(name).as_ref(), at, most).await.unwrap();
        assert!(counts.iter().all(|count| (count.start, count.ends, count.used) == (AT, LATER, 5)));
        counts.iter().map(|count| format!("{} {}", count.limit, count.key)).collect()
    };
    assert_eq!(listed("acme", None, AT, 10).await, ["a agent:z", "a user:ü", "b agent:a"]);
    assert_eq!(listed("acme", None, AT, 2).await.len(), 2);
    assert_eq!(listed("acme", Some("b"), AT, 10).await, ["b agent:a"]);
    assert_eq!(listed("acme", None, LATER, 10).await, [""; 0]);
    assert_eq!(listed("other", None, AT, 10).await, [""; 0]);
}

async fn a_count_is_forgotten_an_hour_after_its_window_and_no_sooner(db: &Database) {
    let now = SystemClock.now();
    let ends = [now.before(Duration::from_secs(3700)), now.before(Duration::from_secs(3500)), LATER];
    for (n, ends) in ends.into_iter().enumerate() {
        let mut drawing = Drawing { ends, ..drawing("a", 1, [0, 5, 5]) };
        drawing.ask.bucket.key = format!("agent:{n}").into();
        draw(db, &drawing).await.unwrap();
    }
    assert_eq!(db.store.forget_over().await.unwrap(), 1);
    assert_eq!(db.store.forget_over().await.unwrap(), 0);
    let left = db.store.limit_counts(&name("acme"), None, Timestamp::from_secs(0), 10).await.unwrap();
    assert_eq!(left.iter().map(|count| &*count.key).collect::<Vec<_>>(), ["agent:1", "agent:2"]);
}
