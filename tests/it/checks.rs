//! The native checks against biscuit-auth's engine: on the same facts both allow, or both deny.
//!
//! Failure is any disagreement. One is excepted by the profile: where one fact matches and another is of a type that
//! cannot be compared, biscuit-auth's answer depends on the order of a hash table, and ours is to deny.

use std::sync::LazyLock;
use std::time::Duration;

use biscuit_auth::builder::{AuthorizerBuilder, BlockBuilder, Fact, Term};
use biscuit_auth::{AuthorizerLimits, Biscuit};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use writ::clock::Timestamp;
use writ::token::inspect::inspect;
use writ::token::{Argument, Decimal, Limits, List, Operation, Value};

use crate::biscuit::biscuit_pair;
use crate::tokens::*;

const PATHS: [&str; 5] = ["/", "a", "a/b", "ab", "a/b/c"];
const TEXTS: [&str; 4] = ["a", "ab", "b", ""];

fn any_operation() -> impl Strategy<Value = (Operation, i64)> {
    let value = prop_oneof![
        (-2i64..=2).prop_map(Value::Integer),
        select(&TEXTS[..]).prop_map(|text| Value::String(text.into())),
        any::<bool>().prop_map(Value::Boolean),
        select(&[-10_000i64, 0, 5_000, 10_000][..]).prop_map(|scaled| Value::Decimal(Decimal::from_scaled(scaled))),
        (0i64..=4_000).prop_map(|millis| Value::Time(Timestamp::from_millis(at(0).millis() - 2_000 + millis))),
    ];
    let list = (value.clone(), 0usize..3, value.clone()).prop_map(|(first, count, second)| {
        let mut items = vec![first; count];
        items.extend((count > 0).then_some(second));
        List::new(items).map_or_else(|_| Value::List(List::new(Vec::new()).unwrap()), Value::List)
    });
    let value = prop_oneof![3 => value, 2 => list];
    let arguments = proptest::collection::btree_map(select(&["x", "y"][..]), value, 0..3);
    (
        select(&["s", "t"][..]),
        select(&PATHS[..]),
        select(&PATHS[..]),
        select(&["GET", "POST"][..]),
        arguments,
        -2i64..=2,
    )
        .prop_map(|(service, action, resource, method, arguments, time)| {
            let operation = Operation {
                service: service.parse().unwrap(),
                action: action.parse().unwrap(),
                resource: resource.parse().unwrap(),
                method: method.into(),
                arguments: arguments.into_iter().map(|(name, value)| Argument { name: name.into(), value }).collect(),
            };
            (operation, time)
        })
}

fn quoted(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(|text| format!("{text:?}"))
}

fn any_date() -> impl Strategy<Value = String> {
    (-2i64..=2).prop_map(|secs| at(secs).to_string())
}

fn any_constant() -> impl Strategy<Value = String> {
    prop_oneof![
        (-2i64..=2).prop_map(|value| value.to_string()),
        quoted(&TEXTS),
        quoted(&["0.5", "1", "-1"]),
        any::<bool>().prop_map(|value| value.to_string()),
        any_date(),
        Just("hex:00".to_owned()),
    ]
}

/// A term of a fact: a variable of that name, or a constant that may match.
fn term(variable: &'static str, constant: impl Strategy<Value = String>) -> impl Strategy<Value = (String, bool)> {
    (constant, any::<bool>()).prop_map(
        move |(constant, free)| {
            if free { (format!("${variable}"), true) } else { (constant, false) }
        },
    )
}

