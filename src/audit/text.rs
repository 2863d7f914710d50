//! The JSON text of what an edge records for each request: a decision and an outcome.
//!
//! Written field by field, and the same to the byte as what serde writes, at a third of its cost: names are not searched for
//! what must be escaped, and keys are not either.

use core::net::IpAddr;
use std::io::Write as _;

use serde::Serialize;

use crate::audit::event::{ByPolicy, Decision, Finish, Outcome, Verdict, What};
use crate::id::Hex;
use crate::token::Capability;

pub(super) fn decision(told: &Decision, out: &mut Vec<u8>) {
    let mut fields = Fields(out);
    fields.0.extend_from_slice(br#"{"type":"decision""#);
    fields.word("request", |out| Hex(told.request.as_bytes()).write(out));
    fields.words(
        "verdict",
        match told.verdict {
            Verdict::Allowed => &["allowed"],
            Verdict::Denied => &["denied"],
        },
    );
    fields.text("reason", &told.reason);
    if let Some(detail) = &told.detail {
        fields.text("detail", detail);
    }
    if let Some(who) = &told.who {
        fields.key("who").extend_from_slice(who.text().as_bytes());
    }
    fields.text("method", &told.method);
    fields.text("path", &told.path);
    if let Some(what) = &told.what {
        fields.what(what);
    }
    if let Some(Capability { service, action, resource }) = &told.capability {
        fields.words("capability", &[service.as_str(), ":", action.as_str(), ":", resource.as_str()]);
    }
    if !told.also.is_empty() {
        fields.other("also", &told.also);
    }
    if let Some(credential) = &told.credential {
        fields.words("credential", &[credential.as_str()]);
    }
    if let Some(policy) = &told.policy {
        fields.policy(policy);
    }
    if let Some(approval) = &told.approval {
        fields.other("approval", approval);
    }
    fields.number("revocation_seq", told.revocation_seq);
    if let Some(proof) = &told.proof {
        fields.other("proof", proof);
    }
    if told.by_connection {
        fields.key("by_connection").extend_from_slice(b"true");
    }
    if let Some(client) = &told.client {
        fields.word("client", |out| address(out, *client));
    }
    fields.0.push(b'}');
}

pub(super) fn outcome(told: &Outcome, out: &mut Vec<u8>) {
    let mut fields = Fields(out);
    fields.0.extend_from_slice(br#"{"type":"outcome""#);
    fields.word("request", |out| Hex(told.request.as_bytes()).write(out));
    match &told.finish {
        Finish::Completed => fields.key("finish").extend_from_slice(br#"{"how":"completed"}"#),
        other => fields.other("finish", other),
    }
    if let Some(status) = told.status {
        fields.number("status", status.into());
    }
    fields.number("bytes_up", told.bytes_up);
    fields.number("bytes_down", told.bytes_down);
    fields.number("elapsed_ms", told.elapsed_ms);
    if let Some(seq) = told.injected_at_seq {
        fields.number("injected_at_seq", seq);
    }
    if let Some(epoch) = told.credential_epoch {
        fields.number("credential_epoch", epoch);
    }
    fields.0.push(b'}');
}

/// Appends a number's digits.
pub(super) fn number(out: &mut Vec<u8>, number: impl Serialize) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &number);
}

/// Appends a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Every byte is looked at, without a jump: texts are short, and of these next to none has something to escape.
    let escaped = text.bytes().fold(false, |escaped, byte| escaped | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if escaped {
        // Writing to memory does not fail, and a text is JSON.
        let _ = serde_json::to_writer(out, text);
    } else {
        quoted(out, |out| out.extend_from_slice(text.as_bytes()));
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                number(out, octet);
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// The fields of an object, each behind another one.
struct Fields<'o>(&'o mut Vec<u8>);

impl Fields<'_> {
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }

    /// A string of what has nothing to escape.
    fn word(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        quoted(self.key(key), write);
    }

    /// The same, of parts.
    fn words(&mut self, key: &str, parts: &[&str]) {
        self.word(key, |out| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes())));
    }

    fn text(&mut self, key: &str, text: &str) {
        string(self.key(key), text);
    }

    fn number(&mut self, key: &str, value: u64) {
        number(self.key(key), value);
    }

    /// What most requests have none of.
    fn other(&mut self, key: &str, value: &impl Serialize) {
        // Expect safety: an event has only string keys, and no float that JSON could not write; memory takes all.
        serde_json::to_writer(self.key(key), value).expect("an event is written as JSON");
    }

    fn what(&mut self, what: &What) {
        let What { service, action, resource, arguments, notes } = what;
        if !arguments.is_empty() || !notes.is_empty() {
            return self.other("what", what);
        }
        let parts = [r#"{"service":""#, service.as_str(), r#"","action":""#, action.as_str(), r#"","resource":""#];
        let out = self.key("what");
        parts.into_iter().chain([resource.as_str(), "\"}"]).for_each(|part| out.extend_from_slice(part.as_bytes()));
    }

    fn policy(&mut self, policy: &ByPolicy) {
        let ([name], [], 0) = (&*policy.policies, &*policy.shadow, policy.left_out) else {
            return self.other("policy", policy);
        };
        let out = self.key("policy");
        out.extend_from_slice(br#"{"version":"#);
        number(out, policy.version);
        [r#","policies":[""#, name.as_str(), r#""]}"#].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::Event;
    use crate::audit::event::{Also, Told, UsedProof, Who};
    use crate::clock::Timestamp;
    use crate::id::{ApprovalId, BlockId, PolicyName, RequestId};
    use crate::token::{Argument, Value};

    fn texts<T: From<String> + std::fmt::Debug>() -> impl Strategy<Value = T> {
        prop_oneof!["[a-zA-Z/?=-]{0,80}", any::<String>(), "[\"\\\\\u{0}-\u{1f}\u{7f}\u{2028}ä]{0,9}"].prop_map(T::from)
    }

    /// Often none.
    fn some<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
        (any::<bool>(), prop::collection::vec(of, 1..3)).prop_map(|(none, some)| if none { Vec::new() } else { some })
    }

    fn whats() -> impl Strategy<Value = What> {
        let path = || "[a-z]{1,9}(/[a-z@+,=~]{1,9}){0,3}|/".prop_map(|path| path.parse().unwrap());
        let argument = (texts(), texts()).prop_map(|(name, value)| Argument { name, value: Value::String(value) });
        let service = "[a-z0-9][a-z0-9._-]{0,9}".prop_map(|name| name.parse().unwrap());
        (service, path(), path(), some(argument), some(texts())).prop_map(
            |(service, action, resource, arguments, notes)| What { service, action, resource, arguments, notes },
        )
    }

    fn policies() -> impl Strategy<Value = ByPolicy> {
        let names = || {
            prop::collection::vec("[a-z0-9][a-z0-9._-]{0,9}".prop_map(|name| name.parse::<PolicyName>().unwrap()), 0..3)
        };
        (any::<u64>(), names(), names(), 0..2_usize).prop_map(|(version, policies, shadow, left_out)| ByPolicy {
            version,
            policies: policies.into(),
            shadow: shadow.into(),
            left_out,
        })
    }

    fn told() -> impl Strategy<Value = Told> {
        (any::<[u8; 16]>(), any::<u32>(), any::<Option<u64>>()).prop_map(|(id, root_key_id, epoch)| {
            Told::from(Who {
                tenant: "acme".parse().unwrap(),
                subject: Some("alice".parse().unwrap()),
                session: None,
                agent: "assistant".parse().unwrap(),
                holders: Vec::new(),
                called: vec![None, Some("helper".parse().unwrap())],
                blocks: vec![BlockId::from_bytes(id)],
                grants: Vec::new(),
                token_sha256: "00".into(),
                root_key_id,
                epoch,
            })
        })
    }

    fn decisions() -> impl Strategy<Value = Decision> {
        let who = (any::<[u8; 16]>(), any::<bool>(), texts(), prop::option::of(texts()), prop::option::of(told()));
        let asked = (texts(), texts(), prop::option::of(whats()), some(whats()));
        let by = (prop::option::of(policies()), any::<Option<[u8; 16]>>(), any::<u64>());
        let how = (prop::option::of((texts(), any::<i64>())), any::<bool>(), any::<Option<IpAddr>>());
        (who, asked, by, how).prop_map(
            |((request, allowed, reason, detail, who), (method, path, what, also), (policy, approval, seq), how)| {
                let capability =
                    |What { service, action, resource, .. }: What| Capability { service, action, resource };
                let (proof, by_connection, client) = how;
                Decision {
                    request: RequestId::from_bytes(request),
                    verdict: if allowed { Verdict::Allowed } else { Verdict::Denied },
                    reason,
                    detail,
                    who,
                    method,
                    path,
                    capability: what.clone().filter(|_| allowed).map(capability),
                    credential: allowed.then(|| "notes-key".parse().unwrap()),
                    what,
                    also: also.into_iter().map(|what| Also { what, capability: None }).collect(),
                    policy,
                    approval: approval.map(ApprovalId::from_bytes),
                    revocation_seq: seq,
                    proof: proof.map(|(id, until)| UsedProof { id, until: Timestamp::from_millis(until) }),
                    by_connection,
                    client,
                }
            },
        )
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let finish = prop_oneof![
            Just(Finish::Completed),
            Just(Finish::Abandoned),
            Just(Finish::Unknown),
            texts().prop_map(|reason| Finish::Refused { reason }),
            texts().prop_map(|reason| Finish::Cut { reason }),
            texts().prop_map(|reason| Finish::Failed { reason }),
        ];
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>());
        (any::<[u8; 16]>(), finish, any::<Option<u16>>(), numbers).prop_map(|(request, finish, status, numbers)| {
            let (bytes_up, bytes_down, elapsed_ms, injected_at_seq, credential_epoch) = numbers;
            let request = RequestId::from_bytes(request);
            Outcome { request, finish, status, bytes_up, bytes_down, elapsed_ms, injected_at_seq, credential_epoch }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_text_of_a_request_is_what_serde_writes(decision in decisions(), outcome in outcomes()) {
            for event in [Event::Decision(Box::new(decision)), Event::Outcome(outcome)] {
                let text = String::from_utf8(event.json()).unwrap();
                prop_assert_eq!(&text, &serde_json::to_string(&event).unwrap());
                prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
            }
        }
    }
}
