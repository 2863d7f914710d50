//! Authority only shrinks along a chain, whatever is appended to it.

use proptest::prelude::*;
use proptest::sample::select;
use writ::policy::permit::decide;
use writ::token::chain::Authority;
use writ::token::hop::{Narrowing, NewHop, delegate, narrow};
use writ::token::{Argument, Capability, Decimal, Limits, List, Operation, RawToken, Value};

use crate::tokens::*;

const PATHS: [&str; 5] = ["/", "a", "a/b", "ab", "a/b/c"];
const CHECKS: [&str; 10] = [
    r#"check if method("GET")"#,
    r#"check if action("a")"#,
    r#"check if action("a") or resource("a/b")"#,
    r#"check if arg("x", $x), $x <= 1"#,
    r#"check if arg($n, $x), $x <= 1"#,
    r#"check if arg($n, $x), {"1", "a"}.contains($x)"#,
    r#"check if arg("x", $x), {"1", "0.5"}.contains($x)"#,
    r#"check if service("s")"#,
    r#"check if operation("s", $a, "a"), $a.starts_with("a")"#,
    r#"check if service("s") or service("t")"#,
];

fn any_capability() -> impl Strategy<Value = Capability> {
    (select(&["s", "t"][..]), select(&PATHS[..]), select(&PATHS[..]))
        .prop_map(|(service, action, resource)| capability(&format!("{service}:{action}:{resource}")))
}

/// Mostly what is allowed: half of the narrowings name everything.
fn any_narrowing() -> impl Strategy<Value = Narrowing> {
    let capabilities = prop_oneof![
        Just(vec![capability("s:/:/"), capability("t:/:/")]),
        Just(Vec::new()),
        proptest::collection::vec(any_capability(), 0..3),
    ];
    let until = prop_oneof![Just(None), (-5i64..60).prop_map(|secs| Some(at(secs)))];
    (capabilities, until, proptest::collection::vec(select(&CHECKS[..]), 0..2)).prop_map(
        |(capabilities, until, checks)| Narrowing {
            capabilities,
            until,
            checks: checks.into_iter().map(str::to_owned).collect(),
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Hop { narrowing: Narrowing, expires: i64, not_before: Option<i64> },
    Narrow(Narrowing),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any_narrowing(), -5i64..7200, proptest::option::of(-60i64..60))
            .prop_map(|(narrowing, expires, not_before)| Step::Hop { narrowing, expires, not_before }),
        any_narrowing().prop_map(Step::Narrow),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let list = proptest::collection::vec(select(&["a", "1"][..]).prop_map(|text| Value::String(text.into())), 0..3);
    let value = prop_oneof![
        3 => (0i64..3).prop_map(Value::Integer),
        2 => Just(Value::String("1".into())),
        2 => (0i64..3).prop_map(|scaled| Value::Decimal(Decimal::from_scaled(scaled * 5_000))),
        1 => (0i64..3).prop_map(|secs| Value::Time(at(secs))),
        3 => list.prop_map(|items| Value::List(List::new(items).unwrap())),
    ];
    let arguments = proptest::collection::btree_map(select(&["x", "y"][..]), value, 0..3);
    (any_capability(), select(&["GET", "POST"][..]), arguments).prop_map(|(needed, method, arguments)| Operation {
        method: method.into(),
        arguments: arguments.into_iter().map(|(name, value)| Argument { name: name.into(), value }).collect(),
        ..operation(&needed.to_string())
    })
}

fn take(step: &Step, token: &RawToken, holder: u8) -> (RawToken, u8) {
    let limits = Limits::default();
    match step {
        Step::Narrow(narrowing) => (narrow(token, narrowing, &[holder + 100; 32], &limits).unwrap(), holder),
        Step::Hop { narrowing, expires, not_before } => {
            let hop = NewHop {
                expires: at(*expires),
                not_before: not_before.map(at),
                narrowing: narrowing.clone(),
                ..new_hop(holder + 1)
            };
            (delegate(token, &pair(holder), &hop, &[holder + 100; 32], &limits).unwrap(), holder + 1)
        }
    }
}

/// Which of them an edge would allow: the token is valid now, a capability covers it, every check passes.
fn allowed(token: &RawToken, operations: &[Operation], now: i64) -> Vec<bool> {
    let token = accepted(token, at(now));
    let decided = |operation| token.as_ref().is_ok_and(|token| decide(token.chain(), operation, at(now)).is_ok());
    operations.iter().map(decided).collect()
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn what_a_chain_allows_each_shorter_chain_allows(
        capabilities in proptest::collection::btree_set(any_capability(), 0..4),
        steps in proptest::collection::vec(any_step(), 0..5),
        operations in proptest::collection::vec(any_operation(), 8),
        now in -5i64..60,
    ) {
        let authority = Authority { capabilities: capabilities.into_iter().collect(), ..authority() };
        let mut token = minted(&authority);
        let (mut holder, mut before) = (1, allowed(&token, &operations, now));
        for step in &steps {
            let (longer, next) = take(step, &token, holder);
            let after = allowed(&longer, &operations, now);
            for ((operation, before), after) in operations.iter().zip(&before).zip(&after) {
                prop_assert!(*before || !after, "{:?} {:?}", step, operation);
            }
            (token, holder, before) = (longer, next, after);
        }
    }

    #[test]
    fn the_capability_named_by_a_narrowing_is_all_that_is_left(left in any_capability(), asked in any_operation()) {
        let everything = Authority { capabilities: vec![capability("s:/:/"), capability("t:/:/")], ..authority() };
        let narrowing = Narrowing { capabilities: vec![left.clone()], ..Narrowing::default() };
        let token = narrow(&minted(&everything), &narrowing, &[9; 32], &Limits::default()).unwrap();
        prop_assert_eq!(allowed(&token, std::slice::from_ref(&asked), 0), [left.allows(&asked)]);
    }
}
