use core::net::IpAddr;

use cedar_policy::{Entities, PolicySet as CedarSet};
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::id::{AgentName, Group, ServiceName, Subject};
use crate::policy::rules::question::{Call, Holders, Moment, Who};
use crate::policy::rules::set::Document;
use crate::small::Few;
use crate::token::claims::{Claim, ClaimValue};
use crate::token::{Argument, Path, Value};

/// 2026-11-18T11:06:40Z, a Wednesday.
const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn rules_in(zone: &str, policy: &str) -> Rules {
    let document = Document { zone: zone.into(), policy: policy.into(), ..Document::grants_decide() };
    Rules::compile(1, 0, PolicySet::parse(document).unwrap()).unwrap()
}

fn rules(policy: &str) -> Rules {
    rules_in("UTC", policy)
}

/// A question in owned parts.
#[derive(Clone, Debug)]
struct Asked {
    agent: AgentName,
    user: Option<Subject>,
    groups: Vec<Group>,
    claims: Vec<Claim>,
    service: ServiceName,
    action: Path,
    resource: Path,
    arguments: Vec<Argument>,
    method: &'static str,
    source: IpAddr,
    now: Timestamp,
    issuing: bool,
    delegator: Option<&'static str>,
    used: Vec<(Box<str>, Value)>,
}

fn asked(agent: &str, user: Option<&str>, capability: &str) -> Asked {
    let capability: crate::token::Capability = capability.parse().unwrap();
    Asked {
        agent: agent.parse().unwrap(),
        user: user.map(|user| user.parse().unwrap()),
        groups: Vec::new(),
        claims: Vec::new(),
        service: capability.service,
        action: capability.action,
        resource: capability.resource,
        arguments: Vec::new(),
        method: "GET",
        source: [10, 0, 0, 7].into(),
        now: NOW,
        issuing: false,
        delegator: None,
        used: Vec::new(),
    }
}

impl Asked {
    fn question<'a>(&'a self, names: &'a [String]) -> Question<'a> {
        let call =
            Call { method: self.method, source: Some(self.source), arguments: &self.arguments, used: &self.used };
        let depth = usize::from(self.delegator.is_some());
        Question {
            who: Who {
                agent: &self.agent,
                user: self.user.as_ref(),
                groups: &self.groups,
                claims: &self.claims,
                holders: Holders::Named { depth, delegator: self.delegator, names },
            },
            service: &self.service,
            action: &self.action,
            resource: &self.resource,
            now: self.now,
            moment: if self.issuing { Moment::Issuing } else { Moment::Call(call) },
        }
    }

    fn answer(&self, rules: &Rules) -> Answer {
        rules.decide(&self.question(&[]), &[])
    }

