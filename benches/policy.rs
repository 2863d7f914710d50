//! What policies, limits and the catalog cost a warm call, from its parsed target to its permit: `cargo bench --bench policy`. Trust
//! ratios more than absolutes, and `fastest` more than `median`.
//!
//! `call` is the whole of it; `plain` beside `full` is what 100 policies, 64 limits and 1,200 routes add to one route and none of
//! either. Two of the policies apply to the call and look at its arguments and the time of day; of the limits two count it. The other
//! benchmarks take one part each.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up has failed")]

use std::cell::RefCell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use http::HeaderMap;
use writ::catalog::{Service, Target};
use writ::clock::Monotonic;
use writ::policy::limit::{Allotted, Caller, Ledger, LedgerLimits, Limits, Moment};
use writ::policy::rules::{Document, PolicySet, Question, Rules};
use writ::policy::{Facts, authorize};
use writ::revocation::{Lease, LiveToken, RevocationSet, Statement};
use writ::token::claims::PolicyFacts;
use writ::token::proof::{self, BearerRule};
use writ::token::{Argument, Chain, Operation, Operations, Value, VerifiedToken};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/tokens.rs"]
mod tokens;

use tokens::*;

#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

/// A service of so many routes, in the shape of GitHub's description: four methods for each part of a repository.
fn service(routes: usize) -> Service {
    let mut text = "name = 'hub'\nupstream = 'https://hub.example'\n".to_owned();
    let methods = [("GET", "read"), ("POST", "write"), ("PATCH", "write/change"), ("DELETE", "write/delete")];
    for n in 0..routes {
        let (part, (method, action)) = (n / 4, methods[n % 4]);
        write!(
            text,
            "[[route]]\nmethods = ['{method}']\npath = '/repos/{{owner}}/{{repo}}/part{part}/{{id}}'\n\
             action = 'part{part}/{action}'\nresource = 'repos/{{owner}}/{{repo}}'\n\
             [[route.argument]]\nname = 'id'\nfrom = 'path'\ntype = 'string'\n"
        )
        .unwrap();
    }
    Service::from_toml(&text).unwrap()
}

fn target() -> Target {
    Target::parse("/repos/acme/web/part0/7").unwrap()
}

fn operations(service: &Service) -> Operations {
    service.route("GET", &target()).unwrap().ask(&HeaderMap::new(), None).unwrap().operations
}

/// Two policies that apply to the call.
const APPLY: &str = "@id(\"hours\") permit(principal in Group::\"engineers\", action in Action::\"reads\", resource) \
     when { context.local.hour >= 6 && context.local.hour < 20 };\n\
     @id(\"not-nine\") forbid(principal, action in Action::\"hub:part0\", resource in Resource::\"hub:repos/acme\") \
     when { context.arguments has id && context.arguments.id == \"9\" };\n";

/// Why a policy cannot apply: by its action, its principal, its resource, or each in turn.
#[derive(Clone, Copy, Debug)]
enum Other {
    Action,
    Principal,
    Resource,
    Any,
}

/// A set of so many policies: the two that apply, and others that cannot.
fn policies(count: usize, other: Other) -> Arc<Rules> {
    let mut text = APPLY.to_owned();
    let mut names = vec!["engineers".to_owned()];
    for n in 2..count {
        let other = match (other, n % 3) {
            (Other::Any, 0) => Other::Action,
            (Other::Any, 1) => Other::Principal,
            (Other::Any, _) => Other::Resource,
            (one, _) => one,
        };
        let scope = match other {
            Other::Action => format!("principal, action in Action::\"hub:part{n}\", resource"),
            Other::Principal => format!("principal in Group::\"team-{n}\", action, resource"),
            _ => format!("principal, action, resource in Resource::\"hub:repos/org-{n}\""),
        };
        names.push(format!("team-{n}"));
        let effect = if n % 4 == 0 { "forbid" } else { "permit" };
        writeln!(
            text,
            "@id(\"p{n}\") {effect}({scope}) when {{ context.arguments has id && context.local.hour < 18 }};"
        )
        .unwrap();
    }
    rules(&text)
}

