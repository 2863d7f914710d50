use std::collections::BTreeMap;
use std::fmt::Write as _;

use cedar_policy::{Policy, PolicyId};

use super::*;
use crate::catalog::Service;
use crate::catalog::builtin::Builtin;
use crate::clock::{Clock as _, SystemClock};

const SHOP: &str = r#"
name = "shop"
upstream = "https://shop.example"

[[route]]
methods = ["POST"]
path = "/orders/{order}/refund"
action = "orders/write/refund"
resource = "orders/{order}"

[[route.argument]]
name = "amount"
from = "json"
key = "/amount"
type = "integer"

[[route.argument]]
name = "urgent"
from = "json"
key = "/urgent"
type = "boolean"

[[route]]
methods = ["GET"]
path = "/orders/{order}"
action = "orders/read"
resource = "orders/{order}"

[[route.argument]]
name = "tag"
from = "query"
type = "string"

[[route]]
methods = ["DELETE"]
path = "/orders/{order}"
action = "orders/write/delete"
resource = "orders/{order}"
"#;

pub(crate) fn schema() -> Schema {
    let claims = BTreeMap::from([("amr".into(), Type::Set(&Type::Text))]);
    let facts = Facts { claims, limits: BTreeMap::from([("refunds".into(), Type::Integer)]) };
    let github = Builtin::named("github").unwrap().service(None).unwrap();
    Schema::of([&Service::from_toml(SHOP).unwrap(), &github], facts)
}

/// The policies of a text, each beginning with `@id`, with their lines.
fn policies(text: &str) -> Vec<(Policy, usize)> {
    let starts: Vec<usize> = text.match_indices("@id").map(|(at, _)| at).chain([text.len()]).collect();
    let read = |span: &[usize]| {
        let policy = Policy::parse(None, text[span[0]..span[1]].trim_end()).unwrap();
        let id = PolicyId::new(policy.annotation("id").unwrap());
        (policy.new_id(id), 1 + text[..span[0]].matches('\n').count())
    };
    starts.windows(2).map(read).collect()
}

fn findings(text: &str) -> Vec<Finding> {
    let policies = policies(text);
    schema().validate(policies.iter().map(|(policy, line)| (policy, *line)))
}

/// The one thing that is found in a policy, as `line code: message`.
fn found(text: &str) -> String {
    let text = format!("@id(\"p\")\n{text}");
    let all: Vec<String> = findings(&text)
        .iter()
        .map(|finding| format!("{} {}: {}", finding.line, finding.code, finding.message))
        .collect();
    all.join("\n")
}

#[test]
fn what_the_issue_asks_for_can_be_written() {
    let good = r#"
@id("all") permit(principal, action, resource);
@id("refunds") @approval("finance")
permit(principal is AgentForUser, action in Action::"shop:orders", resource in Resource::"shop:orders/7")
when { context.arguments has amount && context.arguments.amount <= 500 && principal in Group::"sales" }
unless { context.local.hour < 9 || context.local.hour >= 17 || context.local.weekday > 5 };
@id("nothing-goes") forbid(principal, action in Action::"deletes", resource) unless { principal in Agent::"cleaner" };
@id("hops") forbid(principal, action, resource)
when { context.depth > 2 || context.chain.contains("evil") || (context has delegator && context.delegator == "x") };
@id("where") permit(principal == AgentForUser::"helper/alice", action == Action::"github:repos/read", resource)
when { context.source.isInRange(ip("10.0.0.0/8")) && context.time > datetime("2026-01-01") && context.method == "GET" };
@id("session") permit(principal in User::"alice", action in [Action::"reads", Action::"shop:/"], resource)
when { context.session has amr && context.session.amr.contains("mfa") && context has used.refunds && context.used.refunds < 9 };
@id("first") permit(principal, action in Action::"github:/", resource in Resource::"github:repos/acme") when { context.issuing };
"#;
    assert_eq!(findings(good), []);
}