/// A fact pattern and the variables it binds.
fn any_pattern() -> impl Strategy<Value = (String, Vec<&'static str>)> {
    fn named(name: &'static str, terms: Vec<((String, bool), &'static str)>) -> (String, Vec<&'static str>) {
        let texts: Vec<String> = terms.iter().map(|((text, _), _)| text.clone()).collect();
        let bound = terms.iter().filter(|((_, free), _)| *free).map(|(_, variable)| *variable).collect();
        (format!("{name}({})", texts.join(", ")), bound)
    }
    prop_oneof![
        term("p", any_date()).prop_map(|p| named("time", vec![(p, "p")])),
        term("p", quoted(&["s", "t"])).prop_map(|p| named("service", vec![(p, "p")])),
        term("p", quoted(&PATHS)).prop_map(|p| named("action", vec![(p, "p")])),
        term("p", quoted(&PATHS)).prop_map(|p| named("resource", vec![(p, "p")])),
        term("p", quoted(&["GET", "POST"])).prop_map(|p| named("method", vec![(p, "p")])),
        (term("p", quoted(&["s", "t"])), term("q", quoted(&PATHS)), term("r", quoted(&PATHS)))
            .prop_map(|(p, q, r)| named("operation", vec![(p, "p"), (q, "q"), (r, "r")])),
        (term("p", quoted(&["x", "y"])), term("q", any_constant()))
            .prop_map(|(p, q)| named("arg", vec![(p, "p"), (q, "q")])),
        (term("p", quoted(&["x", "y"])), term("q", any_constant()))
            .prop_map(|(p, q)| named("arg", vec![(p, "p"), (q, "q")])),
        term("p", any_constant()).prop_map(|p| named("absent", vec![(p, "p")])),
        (term("p", quoted(&["GET"])), term("q", quoted(&["GET"])))
            .prop_map(|(p, q)| named("method", vec![(p, "p"), (q, "q")])),
    ]
}

/// A comparison of some variable, called `$v` here.
fn any_comparison() -> impl Strategy<Value = String> {
    let bound = prop_oneof![(-2i64..=2).prop_map(|value| value.to_string()), any_date()];
    let set = prop_oneof![
        proptest::collection::btree_set((-2i64..=2).prop_map(|value| value.to_string()), 1..4),
        proptest::collection::btree_set(quoted(&["a", "ab", "x", "s", "GET", "a/b"]), 1..4),
        proptest::collection::btree_set(quoted(&["0.5", "1", "-1", "0", "a"]), 1..5),
        proptest::collection::btree_set(any_date(), 1..5),
    ];
    prop_oneof![
        (select(&["<", "<=", ">", ">="][..]), bound).prop_map(|(order, bound)| format!("$v {order} {bound}")),
        any_constant().prop_map(|constant| format!("$v === {constant}")),
        quoted(&["", "a", "a/", "G", "s"]).prop_map(|prefix| format!("$v.starts_with({prefix})")),
        set.prop_map(|set| format!("{{{}}}.contains($v)", set.into_iter().collect::<Vec<_>>().join(", "))),
    ]
}

fn any_query() -> impl Strategy<Value = String> {
    (any_pattern(), proptest::collection::vec((any_comparison(), any::<prop::sample::Index>()), 0..3)).prop_map(
        |((pattern, bound), comparisons)| {
            let mut query = pattern;
            for (comparison, variable) in comparisons {
                if !bound.is_empty() {
                    query +=
                        &format!(", {}", comparison.replace("$v", &format!("${}", bound[variable.index(bound.len())])));
                }
            }
            query
        },
    )
}

fn any_check() -> impl Strategy<Value = String> {
    proptest::collection::vec(any_query(), 1..4).prop_map(|queries| format!("check if {}", queries.join(" or ")))
}

fn text(text: &str) -> Term {
    Term::Str(text.to_owned())
}

/// The ambient facts, as spec/token.md lists them.
fn ambient(operation: &Operation, now: Timestamp) -> Vec<Fact> {
    let fact = |name: &str, terms: Vec<Term>| Fact::new(name.to_owned(), terms);
    let service = operation.service.as_str();
    let mut facts = vec![
        fact("time", vec![Term::Date(u64::try_from(now.secs()).unwrap())]),
        fact("service", vec![text(service)]),
        fact("method", vec![text(&operation.method)]),
    ];
    for action in operation.action.prefixes() {
        facts.push(fact("action", vec![text(action)]));
        for resource in operation.resource.prefixes() {
            facts.push(fact("operation", vec![text(service), text(action), text(resource)]));
        }
    }
    for resource in operation.resource.prefixes() {
        facts.push(fact("resource", vec![text(resource)]));
    }
    for argument in &operation.arguments {
        facts.push(fact("arg", vec![text(&argument.name), value(&argument.value)]));
    }
    facts
}

/// The term that stands for a value, as spec/token.md lists them.
fn value(argument: &Value) -> Term {
    match argument {
        Value::Boolean(value) => Term::Bool(*value),
        Value::Integer(value) => Term::Integer(*value),
        Value::String(value) => text(value),
        Value::Decimal(value) => text(&value.to_string()),
        Value::Time(time) => Term::Date(u64::try_from(time.secs()).unwrap()),
        Value::List(list) => Term::Set(list.items().iter().map(value).collect()),
    }
}