    fn is_allowed(&self, rules: &Rules) -> bool {
        matches!(self.answer(rules).verdict, Verdict::Allowed { .. })
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.arguments.push(Argument { name: name.into(), value });
        self
    }
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn names(names: &[&str]) -> Few<PolicyName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_built_in_set_leaves_it_to_the_writ() {
    let question = asked("bot", Some("alice"), "github:issues/read:repos/acme");
    let answer = question.answer(&Rules::built_in());
    assert_eq!(answer.verdict, Verdict::Allowed { by: names(&["grants-decide"]), ttl_s: None });
}

#[test]
fn nothing_is_allowed_unless_a_permit_matches_and_a_forbid_wins() {
    let question = asked("bot", None, "github:repos/delete:repos/acme/web");
    assert_eq!(question.answer(&rules("")).verdict, Verdict::NotPermitted);
    let both = r#"@id("all") permit(principal, action, resource);
        @id("no-deletion") forbid(principal, action in Action::"deletes", resource);"#;
    assert_eq!(question.answer(&rules(both)).verdict, Verdict::Forbidden { by: names(&["no-deletion"]) });
    assert!(asked("bot", None, "github:repos/read:repos/acme/web").is_allowed(&rules(both)));
}

#[test]
fn actions_and_resources_cover_what_is_below_them_segment_by_segment() {
    let rules = rules(
        r#"@id("a") permit(principal, action in Action::"github:issues", resource in Resource::"github:repos/acme");"#,
    );
    assert!(asked("bot", None, "github:issues/read:repos/acme/web").is_allowed(&rules));
    assert!(asked("bot", None, "github:issues:repos/acme").is_allowed(&rules));
    for no in
        ["github:issuesx:repos/acme", "github:issues:repos/acmex", "github:issues:repos", "gitlab:issues:repos/acme"]
    {
        assert!(!asked("bot", None, no).is_allowed(&rules), "{no}");
    }
}

#[test]
fn a_principal_is_an_agent_or_an_agent_for_a_user_in_their_groups() {
    let own = asked("bot", None, "s:read:a");
    let mut for_alice = asked("bot", Some("alice"), "s:read:a");
    for_alice.groups = vec!["sales".parse().unwrap()];
    for (scope, agent_alone, for_user) in [
        ("principal == Agent::\"bot\"", true, false),
        ("principal in Agent::\"bot\"", true, true),
        ("principal is Agent", true, false),
        ("principal is AgentForUser", false, true),
        ("principal in User::\"alice\"", false, true),
        ("principal in User::\"bob\"", false, false),
        ("principal in Group::\"sales\"", false, true),
        ("principal is AgentForUser in Group::\"sales\"", false, true),
        ("principal is Agent in Group::\"sales\"", false, false),
        ("principal == AgentForUser::\"bot/alice\"", false, true),
        ("principal == AgentForUser::\"bot/bob\"", false, false),
    ] {
        let in_scope = rules(&format!("@id(\"a\") permit({scope}, action, resource);"));
        assert_eq!((own.is_allowed(&in_scope), for_alice.is_allowed(&in_scope)), (agent_alone, for_user), "{scope}");
        let in_condition = rules(&format!("@id(\"a\") permit(principal, action, resource) when {{ {scope} }};"));
        let found = (own.is_allowed(&in_condition), for_alice.is_allowed(&in_condition));
        assert_eq!(found, (agent_alone, for_user), "{scope} as a condition");
    }
}

#[test]
fn conditions_see_the_call() {
    let mut call = asked("bot", Some("alice"), "pay:transfers/create:eu").with("amount", Value::Integer(400));
    call = call.with("to", text("a@b.example")).with("price", Value::Decimal("-0.01".parse().unwrap()));
    call = call.with("at", Value::Time(NOW));
    call = call.with("all", Value::List(crate::token::List::new(vec![text("a"), text("b")]).unwrap()));
    call.claims = vec![
        Claim { name: "amr".parse().unwrap(), value: ClaimValue::strings(vec!["pwd".into(), "mfa".into()]) },
        Claim { name: "managed".parse().unwrap(), value: ClaimValue::Boolean(true) },
    ];
    call.method = "POST";
    call.delegator = Some("planner");
    for (condition, holds) in [
        ("context.arguments.amount <= 500", true),
        ("context.arguments.amount > 500", false),
        ("context.arguments has missing", false),
        ("context.arguments.price.lessThanOrEqual(decimal(\"-0.01\"))", true),
        ("context.arguments.price.lessThan(decimal(\"-0.01\"))", false),
        ("context.arguments.at == datetime(\"2026-11-18T11:06:40Z\")", true),
        ("[\"a\", \"b\", \"c\"].containsAll(context.arguments.all)", true),
        ("[\"a\", \"c\"].containsAll(context.arguments.all)", false),
        ("context.arguments.to like \"*@b.example\"", true),
        ("context.method == \"POST\"", true),
        ("context.source.isInRange(ip(\"10.0.0.0/8\"))", true),
        ("context.source.isLoopback()", false),
        ("context.session.amr.contains(\"mfa\") && context.session.managed", true),
        ("context.session has acr", false),
        ("context.delegator == \"planner\" && context.depth == 1", true),
        ("context.chain.contains(\"bot\")", true),
        ("context.time > datetime(\"2026-11-18T11:06:39.999Z\")", true),
        ("context.time > datetime(\"2026-11-18T11:06:40.000Z\")", false),
        ("context.local.hour == 12 && context.local.minute == 6 && context.local.weekday == 3", true),
        ("context.local.date == \"2026-11-18\"", true),
        ("context.issuing", false),
        ("action in [Action::\"pay:transfers\"]", true),
        ("resource in Resource::\"pay:/\" && resource == Resource::\"pay:eu\"", true),
    ] {
        let rules = rules_in(
            "Europe/Berlin",
            &format!("@id(\"a\") permit(principal, action, resource) when {{ {condition} }};"),
        );
        assert_eq!(call.is_allowed(&rules), holds, "{condition}: {:?}", call.answer(&rules));
    }
}

#[test]
fn local_time_follows_the_zone_through_the_change_of_clocks() {
    let rules = rules_in(
        "America/New_York",
        "@id(\"hours\") permit(principal, action, resource) when { context.local.hour >= 9 && context.local.hour < 17 };",
    );
    let at = |text: &str| {
        let now = Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        Asked { now, ..asked("bot", None, "s:read:a") }.is_allowed(&rules)
    };
    // Standard time until 8 March 2026, 07:00 UTC; then summer time.
    assert!(!at("2026-03-07T13:59:59Z") && at("2026-03-07T14:00:00Z"));
    assert!(!at("2026-03-09T12:59:59Z") && at("2026-03-09T13:00:00Z") && !at("2026-03-09T21:00:00Z"));
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_and_is_named() {
    let big = asked("bot", None, "s:a:b").with("n", Value::Integer(i64::MAX));
    let overflow = "when { context.arguments.n + 1 > 0 };";
    let permit = format!(
        "@id(\"all\") permit(principal, action, resource); @id(\"odd\") forbid(principal, action, resource) {overflow}"
    );
    let Verdict::Erring { by, why } = big.answer(&rules(&permit)).verdict else { panic!("it must deny") };
    assert_eq!(by, names(&["odd"]));
    assert!(why.contains("overflow"), "{why}");
    // Of a shadow policy nothing counts.
    let shadow = permit.replace("@id(\"odd\")", "@id(\"odd\") @shadow(\"x\")");
    assert!(big.is_allowed(&rules(&shadow)));
}

#[test]
fn an_approval_is_asked_for_only_where_every_permit_asks_and_counts_where_it_was_given() {
    let text = r#"
        @id("small") permit(principal, action, resource) when { context.arguments.amount <= 500 };
        @id("large") @approval("finance") permit(principal, action, resource) when { context.arguments.amount <= 5000 };"#;
    let rules = rules(text);
    let of = |amount| asked("bot", None, "pay:transfers/create:eu").with("amount", Value::Integer(amount));
    assert!(of(500).is_allowed(&rules));
    let approval = Verdict::Approval { by: names(&["large"]), approvers: vec!["finance".into()] };
    assert_eq!(of(501).answer(&rules).verdict, approval);
    assert_eq!(of(5001).answer(&rules).verdict, Verdict::NotPermitted);
    let decide = |amount: i64, approved: &str| rules.decide(&of(amount).question(&[]), &[approved.into()]).verdict;
    assert_eq!(decide(501, "finance"), Verdict::Allowed { by: names(&["large"]), ttl_s: None });
    assert_eq!(decide(501, "somebody"), approval);
    assert_eq!(decide(5001, "finance"), Verdict::NotPermitted);
}

#[test]
fn a_shadow_is_named_and_never_counts() {
    let text = r#"
        @id("all") permit(principal, action, resource);
        @id("trial") @shadow("from May") forbid(principal, action in Action::"writes", resource);
        @id("trial-2") @shadow("x") permit(principal, action, resource) when { context.depth == 0 };"#;
    let answer = asked("bot", None, "s:send:a").answer(&rules(text));
    assert_eq!(answer.verdict, Verdict::Allowed { by: names(&["all"]), ttl_s: None });
    assert_eq!(answer.shadow, names(&["trial-2", "trial"]));
    let only = r#"@id("trial") @shadow("x") permit(principal, action, resource);"#;
    assert_eq!(asked("bot", None, "s:send:a").answer(&rules(only)).verdict, Verdict::NotPermitted);
}

#[test]
fn at_issuance_what_only_a_call_has_is_open_and_the_longest_life_is_the_permits() {
    let text = r#"
        @id("mail") @ttl_s("600") permit(principal, action in Action::"mail:send", resource) when { context.arguments.to == "a" };
        @id("mail-2") @ttl_s("900") permit(principal, action in Action::"mail:send", resource) when { context.method == "POST" };
        @id("not-b") forbid(principal, action, resource) when { context.arguments.to == "b" };
        @id("hours") forbid(principal, action, resource) unless { context.local.hour < 12 };
        @id("explicit") forbid(principal, action in Action::"mail:read", resource) when { context.issuing };"#;
    let rules = rules(text);
    let issue = |capability: &str| Asked { issuing: true, ..asked("bot", Some("alice"), capability) };
    let allowed = Verdict::Allowed { by: names(&["mail", "mail-2"]), ttl_s: Some(900) };
    assert_eq!(issue("mail:send:/").answer(&rules).verdict, allowed);
    // More than the permits cover is not issued.
    assert_eq!(issue("mail:/:/").answer(&rules).verdict, Verdict::NotPermitted);
    assert_eq!(issue("mail:read:/").answer(&rules).verdict, Verdict::Forbidden { by: names(&["explicit"]) });
    let noon = Asked { now: Timestamp::from_secs(1_795_003_200), ..issue("mail:send:/") };
    assert_eq!(noon.answer(&rules).verdict, Verdict::Forbidden { by: names(&["hours"]) });
}

#[test]
fn an_action_of_either_kind_counts_as_the_stronger() {
    let of = |action: &str| super::super::question::access_groups(&action.parse().unwrap());
    assert_eq!(of("issues/read"), ["reads"]);
    assert_eq!(of("issues"), ["writes"]);
    assert_eq!(of("repos/delete"), ["writes", "deletes"]);
    assert_eq!(of("delete/read"), ["writes", "deletes"]);
    assert_eq!(of("/"), ["writes"]);
}

fn any_scope() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just("principal"),
        Just("principal == Agent::\"a\""),
        Just("principal in Agent::\"a\""),
        Just("principal in Agent::\"b\""),
        Just("principal in User::\"u\""),
        Just("principal in Group::\"g\""),
        Just("principal in Group::\"h\""),
        Just("principal is AgentForUser in Group::\"g\""),
        Just("principal is Agent"),
        Just("principal is AgentForUser"),
        Just("principal == AgentForUser::\"a/u\""),
        Just("principal in Resource::\"s:/\""),
        Just("principal is Resource"),
    ];
    let action = prop_oneof![
        Just("action"),
        Just("action == Action::\"s:x/read\""),
        Just("action in Action::\"s:x\""),
        Just("action in Action::\"s:/\""),
        Just("action in Action::\"t:/\""),
        Just("action in [Action::\"reads\", Action::\"deletes\"]"),
        Just("action in Action::\"writes\""),
        Just("action in []"),
    ];
    let resource = prop_oneof![
        Just("resource"),
        Just("resource == Resource::\"s:p/q\""),
        Just("resource in Resource::\"s:p\""),
        Just("resource in Resource::\"s:/\""),
        Just("resource in Resource::\"t:/\""),
        Just("resource is Resource"),
        Just("resource is Agent"),
        Just("resource is Resource in Resource::\"s:p\""),
    ];
    // One that looks at each thing that there is, and none that fails.
    let one = prop::sample::select(vec![
        "principal in Group::\"h\"",
        "principal == Agent::\"a\"",
        "AgentForUser::\"a/u\" in Group::\"g\"",
        "action in Action::\"reads\"",
        "action == Action::\"s:x\"",
        "resource in Resource::\"s:p\"",
        "resource == Resource::\"s:p\"",
        "context.time > datetime(\"2026-11-18T11:06:40Z\")",
        "context.local.hour == 11",
        "context.local.minute == 6",
        "context.source.isInRange(ip(\"10.0.0.0/30\"))",
        "context.method == \"GET\"",
        "context.depth == 1",
        "context has delegator && context.delegator == \"x\"",
        "context.chain.contains(\"key\")",
        "context.arguments has n && context.arguments.n == 1",
        "context.session has amr && context.session.amr == \"mfa\"",
        "context has used.calls && context.used.calls < 5",
        "context == {}",
    ]);
    let condition = (prop::collection::vec((any::<bool>(), one), 0..3), any::<bool>()).prop_map(|(all, both)| {
        let all: Vec<_> =
            all.iter().map(|(is, one)| if *is { format!("({one})") } else { format!("!({one})") }).collect();
        let joined = all.join(if both { " && " } else { " || " });
        if joined.is_empty() { joined } else { format!("when {{ {joined} }}") }
    });
    let effect = prop_oneof![4 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, action, resource, condition).prop_map(|(effect, principal, action, resource, condition)| {
        format!("{effect}({principal}, {action}, {resource}) {condition};\n")
    })
}

