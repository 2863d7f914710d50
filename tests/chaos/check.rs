//! What must hold of a run, whatever happened in it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::load::{Revocation, Run};
use crate::system::{IN_THE_END, eventually};
use crate::upstream::{Mark, Seen};

/// Everything that does not hold, each in a sentence.
pub(crate) async fn findings(run: &Run) -> Vec<String> {
    let mut findings = run.wrongly_refused.lock().unwrap().clone();
    streams_of_the_revoked_end(run).await;
    findings.extend(after_receipts(run));
    findings.extend(lost_revocations(run).await);
    findings.extend(changed_receipts(run).await);
    findings.extend(lost_records(run).await);
    findings.extend(run.system.audit_broken());
    findings.extend(run.system.authorities.iter().filter_map(|authority| authority.process.panicked()));
    findings.extend(run.system.edges.iter().filter_map(|edge| edge.process.panicked()));
    findings
}

/// The earliest receipt for each writ that has one.
struct Deaths(HashMap<usize, (Mark, String)>);

impl Deaths {
    fn of(run: &Run) -> Self {
        let revocations = run.revocations.lock().unwrap().clone();
        let mut deaths = HashMap::new();
        for writ in run.writs.all() {
            let killed = |revocation: &&Revocation| writ.is_killed_by(&revocation.target, revocation.begun);
            let receipts = revocations
                .iter()
                .filter(killed)
                .filter_map(|revocation| Some((revocation.settled.as_ref()?.mark, revocation.target.clone())));
            if let Some(first) = receipts.min() {
                deaths.insert(writ.number, first);
            }
        }
        Self(deaths)
    }

    /// The receipt that came before `mark`.
    fn before(&self, writ: usize, mark: Mark) -> Option<&str> {
        self.0.get(&writ).filter(|(death, _)| *death < mark).map(|(_, target)| target.as_str())
    }
}

/// No request, no byte of a body and no event of a stream of what was revoked, later than the receipt.
fn after_receipts(run: &Run) -> Vec<String> {
    let deaths = Deaths::of(run);
    let mut findings = Vec::new();
    for seen in run.system.upstream.seen() {
        if !seen.credentialed {
            findings.push(format!("{} came without the credential", seen.path));
        }
        if let Some(target) = deaths.before(seen.writ, seen.last_byte) {
            findings.push(format!("{}: injected or continued after the receipt for {target}: {seen:?}", seen.path));
        }
    }
    for (writ, last) in &*run.delivered.lock().unwrap() {
        if let Some(target) = deaths.before(*writ, *last) {
            findings.push(format!("a stream of writ {writ} delivered {last:?}, sent after the receipt for {target}"));
        }
    }
    findings
}

/// The edge closes its side of every revoked stream.
async fn streams_of_the_revoked_end(run: &Run) {
    let deaths = Deaths::of(run);
    let open = |seen: &Seen| seen.open && deaths.0.contains_key(&seen.writ);
    eventually("the streams of revoked writs end", async || !run.system.upstream.seen().iter().any(open)).await;
}

/// The log has every revocation that was answered, once however often it was asked for, and no gap.
async fn lost_revocations(run: &Run) -> Vec<String> {
    let mut log: Vec<(u64, String)> = Vec::new();
    loop {
        let after = log.last().map_or(0, |(seq, _)| *seq);
        let page = run.system.operate(Method::GET, &format!("/v1/revocations?after={after}&limit=1000"), None).await;
        let entries = page["entries"].as_array().unwrap();
        if entries.is_empty() {
            break;
        }
        let entry = |entry: &Value| (entry["seq"].as_u64().unwrap(), entry["target"].as_str().unwrap().to_owned());
        log.extend(entries.iter().map(entry));
    }
    let mut findings = Vec::new();
    for (place, (seq, _)) in log.iter().enumerate() {
        if *seq != place as u64 + 1 {
            findings.push(format!("the log has {seq} in place {}", place + 1));
        }
    }
    let mut receipts: HashMap<String, HashSet<u64>> = HashMap::new();
    for Revocation { target, settled, .. } in &*run.revocations.lock().unwrap() {
        let Some(settled) = settled else {
            findings.push(format!("the revocation of {target} was never answered"));
            continue;
        };
        let seq = settled.receipt["seq"].as_u64().unwrap();
        if !log.contains(&(seq, target.clone())) {
            findings.push(format!("{target} has a receipt for {seq}, and the log does not have it"));
        }
        receipts.entry(target.clone()).or_default().insert(seq);
    }
    for (target, seqs) in receipts {
        let found = log.iter().filter(|(_, logged)| *logged == target).count();
        if found != seqs.len() {
            findings.push(format!("{target} has receipts for {seqs:?} and stands in the log {found} times"));
        }
    }
    findings
}