#[derive(Debug, PartialEq)]
enum Oracle {
    Allows,
    Denies,
    /// Values of different types were compared.
    Mismatch,
}

/// A request as both sides take it.
struct Request {
    operation: Operation,
    now: Timestamp,
    engine: AuthorizerBuilder,
}

impl Request {
    fn new((operation, time): (Operation, i64)) -> Self {
        let now = at(time);
        let limits = AuthorizerLimits { max_time: Duration::from_secs(60), ..AuthorizerLimits::default() };
        let engine = AuthorizerBuilder::new().set_limits(limits).policy("allow if true").unwrap();
        let facts = ambient(&operation, now);
        let engine = facts.into_iter().fold(engine, |engine, fact| engine.fact(fact).unwrap());
        Self { operation, now, engine }
    }
}

fn oracle(token: &Biscuit, request: &Request) -> Oracle {
    match request.engine.clone().build(token).unwrap().authorize() {
        Ok(_) => Oracle::Allows,
        Err(biscuit_auth::error::Token::FailedLogic(_)) => Oracle::Denies,
        Err(biscuit_auth::error::Token::Execution(_)) => Oracle::Mismatch,
        Err(other) => panic!("the oracle failed: {other:?}"),
    }
}

/// Whether some query of the check has facts of several types to compare: only `arg` with a free value has.
fn order_matters(check: &str, operation: &Operation) -> bool {
    let kinds: std::collections::HashSet<_> =
        operation.arguments.iter().map(|argument| std::mem::discriminant(&value(&argument.value))).collect();
    kinds.len() > 1 && check.contains("arg($p, $q)")
}

fn token_with(check: &str) -> Vec<u8> {
    static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| minted(&authority()).bytes().to_vec());
    let base = biscuit_auth::UnverifiedBiscuit::from(&*BASE).unwrap();
    let block = BlockBuilder::new().code(check).unwrap();
    base.append_with_keypair(&biscuit_pair(&pair(0xd5)), block).unwrap().to_vec().unwrap()
}

/// Random requests, made once: making them costs as much as deciding them.
static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let mut runner = TestRunner::default();
    let request = |_| Request::new(any_operation().new_tree(&mut runner).unwrap().current());
    (0..10_000).map(request).collect()
});
/// Of how many of them each random check is asked: with 10,000 checks, a million decisions by both sides.
const ASKED: usize = 100;

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn the_native_checks_and_the_engine_agree(check in any_check(), first in 0..REQUESTS.len()) {
        let bytes = token_with(&check);
        let token = inspect(&crate::biscuit::raw(&bytes), &Limits::default()).unwrap();
        let biscuit = Biscuit::from(&bytes, biscuit_pair(&root()).public()).unwrap();
        for request in REQUESTS.iter().cycle().skip(first).take(ASKED) {
            let Request { operation, now, .. } = request;
            let ours = token.claims().checks()[0].passes(operation, *now);
            let theirs = oracle(&biscuit, request);
            if order_matters(&check, operation) {
                prop_assert!(!ours || theirs == Oracle::Allows, "{} {:?} {} {:?}", check, operation, now, theirs);
            } else {
                prop_assert_eq!(ours, theirs == Oracle::Allows, "{} {:?} {} {:?}", check, operation, now, theirs);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_source_of_a_check_reads_back_as_the_same_check(check in any_check()) {
        let chain = |check: &str| {
            inspect(&crate::biscuit::raw(&token_with(check)), &Limits::default()).unwrap()
        };
        let first = chain(&check);
        let again = chain(&first.claims().checks()[0].source);
        prop_assert_eq!(first.claims().checks(), again.claims().checks());
    }
}

#[test]
fn about_as_many_random_checks_pass_as_fail() {
    let mut runner = TestRunner::deterministic();
    let passed = (0..500)
        .filter(|_| {
            let check = any_check().new_tree(&mut runner).unwrap().current();
            let (operation, time) = any_operation().new_tree(&mut runner).unwrap().current();
            let token = inspect(&crate::biscuit::raw(&token_with(&check)), &Limits::default()).unwrap();
            token.claims().checks()[0].passes(&operation, at(time))
        })
        .count();
    assert!((125..=400).contains(&passed), "{passed} of 500 pass: the property would prove little");
}
