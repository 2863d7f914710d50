//! Any text as a policy set: read or refused without a panic, checked against a schema, and a decision is the same when it is asked
//! for again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use writ::catalog::Service;
use writ::clock::Timestamp;
use writ::id::{AgentName, Group, Subject};
use writ::policy::rules::question::Holders;
use writ::policy::rules::{Call, Document, Facts, Moment, PolicySet, Question, Rules, Schema, Who};
use writ::token::{Argument, Capability, Value};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let service = "name = 'shop'\nupstream = 'https://shop.example'\n\
        [[route]]\nmethods = ['POST']\npath = '/orders/{order}/refund'\naction = 'orders/write/refund'\nresource = 'orders/{order}'\n\
        [[route.argument]]\nname = 'amount'\nfrom = 'json'\nkey = '/amount'\ntype = 'integer'\n";
    Schema::of([&Service::from_toml(service).expect("a service")], Facts::default())
});

fuzz_target!(|text: &str| {
    let document = serde_json::json!({ "zone": "Europe/Berlin", "policy": text });
    let document: Document = serde_json::from_value(document).expect("a document has this form");
    let Ok(set) = PolicySet::parse(document) else { return };
    let _ = SCHEMA.findings(&set);
    let Ok(rules) = Rules::compile(1, 0, set) else { return };

    let agent: AgentName = "bot".parse().expect("a name");
    let user: Subject = "alice".parse().expect("a subject");
    let groups: [Group; 1] = ["sales".parse().expect("a group")];
    let capability: Capability = "shop:orders/write/refund:orders/7".parse().expect("a capability");
    let arguments = [Argument { name: "amount".into(), value: Value::Integer(i64::MAX) }];
    let who = Who { agent: &agent, user: Some(&user), groups: &groups, claims: &[], holders: Holders::Agent(None) };
    let now = Timestamp::from_secs(1_795_000_000);
    let issuing = Question::of_issuance(who, &capability, now);
    let call = Call { method: "POST", source: None, arguments: &arguments, used: &[] };
    for moment in [Moment::Issuing, Moment::Call(call)] {
        let question = Question { moment, ..issuing };
        assert_eq!(rules.decide(&question, &[]), rules.decide(&question, &[]));
    }
});