/// So many policies that all apply, each with conditions of its own.
fn policies_that_apply(count: usize) -> Arc<Rules> {
    let policy = |n| {
        format!(
            "@id(\"p{n}\") permit(principal, action, resource) \
             when {{ context.arguments has id && context.arguments.id == \"{n}\" && context.local.hour < {} }};\n",
            n % 24
        )
    };
    rules(&(0..count).map(policy).collect::<String>())
}

fn rules(text: &str) -> Arc<Rules> {
    let document = serde_json::json!({ "zone": "Europe/Berlin", "policy": text });
    let document: Document = serde_json::from_value(document).unwrap();
    Arc::new(Rules::compile(1, 0, PolicySet::parse(document).unwrap()).unwrap())
}

/// So many limits, two of which count the call.
fn limits(count: usize) -> Limits {
    let per = ["agent", "user", "grant", "service"];
    let limit = |n: usize| {
        let service = if n < 2 { "hub" } else { "other" };
        serde_json::json!({ "name": format!("limit-{n}"), "per": per[n % 4], "service": service, "window": "1h", "calls": 1_000_000_000 })
    };
    serde_json::from_value((0..count).map(limit).collect()).unwrap()
}

/// A token of a user in five groups that may read everything of the service.
fn token() -> VerifiedToken {
    let mut authority = authority();
    authority.holder = None;
    authority.depth_max = 0;
    authority.capabilities = vec![capability("hub:/:/")];
    let groups = ["engineers", "everybody", "berlin", "on-call", "web"].map(|group| group.parse().unwrap());
    authority.policy = PolicyFacts { groups: groups.into(), ..PolicyFacts::default() };
    accepted(&minted(&authority), at(60)).unwrap()
}

const NOW_HERE: Monotonic = Monotonic::from_origin(Duration::from_secs(1));

/// All that a warm call finds in memory.
struct Stage {
    service: Service,
    rules: Arc<Rules>,
    limits: Limits,
    ledger: RefCell<Ledger>,
    chain: Arc<Chain>,
    set: RevocationSet,
    token: VerifiedToken,
}

impl Stage {
    fn new(service: Service, rules: Arc<Rules>, limits: Limits) -> Self {
        let token = token();
        let mut set = RevocationSet::for_log();
        set.apply(&Statement::of(0, 0, [])).unwrap();
        let mut ledger = Ledger::new(LedgerLimits::default());
        let moment = Moment { now: at(60), at: NOW_HERE };
        let needs = limits.needs(caller(token.chain()), &operations(&service), at(60)).unwrap();
        if !needs.is_empty() {
            ledger.reserve(needs, moment).unwrap_err();
            let asks = ledger.asks(moment, 64);
            let all = Allotted { held: 900_000_000, used: 900_000_000, max: 1_000_000_000 };
            ledger.answered(&asks, &vec![Some(all); asks.len()], moment);
        }
        Self { service, rules, limits, ledger: RefCell::new(ledger), chain: token.chain().clone(), set, token }
    }

    fn live(&self) -> LiveToken {
        let held = proof::bear(self.token.clone(), BearerRule::Accept).unwrap();
        let lease = Lease::granted(NOW_HERE, Duration::from_secs(1));
        self.set.admit(held, &lease, NOW_HERE).unwrap()
    }

    /// As in the edge's `admit`: route, limits known, policies, limits reserved, and later spent.
    fn call(&self, live: LiveToken, target: &Target) -> usize {
        let matched = self.service.route("GET", target).unwrap();
        let needed = matched.needed().unwrap();
        let asked = matched.ask(&HeaderMap::new(), None).unwrap();
        let moment = Moment { now: at(60), at: NOW_HERE };
        let needs = self.limits.needs(caller(&self.chain), &asked.operations, at(60)).unwrap();
        self.ledger.borrow_mut().known(&needs, moment).unwrap();
        let facts = Facts { source: Some([10, 1, 2, 3].into()), ..Facts::at(at(60)) };
        let permit = authorize(live, asked.operations, &self.rules, facts).unwrap();
        let mut ledger = self.ledger.borrow_mut();
        let reservation = ledger.reserve(needs, moment).unwrap();
        ledger.spend(reservation);
        permit.capabilities().count() + usize::from(needed.is_some())
    }
}