fn any_question() -> impl Strategy<Value = Asked> {
    let paths = |all: &'static [&'static str]| prop::sample::select(all);
    let user = prop::option::of(paths(&["u", "v"]));
    let groups = prop::sample::subsequence(vec!["g", "h"], 0..=2);
    let (action, resource) = (paths(&["x/read", "x", "x/delete", "/"]), paths(&["p/q", "p", "pq", "/"]));
    let who = (paths(&["a", "b"]), user, groups, any::<bool>());
    let call = (
        prop::sample::select(vec![0, 1, 60_000, 3_600_000]),
        prop::sample::select(vec![1_u8, 7]),
        paths(&["GET", "POST"]),
        prop::option::of(1..3_i64),
        prop::option::of(paths(&["pwd", "mfa"])),
        prop::option::of(prop::sample::select(vec![3_i64, 7])),
    );
    (who, paths(&["s", "t"]), action, resource, call).prop_map(|(who, service, action, resource, call)| {
        let (agent, user, groups, delegated) = who;
        let (later_ms, source, method, n, amr, calls) = call;
        let claim = |amr: &str| Claim { name: "amr".parse().unwrap(), value: ClaimValue::String(amr.into()) };
        Asked {
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            delegator: delegated.then_some("x"),
            now: Timestamp::from_millis(NOW.millis() + later_ms),
            source: [10, 0, 0, source].into(),
            method,
            arguments: n.map(|n| Argument { name: "n".into(), value: Value::Integer(n) }).into_iter().collect(),
            claims: amr.map(claim).into_iter().collect(),
            used: calls.map(|calls| ("calls".into(), Value::Integer(calls))).into_iter().collect(),
            ..asked(agent, user, &format!("{service}:{action}:{resource}"))
        }
    })
}

