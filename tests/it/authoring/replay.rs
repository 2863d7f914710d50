//! `writ policy diff` over an export of the audit log.

use std::fs;

use serde_json::{Value, json};
use writ::audit::{Head, Record, Source};
use writ::clock::Timestamp;
use writ::id::RequestId;

use super::{folder, policy};

/// A recorded call of `helper` for alice, at ten on a Monday.
fn record(n: u8, what: Value, reason: &str) -> String {
    let event = json!({
        "type": "decision", "request": RequestId::from_bytes([n; 16]), "reason": reason,
        "verdict": if reason == "allowed" { "allowed" } else { "denied" },
        "who": {
            "tenant": "default", "subject": "alice", "agent": "helper", "holders": [], "blocks": [], "grants": [],
            "token_sha256": "", "root_key_id": 1,
        },
        "method": "POST", "path": "/x", "what": what, "revocation_seq": 0, "client": "10.0.0.7:1234",
    });
    let text = serde_json::value::to_raw_value(&event).unwrap();
    let source = Source::Edge("e".parse().unwrap());
    let at = Timestamp::from_secs(1_795_428_000);
    json!({ "record": Record::of_text(&Head::empty(), source, at, text) }).to_string()
}

fn pay(amount: Option<&str>) -> Value {
    let arguments: Vec<Value> =
        amount.iter().map(|amount| json!({ "name": "amount", "value": { "decimal": amount } })).collect();
    json!({ "service": "payments", "action": "payments/write", "resource": "/", "arguments": arguments })
}

const OLD: &str = "@id(\"all\")\npermit(principal, action, resource);\n";
const NEW: &str = r#"
@id("small") permit(principal in Agent::"helper", action == Action::"payments:payments/write", resource)
when { context.arguments has amount && context.arguments.amount.lessThan(decimal("500.0")) && context.source.isInRange(ip("10.0.0.0/8")) };
@id("large") @approval("boss") permit(principal, action == Action::"payments:payments/write", resource)
when { context.arguments has amount && context.arguments.amount.lessThan(decimal("5000.0")) };
@id("reads") permit(principal in Group::"sales", action in Action::"reads", resource);
@id("mail") permit(principal, action == Action::"mail:send", resource)
when { context.arguments has to && ["team@domain.com"].containsAll(context.arguments.to) };
"#;

#[test]
fn calls_that_would_come_out_differently_are_shown_and_what_a_record_lacks_is_unknown() {
    let mail = |to: &[&str], notes: &[&str]| {
        let arguments = json!([{ "name": "to", "value": to }]);
        json!({ "service": "mail", "action": "send", "resource": "/", "arguments": arguments, "notes": notes })
    };
    let read = json!({ "service": "github", "action": "issues/read", "resource": "repos/acme/web" });
    let log = [
        record(1, pay(Some("12.5")), "allowed"),
        record(2, pay(Some("700")), "allowed"),
        record(3, pay(Some("800")), "allowed"),
        record(4, pay(Some("9000")), "allowed"),
        record(5, pay(None), "allowed"),
        record(6, read, "allowed"),
        record(7, mail(&["team@domain.com"], &[]), "allowed"),
        record(8, mail(&["eve@evil.example"], &[]), "allowed"),
        record(9, mail(&["team@domain.com"], &["of `to`, 1 of 2 values are shown"]), "allowed"),
        record(10, pay(Some("1")), "no_capability"),
        json!({ "checkpoint": {} }).to_string(),
    ];
    let dir = folder(&[("old.cedar", OLD), ("new.cedar", NEW)]);
    fs::write(dir.path().join("log.jsonl"), log.join("\n")).unwrap();
    let args = ["diff", "old.cedar", "new.cedar", "--against", "log.jsonl", "--since", "2026-01-01T00:00:00Z"];
    let report = policy(dir.path(), &[&args[..], &["--json"]].concat()).json();
    assert_eq!((&report["calls"], &report["not_asked"]), (&json!(9), &json!(1)), "{report}");
    // One whose amount is not recorded, one whose user's groups are not, one whose recipients are cut.
    assert_eq!((&report["same"], &report["unknown"]), (&json!(2), &json!(3)), "{report}");
    let changed: Vec<(&str, &str, &str, u64)> = report["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap();
            (text("operation"), text("was"), text("is"), one["calls"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(
        changed,
        [
            ("mail:send:/", "allow", "deny", 1),
            ("payments:payments/write:/", "allow", "approval", 2),
            ("payments:payments/write:/", "allow", "deny", 1),
        ]
    );
    let told = policy(dir.path(), &args).ok();
    assert!(told.contains("9 recorded calls: 4 come out differently, 2 do not, 3 are unknown"), "{told}");
    assert!(
        policy(
            dir.path(),
            &["diff", "old.cedar", "old.cedar", "--against", "log.jsonl", "--since", "2026-01-01T00:00:00Z"]
        )
        .ok()
        .contains("0 come out differently, 9 do not, 0 are unknown")
    );
}