fn caller(chain: &Chain) -> Caller<'_> {
    chain.into()
}

/// From a parsed target to a permit and a reservation that is spent.
#[divan::bench(args = ["plain", "full"])]
fn call(bencher: Bencher<'_, '_>, with: &str) {
    let stage = match with {
        "plain" => Stage::new(service(1), Rules::built_in(), Limits::default()),
        _ => Stage::new(service(1200), policies(100, Other::Any), limits(64)),
    };
    let target = target();
    bencher.with_inputs(|| stage.live()).bench_local_values(|live| stage.call(live, black_box(&target)));
}

/// From a parsed target to the operation.
#[divan::bench(args = [1, 1200])]
fn catalog(bencher: Bencher<'_, '_>, routes: usize) {
    let (service, target) = (service(routes), target());
    bencher.bench(|| service.route("GET", black_box(&target)).unwrap().ask(&HeaderMap::new(), None).unwrap());
}

fn decided(bencher: Bencher<'_, '_>, rules: &Rules) {
    let (token, operations) = (token(), operations(&service(1)));
    let source = Some([10, 1, 2, 3].into());
    bencher.bench(|| {
        let question = Question::of_call(token.chain(), black_box(operations.first()), source, &[], at(60));
        rules.decide(&question, &[])
    });
}

#[divan::bench]
fn grants_decide(bencher: Bencher<'_, '_>) {
    decided(bencher, &Rules::built_in());
}

#[divan::bench(args = [2, 10, 100, 1000])]
fn two_apply_others_have_other_actions(bencher: Bencher<'_, '_>, count: usize) {
    decided(bencher, &policies(count, Other::Action));
}

#[divan::bench(args = [2, 10, 100, 1000])]
fn two_apply_others_have_other_principals(bencher: Bencher<'_, '_>, count: usize) {
    decided(bencher, &policies(count, Other::Principal));
}

#[divan::bench(args = [2, 10, 100, 1000])]
fn two_apply_others_have_other_resources(bencher: Bencher<'_, '_>, count: usize) {
    decided(bencher, &policies(count, Other::Resource));
}

/// An argument that no call had before: Cedar is asked.
#[divan::bench(args = [2, 10, 100, 1000])]
fn two_apply_and_see_something_new(bencher: Bencher<'_, '_>, count: usize) {
    let (token, rules, operations) = (token(), policies(count, Other::Any), operations(&service(1)));
    let mut n = 0;
    let call = || {
        n += 1;
        let argument = Argument { name: "id".into(), value: Value::Integer(n) };
        Operation { arguments: vec![argument], ..operations.first().clone() }
    };
    bencher.with_inputs(call).bench_local_refs(|operation| {
        let question = Question::of_call(token.chain(), operation, None, &[], at(60));
        rules.decide(&question, &[])
    });
}

#[divan::bench(args = [1, 10, 100, 1000])]
fn all_apply(bencher: Bencher<'_, '_>, count: usize) {
    decided(bencher, &policies_that_apply(count));
}

/// What a call needs, whether it is known, the reservation and the spending: two of so many count it.
#[divan::bench(args = [0, 2, 64])]
fn limited(bencher: Bencher<'_, '_>, count: usize) {
    let stage = Stage::new(service(1), Rules::built_in(), limits(count));
    let operations = operations(&stage.service);
    let moment = Moment { now: at(60), at: NOW_HERE };
    bencher.bench_local(|| {
        let needs = stage.limits.needs(caller(&stage.chain), black_box(&operations), at(60)).unwrap();
        let mut ledger = stage.ledger.borrow_mut();
        ledger.known(&needs, moment).unwrap();
        let reservation = ledger.reserve(needs, moment).unwrap();
        ledger.spend(reservation)
    });
}