#[test]
fn a_name_that_does_not_exist_is_an_error_with_a_suggestion() {
    for (policy, expected) in [
        (
            "permit(principal,\n action == Action::\"github:isues/read\", resource);",
            "3 unknown_action: `Action::\"github:isues/read\"` is no action of the services: did you mean `github:issues/read`?",
        ),
        (
            "permit(principal, action, resource) when {\n\n context.arguments has amonut && context.arguments.amonut < 5 };",
            "4 unknown_attribute: no action that it is about has the argument `amonut`: did you mean `amount`?",
        ),
        (
            "permit(principal, action == Action::\"shop:orders/read\", resource) when { context has arguments.amount };",
            "2 unknown_attribute: no action that it is about has the argument `amount`: there is `tag`",
        ),
        (
            "permit(principal, action, resource) when { context.locale.hour == 3 };",
            "2 unknown_attribute: `context.locale` does not exist: did you mean `local`?",
        ),
        (
            "permit(principal, action, resource) when { context.local.hours == 3 };",
            "2 unknown_attribute: `context.local.hours` does not exist: did you mean `hour`?",
        ),
        (
            "permit(principal, action, resource) when { context.session has arm };",
            "2 unknown_attribute: `arm` is no claim that an identity provider's settings name: did you mean `amr`?",
        ),
        (
            "permit(principal, action, resource) when { context.used has refund };",
            "2 unknown_attribute: `refund` is no limit of this set: did you mean `refunds`?",
        ),
        (
            "permit(principal, action, resource in Resource::\"githb:repos\");",
            "2 unknown_service: `githb` in `Resource::\"githb:repos\"` is no service: did you mean `github`?",
        ),
    ] {
        assert_eq!(found(policy), expected, "{policy}");
    }
    let entity = found("permit(principal in Grup::\"sales\", action, resource);");
    assert!(entity.starts_with("2 unknown_type: unrecognized entity type `Grup`: did you mean `Group`?"), "{entity}");
}

#[test]
fn an_id_that_nothing_can_have_is_an_error() {
    for policy in [
        "permit(principal in Agent::\"No Agent\", action, resource);",
        "permit(principal == AgentForUser::\"helper\", action, resource);",
        "permit(principal, action, resource in Resource::\"repos\");",
        "permit(principal, action, resource in Resource::\"github:repos/acme/\");",
        "permit(principal, action, resource) when { resource in Resource::\"github:/repos\" };",
    ] {
        assert!(found(policy).starts_with("2 impossible_name: "), "{policy}: {}", found(policy));
    }
}

#[test]
fn a_value_that_may_be_absent_must_be_asked_for() {
    for (policy, expected) in [
        (
            "permit(principal, action in Action::\"shop:orders\", resource) when { context.arguments.amount <= 500 };",
            "2 maybe_absent: `context.arguments.amount` may be absent: ask for it first, as in `context.arguments has amount && …`",
        ),
        (
            "permit(principal, action, resource) when {\n context.delegator == \"x\" };",
            "3 maybe_absent: `context.delegator` may be absent: ask for it first, as in `context has delegator && …`",
        ),
    ] {
        assert_eq!(found(policy), expected, "{policy}");
    }
}

#[test]
fn a_value_of_another_type_is_an_error() {
    for (policy, code) in [
        ("permit(principal, action, resource) when { context.depth == \"2\" };", "wrong_type"),
        (
            "permit(principal, action, resource) when { context.arguments has amount && context.arguments.amount < \"5\" };",
            "wrong_type",
        ),
        ("permit(principal, action, resource) when { context.time > datetime(\"yesterday\") };", "wrong_value"),
        ("permit(principal, action, resource) when { context.source.isInRange(ip(\"10.0.0.0/99\")) };", "wrong_value"),
    ] {
        assert!(found(policy).starts_with(&format!("2 {code}: ")), "{policy}: {}", found(policy));
    }
}

#[test]
fn what_can_never_match_is_a_warning() {
    for policy in [
        "permit(principal, action == Action::\"github:issues\", resource);",
        "permit(principal, action in Action::\"github:issues\", resource in Resource::\"shop:orders\");",
        "permit(principal, action, resource) when { context.depth > 2 && !(context.depth > 2) && false };",
        "permit(principal, action == Action::\"shop:orders/read\", resource) when { action in Action::\"writes\" };",
        "permit(principal is Agent, action, resource) when { principal is AgentForUser };",
        "permit(principal is User, action, resource);",
    ] {
        let found = found(policy);
        assert!(found.contains(" never_matches: ") && !found.contains('\n'), "{policy}: {found}");
    }
}

#[test]
fn an_action_is_in_every_path_above_it_and_in_reads_writes_or_deletes() {
    let schema = schema();
    for (action, groups) in [
        ("shop:orders/read", ["shop:/", "shop:orders", "reads"].as_slice()),
        ("shop:orders/write/refund", &["shop:/", "shop:orders", "shop:orders/write", "writes"]),
        ("shop:orders/write/delete", &["shop:orders/write", "writes", "deletes"]),
    ] {
        let uid: cedar_policy::EntityUid = format!("Action::\"{action}\"").parse().unwrap();
        let above: Vec<String> = schema
            .cedar()
            .unwrap()
            .action_entities()
            .unwrap()
            .ancestors(&uid)
            .unwrap()
            .map(|uid| uid.id().unescaped().to_owned())
            .collect();
        for group in groups {
            assert!(schema.is_in(action, group), "{action} in {group}");
            assert!(above.iter().any(|id| id == group), "{action} in {group}: {above:?}");
        }
        assert!(above.iter().all(|group| schema.is_in(action, group)), "{action}");
    }
    assert!(!schema.is_in("shop:orders/read", "writes"));
    assert!(schema.text().unwrap().contains("\"shop:orders/write/refund\""));
}

