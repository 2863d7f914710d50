//! Any text as a check: what the profile takes, the native predicates and biscuit-auth's engine decide in the same way.
//!
//! Excepted as in `tests/it/checks.rs`: arguments of several types at once, where the engine's answer depends on the order of a
//! hash table. So there is one argument here.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use biscuit_auth::builder::{Algorithm, AuthorizerBuilder, Fact, Term};
use biscuit_auth::{AuthorizerLimits, Biscuit, PublicKey};
use libfuzzer_sys::fuzz_target;
use writ::clock::Timestamp;
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::hop::{Narrowing, narrow};
use writ::token::inspect::inspect;
use writ::token::mint::mint;
use writ::token::{Argument, Decimal, Limits, List, Operation, RawToken, Value};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_060);

static ROOT: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_seed(&[0x5a; 32]));
static PARENT: LazyLock<RawToken> = LazyLock::new(|| {
    let authority = Authority {
        issuer: "https://a.example".into(),
        audience: "edge".parse().expect("a name"),
        tenant: "acme".parse().expect("a name"),
        subject: None,
        session: None,
        agent: "assistant".parse().expect("a name"),
        holder: Some(KeyPair::from_seed(&[1; 32]).public()),
        capabilities: Vec::new(),
        grants: Vec::new(),
        id: BlockId::from_bytes([1; 16]),
        not_before: Timestamp::from_secs(NOW.secs() - 60),
        expires: Timestamp::from_secs(NOW.secs() + 60),
        depth_max: 1,
        epoch: 0,
        proof_covers: ProofCovers::default(),
        policy: PolicyFacts::default(),
    };
    mint(&authority, &ROOT, 1, &[2; 32], &Limits::default()).expect("it mints")
});

/// The argument that a byte stands for, and the same for the engine.
fn argument(byte: u8) -> Option<(Value, Term)> {
    let text = |text: &str| (Value::String(text.into()), Term::Str(text.to_owned()));
    Some(match byte % 12 {
        0 => (Value::Integer(0), Term::Integer(0)),
        1 => (Value::Integer(1), Term::Integer(1)),
        2 => (Value::Integer(-1), Term::Integer(-1)),
        3 => text("a"),
        4 => text("a/b"),
        5 => text(""),
        6 => (Value::Boolean(true), Term::Bool(true)),
        7 => (Value::Decimal(Decimal::from_scaled(5_000)), Term::Str("0.5".to_owned())),
        8 => (Value::Time(NOW), Term::Date(NOW.secs().unsigned_abs())),
        9 => {
            let items = ["a", "b"].map(|item| Value::String(item.into())).to_vec();
            let set = ["a", "b"].map(|item| Term::Str(item.to_owned())).into();
            (Value::List(List::new(items).expect("a list")), Term::Set(set))
        }
        10 => {
            let items = [1, 2].map(Value::Integer).to_vec();
            (Value::List(List::new(items).expect("a list")), Term::Set([1, 2].map(Term::Integer).into()))
        }
        _ => return None,
    })
}

fn ambient(operation: &Operation, argument: Option<Term>) -> Vec<Fact> {
    let text = |text: &str| Term::Str(text.to_owned());
    let service = operation.service.as_str();
    let mut facts = vec![
        Fact::new("time".into(), vec![Term::Date(NOW.secs().unsigned_abs())]),
        Fact::new("service".into(), vec![text(service)]),
        Fact::new("method".into(), vec![text(&operation.method)]),
    ];
    for action in operation.action.prefixes() {
        facts.push(Fact::new("action".into(), vec![text(action)]));
        for resource in operation.resource.prefixes() {
            facts.push(Fact::new("operation".into(), vec![text(service), text(action), text(resource)]));
        }
    }
    facts.extend(operation.resource.prefixes().map(|prefix| Fact::new("resource".into(), vec![text(prefix)])));
    facts.extend(argument.map(|term| Fact::new("arg".into(), vec![text("x"), term])));
    facts
}

fuzz_target!(|data: (u8, &str)| {
    let (byte, check) = data;
    let limits = Limits::default();
    let narrowing = Narrowing { checks: vec![check.to_owned()], ..Narrowing::default() };
    let Ok(token) = narrow(&PARENT, &narrowing, &[3; 32], &limits) else { return };
    let chain = inspect(&token, &limits).expect("what was made can be read");
    let argument = argument(byte);
    let operation = Operation {
        service: "s".parse().expect("a name"),
        action: "a/b".parse().expect("a path"),
        resource: "a/b/c".parse().expect("a path"),
        method: "GET".into(),
        arguments: argument.iter().map(|(value, _)| Argument { name: "x".into(), value: value.clone() }).collect(),
    };
    let ours = chain.claims().checks().iter().all(|check| check.passes(&operation, NOW));

    let root = PublicKey::from_bytes(ROOT.public().as_bytes(), Algorithm::Ed25519).expect("a key");
    let biscuit = Biscuit::from(token.bytes(), root).expect("biscuit-auth reads what the profile takes");
    let limits = AuthorizerLimits { max_time: Duration::from_secs(10), ..AuthorizerLimits::default() };
    let builder = AuthorizerBuilder::new().set_limits(limits).policy("allow if true").expect("a policy");
    let facts = ambient(&operation, argument.map(|(_, term)| term));
    let builder = facts.into_iter().fold(builder, |builder, fact| builder.fact(fact).expect("a fact"));
    let theirs = builder.build(&biscuit).expect("an authorizer").authorize().is_ok();
    assert_eq!(ours, theirs, "{check}");
});