/// Whoever asks again gets the same receipt, at whichever replica, and it holds offline.
async fn changed_receipts(run: &Run) -> Vec<String> {
    let mut findings = Vec::new();
    let keys = run.system.operate(Method::GET, "/v1/keys", None).await;
    let revocations = run.revocations.lock().unwrap().clone();
    for (n, revocation) in revocations.iter().enumerate() {
        let Some(settled) = &revocation.settled else { continue };
        let replica = n % run.system.authorities.len();
        let again =
            run.system.ask(replica, Method::POST, "/v1/revocations", Some(&revocation.body()), IN_THE_END).await;
        let again = again.map_or_else(|error| error, |answer| answer.text());
        if again != settled.text {
            findings.push(format!(
                "{}: authority-{replica} answers {again}, the receipt was {}",
                revocation.name, settled.text
            ));
        }
        // Each check is a process of its own.
        if n % 5 == 0 {
            let key = keys["authority_key"].as_str().unwrap();
            findings.extend(run.system.receipt_refused(&settled.text, key));
        }
    }
    findings
}

/// Every request that the upstream saw has one decision in the store, and every decision one outcome.
async fn lost_records(run: &Run) -> Vec<String> {
    let seen: Vec<String> = run.system.upstream.seen().into_iter().map(|seen| format!("/load{}", seen.path)).collect();
    let mut records = Vec::new();
    let (mut after, mut last_lack) = (None, None);
    let all_there = async || {
        read_records(run, &mut after, &mut records).await;
        let lack = Records::of(&records).lack(&seen);
        last_lack = lack.first().cloned();
        lack.is_empty()
    };
    if tokio::time::timeout(Duration::from_secs(60), eventually("every record is stored", all_there)).await.is_err() {
        let lack = Records::of(&records).lack(&seen);
        return vec![format!("{} records are lost, first: {last_lack:?}", lack.len())];
    }
    let mut findings = Records::of(&records).twice;
    let mut paths = seen;
    paths.sort();
    findings.extend(paths.windows(2).filter(|two| two[0] == two[1]).map(|two| format!("{} came twice", two[0])));
    findings
}

async fn read_records(run: &Run, after: &mut Option<u64>, records: &mut Vec<Value>) {
    loop {
        let after_text = after.map_or_else(String::new, |after| format!("&after={after}"));
        let page = run.system.operate(Method::GET, &format!("/v1/audit?limit=1000{after_text}"), None).await;
        let Some(last) = page.as_array().unwrap().last() else { return };
        *after = last["position"].as_u64();
        let events = page.as_array().unwrap().iter().map(|positioned| positioned["record"]["event"].clone());
        records.extend(events.filter(|event| event["type"] != "change"));
    }
}

/// What the audit log says of the requests that were let through.
struct Records<'a> {
    /// The request of each path.
    allowed: HashMap<&'a str, &'a str>,
    ended: HashMap<&'a str, usize>,
    twice: Vec<String>,
}

impl<'a> Records<'a> {
    fn of(events: &'a [Value]) -> Self {
        let mut records = Self { allowed: HashMap::new(), ended: HashMap::new(), twice: Vec::new() };
        for event in events {
            let request = event["request"].as_str().unwrap();
            if event["type"] == "outcome" {
                let count = records.ended.entry(request).or_default();
                *count += 1;
                if *count > 1 {
                    records.twice.push(format!("request {request} has two outcomes"));
                }
            } else if event["verdict"] == "allowed" {
                let path = event["path"].as_str().unwrap();
                if records.allowed.insert(path, request).is_some() {
                    records.twice.push(format!("{path} was decided twice"));
                }
            }
        }
        records
    }

    /// The paths of `seen` without a decision, and the decisions without an outcome.
    fn lack(&self, seen: &[String]) -> Vec<String> {
        let undecided = seen.iter().filter(|path| !self.allowed.contains_key(path.as_str()));
        let unended = self.allowed.iter().filter(|(_, request)| !self.ended.contains_key(*request));
        let undecided = undecided.map(|path| format!("{path} has no decision"));
        undecided.chain(unended.map(|(path, _)| format!("{path} has no outcome"))).collect()
    }
}