#[test]
fn questions_of_which_conditions_see_the_same_are_evaluated_once() {
    let rules = rules(
        "@id(\"a\") permit(principal, action in Action::\"reads\", resource in Resource::\"s:p\")
         when { context.local.hour < 12 && context.arguments has n };
         @id(\"b\") permit(principal in Group::\"g\", action in Action::\"writes\", resource) when { context.method == \"GET\" };",
    );
    let ask = |asked: &Asked| asked.is_allowed(&rules);
    let first = asked("bot", Some("alice"), "s:x/read:p/1").with("n", Value::Integer(1));
    assert!(ask(&first) && ask(&first));
    // Another agent, another resource below the same, a second later, another method.
    assert!(ask(&Asked {
        now: Timestamp::from_millis(NOW.millis() + 1000),
        method: "POST",
        ..asked("other", None, "s:y/read:p/2").with("n", Value::Integer(1))
    }));
    assert_eq!(rules.evaluated.count(), 1);
    assert!(ask(&asked("bot", Some("alice"), "s:x/read:p/1").with("n", Value::Integer(2))));
    assert_eq!(rules.evaluated.count(), 2);
    // None applies: nothing is evaluated.
    assert!(!ask(&asked("bot", Some("alice"), "s:x/write:p/1")));
    assert_eq!(rules.evaluated.count(), 2);
}

#[test]
fn conditions_that_see_the_same_do_not_answer_for_one_another() {
    let rules = rules(
        "@id(\"a\") permit(principal, action in Action::\"reads\", resource) when { context.method == \"GET\" };
         @id(\"b\") permit(principal, action in Action::\"writes\", resource) when { context.method == \"POST\" };
         @id(\"c\") permit(principal in User::\"alice\", action in Action::\"s:x\", resource) when { context.method == \"PUT\" };",
    );
    for method in ["GET", "POST", "PUT", "GET"] {
        for (user, action, allowed) in [
            (None, "x/read", method == "GET"),
            (None, "x/write", method == "POST"),
            (Some("alice"), "x/read", method != "POST"),
            (Some("alice"), "x/write", method != "GET"),
            (Some("alice"), "y/write", method == "POST"),
        ] {
            let asked = Asked { method, ..asked("bot", user, &format!("s:{action}:p")) };
            assert_eq!(asked.is_allowed(&rules), allowed, "{user:?} {method} {action}");
        }
    }
}

#[test]
fn what_is_asked_at_issuance_is_not_remembered() {
    let rules = rules("@id(\"a\") permit(principal, action, resource) when { context.local.hour < 12 };");
    for n in 0..10 {
        assert!(Asked { issuing: true, ..asked("bot", None, &format!("s:x{n}:p{n}")) }.is_allowed(&rules));
    }
    assert_eq!((rules.applying.count(), rules.together.count(), rules.evaluated.count()), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// The index, the scopes decided here, the sets put together and what is remembered of other questions leave nothing out and
    /// add nothing: Cedar alone, given every policy as it was written, every entity and the whole context, decides the same.
    #[test]
    fn cedar_given_everything_decides_the_same(
        policies in prop::collection::vec(any_scope(), 0..8),
        questions in prop::collection::vec((any_question(), any::<bool>()), 1..12),
    ) {
        let source: String =
            policies.iter().enumerate().map(|(n, policy)| format!("@id(\"p{n}\")\n{policy}")).collect();
        let rules = rules(&source);
        let whole = CedarSet::from_policies(rules.set().policies().iter().map(|policy| policy.cedar.clone())).unwrap();
        for (asked, by_key) in questions {
            let names = if by_key { vec!["key".to_owned()] } else { Vec::new() };
            let question = asked.question(&names);
            let seen = question.seen(Needs::ALL, rules.set().zone()).unwrap();
            let (request, entities): (_, Entities) = (seen.request().unwrap(), seen.hierarchy().unwrap());
            let response = AUTHORIZER.is_authorized(&request, &whole, &entities);
            prop_assert_eq!(response.diagnostics().errors().count(), 0);
            let mut reasons: Vec<String> = response.diagnostics().reason().map(|id| id.to_string()).collect();
            reasons.sort();
            let told = |by: &[PolicyName]| {
                let mut by: Vec<String> = by.iter().map(ToString::to_string).collect();
                by.sort();
                by
            };
            match rules.decide(&question, &[]).verdict {
                Verdict::Allowed { by, .. } => {
                    prop_assert_eq!(response.decision(), Decision::Allow, "{}", source);
                    prop_assert_eq!(told(&by), reasons);
                }
                Verdict::Forbidden { by } => {
                    prop_assert_eq!(response.decision(), Decision::Deny, "{}", source);
                    prop_assert_eq!(told(&by), reasons);
                }
                Verdict::NotPermitted => {
                    prop_assert_eq!(response.decision(), Decision::Deny, "{}", source);
                    prop_assert!(reasons.is_empty());
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
