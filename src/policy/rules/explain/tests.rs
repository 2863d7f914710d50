use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::policy::rules::cases::{Situation, Written as Asking};
use crate::policy::rules::tests::schema;
use crate::policy::rules::{Document, PolicySet, Schema, Verdict};
use crate::small::Few;

const POLICIES: &str = r#"
@id("reads") permit(principal, action in Action::"reads", resource in Resource::"shop:/");
@id("small") permit(principal in Agent::"helper", action in Action::"shop:orders/write", resource)
when { context.arguments has amount && context.arguments.amount <= 5 } unless { context.depth > 1 || context.method == "PUT" };
@id("large") @approval("boss") permit(principal, action, resource)
when { principal in Group::"sales" && context.arguments has amount && context.arguments.amount < 50 };
@id("urgent") forbid(principal, action, resource) when { context.arguments has urgent && context.arguments.urgent };
@id("night") forbid(principal, action in Action::"writes", resource) when { context.local.hour < 6 };
@id("overflow") permit(principal, action, resource)
when { context.arguments has amount && context.arguments.amount * 2 > 9000000000000000000 };
@id("seen") @shadow("to see") forbid(principal, action, resource);
"#;

fn rules() -> Rules {
    let document = Document { policy: POLICIES.into(), ..Document::grants_decide() };
    Rules::compile(0, 0, PolicySet::parse(document).unwrap()).unwrap()
}

fn asking(agent: &str, user: Option<&str>, group: Option<&str>, action: &str) -> Asking {
    Asking {
        agent: agent.into(),
        user: user.map(Into::into),
        groups: group.into_iter().map(Into::into).collect(),
        action: action.into(),
        ..Asking::default()
    }
}

fn read(asking: &Asking, schema: &Schema) -> Situation {
    asking.read(schema, Timestamp::from_secs(1_800_000_000)).unwrap()
}

#[test]
fn the_part_that_failed_is_shown_with_its_values_and_nothing_behind_it() {
    let schema = schema();
    let mut asked = asking("helper", None, None, "shop:orders/write/refund");
    asked.arguments = BTreeMap::from([("amount".into(), 7.into())]);
    let found = read(&asked, &schema).explained(&rules());
    assert_eq!((found.decision, found.by), (Decided::Deny, Vec::new()));
    let small = found.policies.iter().find(|looked| looked.policy.as_str() == "small").unwrap();
    let parts: Vec<(&str, &Outcome)> = small.parts.iter().map(|part| (part.text.as_str(), &part.outcome)).collect();
    assert_eq!(
        parts,
        [
            ("principal in Agent::\"helper\"", &Outcome::Holds),
            ("action in Action::\"shop:orders/write\"", &Outcome::Holds),
            ("context.arguments has amount", &Outcome::Holds),
            ("context.arguments.amount <= 5", &Outcome::Fails),
        ]
    );
    assert_eq!(small.parts[3].values, [("context.arguments.amount".to_owned(), "7".to_owned())]);
    assert_eq!(small.outcome, Outcome::Fails);
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_and_is_named() {
    let mut asked = asking("helper", None, None, "shop:orders/write/refund");
    asked.arguments = BTreeMap::from([("amount".into(), i64::MAX.into())]);
    let found = read(&asked, &schema()).explained(&rules());
    assert_eq!(found.decision, Decided::Deny);
    assert_eq!(found.by.iter().map(PolicyName::as_str).collect::<Vec<_>>(), ["overflow"]);
}

#[test]
fn what_is_not_known_makes_the_outcome_unknown_only_where_it_matters() {
    let schema = schema();
    let rules = rules();
    let unknown = |asked: &Asking, names: &[&str], groups: bool| {
        let mut situation = read(asked, &schema);
        let context = names.iter().map(|name| vec!["arguments".into(), (*name).into()]).collect();
        situation.gaps = Gaps { context, groups };
        situation.explained(&rules).decision
    };
    let read_it = asking("helper", None, None, "shop:orders/read");
    assert_eq!(unknown(&read_it, &["tag"], false), Decided::Allow);
    let refund = asking("helper", Some("alice"), None, "shop:orders/write/refund");
    assert_eq!(unknown(&refund, &["amount"], false), Decided::Unknown);
    assert_eq!(unknown(&refund, &["urgent"], false), Decided::Deny);
    let mut small = refund.clone();
    small.arguments = BTreeMap::from([("amount".into(), 3.into())]);
    assert_eq!(unknown(&small, &[], false), Decided::Allow);
    assert_eq!(unknown(&small, &["urgent"], false), Decided::Unknown);
    assert_eq!(unknown(&small, &[], true), Decided::Allow);
    small.arguments = BTreeMap::from([("amount".into(), 30.into())]);
    assert_eq!(unknown(&small, &[], true), Decided::Unknown);
    small.at = Some("2026-11-23T03:00:00Z".into());
    assert_eq!(unknown(&small, &["urgent"], true), Decided::Deny);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Part by part, Cedar says what it says of the whole; and a gap is filled by nothing that decides otherwise.
    #[test]
    fn an_explanation_decides_as_the_rules_do(
        agent in "(helper|other)",
        user in proptest::option::of("(alice|bob)"),
        sales: bool,
        action in "(shop:orders/read|shop:orders/write/refund|shop:orders/write/delete|github:issues/read)",
        amount in proptest::option::of(prop_oneof![Just(3_i64), Just(30), Just(300), Just(i64::MAX)]),
        urgent in proptest::option::of(any::<bool>()),
        hour in 0..24,
        hops in 0..3_usize,
        gap in proptest::option::of("(amount|urgent|tag)"),
        hidden_groups: bool,
    ) {
        let schema = schema();
        let rules = rules();
        let group = user.as_deref().filter(|_| sales).map(|_| "sales");
        let mut asked = asking(&agent, user.as_deref(), group, &action);
        if action.ends_with("refund") {
            asked.arguments.extend(amount.map(|amount| ("amount".into(), amount.into())));
            asked.arguments.extend(urgent.map(|urgent| ("urgent".into(), urgent.into())));
        }
        asked.at = Some(format!("2026-11-23T{hour:02}:00:00Z").into());
        asked.via = (0..hops).map(|hop| format!("hop{hop}").into()).collect();
        let mut situation = read(&asked, &schema);
        let found = situation.explained(&rules);
        let verdict = situation.with_question(|question| rules.decide(question, &[])).verdict;
        let (expected, by) = match verdict {
            Verdict::Allowed { by, .. } => (Decided::Allow, by),
            Verdict::Approval { by, .. } => (Decided::Approval, by),
            Verdict::NotPermitted => (Decided::Deny, Few::new()),
            Verdict::Forbidden { by } | Verdict::Erring { by, .. } => (Decided::Deny, by),
        };
        prop_assert_eq!(found.decision, expected);
        prop_assert_eq!(&*found.by, &*by);
        let context = gap.iter().map(|name| vec!["arguments".into(), name.as_str().into()]).collect();
        situation.gaps = Gaps { context, groups: hidden_groups };
        let blurred = situation.explained(&rules);
        prop_assert!(blurred.decision == expected || blurred.decision == Decided::Unknown, "{:?}", blurred);
    }
}
