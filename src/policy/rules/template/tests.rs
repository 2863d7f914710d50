use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::catalog::Service;
use crate::catalog::builtin::Builtin;
use crate::clock::Timestamp;
use crate::policy::rules::cases::cases;
use crate::policy::rules::cover::shadowed;
use crate::policy::rules::{Document, Facts, PolicySet, Rules, Schema};

fn set(policy: &str) -> PolicySet {
    PolicySet::parse(Document { policy: policy.into(), ..Document::grants_decide() }).unwrap()
}

#[test]
fn every_template_passes_the_check_against_the_built_in_catalog_and_its_cases_hold() {
    for template in Template::all() {
        let name = &template.name;
        let builtins = template.services.iter().map(|name| Builtin::named(name).unwrap());
        let services: Vec<Service> = builtins.map(|builtin| Service::from_toml(builtin.text()).unwrap()).collect();
        let schema = Schema::of(&services, Facts::default());
        let set = set(&template.fill(&template.example()).unwrap());
        let policies = set.policies().iter().map(|policy| (&policy.cedar, policy.line));
        assert_eq!(schema.validate(policies), [], "{name}");
        assert_eq!(shadowed(&schema, &set), [], "{name}");
        let rules = Rules::compile(0, 0, set).unwrap();
        let cases = cases(&template.cases).unwrap();
        assert!(cases.len() >= 5, "{name}");
        for case in cases {
            let tried = case.try_with(&rules, &schema, Timestamp::from_secs(1_800_000_000));
            assert!(tried.passed, "{name}: {tried:?}");
        }
    }
}

#[test]
fn every_policy_of_a_template_is_decided_by_in_one_of_its_cases() {
    for template in Template::all() {
        let set = set(&template.fill(&template.example()).unwrap());
        for policy in set.policies() {
            // By name, or by a case that only it can allow.
            let named = template.cases.contains(policy.name.as_str());
            let reads = policy.name.as_str().ends_with("-reads") && template.cases.contains("expect = \"allow\"");
            assert!(named || reads, "{}: {}", template.name, policy.name);
        }
    }
}

#[test]
fn a_template_is_found_by_words() {
    for (words, expected) in [
        ("only read calendar events", "calendar-assistant"),
        ("Sends e-mails, drafts replies", "e-mail-assistant"),
        ("label issues in our repository", "repository-triage"),
        ("sales reports from Salesforce", "read-only-analyst"),
        ("ship a release by running a workflow", "deployer"),
    ] {
        assert_eq!(&*Template::nearest(words).unwrap().name, expected, "{words}");
    }
    assert!(Template::nearest("xyzzy").is_none());
}

#[test]
fn a_parameter_that_is_missing_unknown_or_of_another_kind_is_named() {
    let template = Template::named("read-only-analyst").unwrap();
    let with = |name: &str, values: &[&str]| {
        let mut all = template.example();
        all.insert(name.into(), values.iter().map(|value| (*value).into()).collect());
        template.fill(&all).unwrap_err().to_string()
    };
    assert_eq!(
        with("agnet", &["x"]),
        "`read-only-analyst` has no parameter `agnet`: it has `agent`, `group`, `from`, `until`"
    );
    assert!(with("from", &["25"]).starts_with("`from`: `25`: write an hour"), "{}", with("from", &["25"]));
    assert!(with("agent", &["No Agent"]).starts_with("`agent`: "));
    assert!(with("group", &[]).starts_with("give one value for `group`"));
    assert!(with("group", &["a", "b"]).starts_with("give one value for `group`"));
}

/// A policy with every literal taken out: what is left is what somebody wrote who writes policies.
fn shape(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(items) => items.iter().map(shape).collect(),
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(name, member)| {
                let is_literal = matches!(name.as_str(), "Value" | "id" | "approval") && !member.is_array();
                (name.clone(), if is_literal { serde_json::Value::Null } else { shape(member) })
            })
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    /// Whatever is given for a parameter is refused, or stands as one literal where the parameter stood.
    #[test]
    fn no_value_of_a_parameter_becomes_policy_text(
        index in 0..5_usize,
        value in prop_oneof![
            any::<String>(),
            Just("a\", action, resource); permit(principal, action, resource); //".to_owned()),
            "[a-z\"\\\\{}()/;@ ]{0,24}",
            Just("{{agent}}".to_owned()),
            Just("x\") || true || (\"".to_owned()),
        ],
        which in 0..4_usize,
    ) {
        let template = &Template::all()[index];
        let parameter = &template.parameters[which % template.parameters.len()];
        let mut values: BTreeMap<Box<str>, Vec<Box<str>>> = template.example();
        let usual = set(&template.fill(&values).unwrap());
        values.insert(parameter.name.clone(), vec![value.as_str().into()]);
        if let Ok(text) = template.fill(&values) {
            let filled = set(&text);
            prop_assert_eq!(filled.policies().len(), usual.policies().len());
            for (filled, usual) in filled.policies().iter().zip(usual.policies()) {
                prop_assert_eq!(&filled.name, &usual.name);
                prop_assert_eq!(shape(&filled.cedar.to_json().unwrap()), shape(&usual.cedar.to_json().unwrap()), "{}", text);
            }
        }
    }
}