/// A service of `routes` routes, each with an action of its own.
fn large(routes: usize) -> Service {
    let mut text = String::from("name = \"large\"\nupstream = \"https://large.example\"\n");
    for route in 0..routes {
        let verb = if route % 2 == 0 { "read" } else { "write" };
        let (method, place) = if route % 2 == 0 { ("GET", "query") } else { ("POST", "json") };
        write!(
            text,
            "[[route]]\nmethods = [\"{method}\"]\npath = \"/g{}/n{route}/{{id}}\"\naction = \"g{}/n{route}/{verb}\"\n\
             resource = \"g/{{id}}\"\n[[route.argument]]\nname = \"a{}\"\nfrom = \"{place}\"\nkey = \"{}a\"\ntype = \"integer\"\n",
            route / 20,
            route / 20,
            route / 20,
            if place == "json" { "/" } else { "" },
        )
        .unwrap();
    }
    Service::from_toml(&text).unwrap()
}

#[test]
fn a_schema_of_1200_routes_is_made_at_once_and_a_hundred_policies_are_checked_soon() {
    let service = large(1200);
    let text: String = (0..100)
        .map(|i| {
            format!(
                "@id(\"p{i}\") permit(principal, action in Action::\"large:g{0}\", resource) when {{ context.local.hour > 8 && \
                 context.arguments has a{0} && context.arguments.a{0} < 9 }};\n",
                i % 50,
            )
        })
        .collect();
    let policies = policies(&text);
    let started = SystemClock.now();
    let schema = Schema::of([&service], Facts::default());
    let made = SystemClock.now().since(started);
    let findings = schema.validate(policies.iter().map(|(policy, line)| (policy, *line)));
    let all = SystemClock.now().since(started);
    println!("100 policies, 1200 routes: schema {made:?}, all {all:?}");
    assert_eq!(findings, []);
    // In a debug build on a busy machine; a whole schema of Cedar's takes a second by itself.
    assert!(made.as_secs_f64() < 1.0 && all.as_secs_f64() < 20.0, "{made:?} {all:?}");
}

static SCHEMA: std::sync::LazyLock<(Schema, cedar_policy::Validator)> = std::sync::LazyLock::new(|| {
    let schema = schema();
    let whole = cedar_policy::Validator::new(schema.cedar().unwrap());
    (schema, whole)
});

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// What the whole schema says and what the one says that holds each kind of action once.
    #[test]
    fn a_schema_of_what_is_told_apart_finds_what_the_whole_one_finds(
        scope in "action( (in|==) Action::\"(shop:/|shop:orders|shop:orders/write|shop:orders/read|github:issues|github:repos/read|reads|writes|deletes)\")?",
        conditions in proptest::collection::vec(
            r#"(context has arguments\.(amount|tag|urgent)|context\.arguments\.(amount|tag) == (5|"x")|context\.arguments has tag|action in Action::"(reads|writes|shop:orders)"|context\.depth < 2|principal is Agent|true|false)"#,
            1..4,
        ),
        joint in " (&&|\\|\\|) ",
    ) {
        let text = format!("@id(\"p\") permit(principal, {scope}, resource) when {{ {} }};", conditions.join(&joint));
        let read = policies(&text);
        let (policy, line) = (&read[0].0, read[0].1);
        let (schema, whole) = &*SCHEMA;
        let whole = whole
            .validate(&cedar_policy::PolicySet::from_policies([policy.clone()]).unwrap(), cedar_policy::ValidationMode::Strict);
        let found = schema.validate([(policy, line)]);
        let passes = |severity| found.iter().all(|finding| finding.severity != severity);
        // `names` finds more than Cedar, never less.
        if passes(Severity::Error) {
            proptest::prop_assert!(whole.validation_passed(), "{}", text);
        }
        if !whole.validation_passed() {
            proptest::prop_assert!(!passes(Severity::Error), "{}", text);
        }
        if found.is_empty() {
            proptest::prop_assert!(whole.validation_passed_without_warnings(), "{}", text);
        }
    }
}
