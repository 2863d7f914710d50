//! An audit record as one line for a person.

use crate::audit::{Actor, Decision, Event, Finish, Outcome, Record, Verdict};
use crate::cli::output::{bad, doubtful, faint, good, plain_line, strong, term};
use crate::cli::time::moment;
use crate::cli::tree::short;

/// One line: when, in whose chain, what, who.
pub(super) fn line(record: &Record) -> String {
    format!("{}  {}  {}", faint(moment(record.at)), faint(&record.source), told(record))
}

/// What happened, without when and where.
pub(super) fn told(record: &Record) -> String {
    match serde_json::from_str::<Event>(record.event.get()) {
        Ok(Event::Decision(decision)) => decision_told(&decision),
        Ok(Event::Outcome(outcome)) => outcome_told(&outcome),
        Ok(Event::Change(change)) => {
            let object = plain_line(&change.object);
            format!(
                "{}  {} {} by {}",
                term("changed"),
                strong(plain_line(&change.action)),
                object,
                actor(&change.actor)
            )
        }
        Err(_) => doubtful("written by another version of writ: `--json` shows it"),
    }
}

fn decision_told(decision: &Decision) -> String {
    let verdict = match decision.verdict {
        Verdict::Allowed => good("allowed"),
        Verdict::Denied => bad("denied "),
    };
    let mut told = format!("{verdict}  {} {}", plain_line(&decision.method), plain_line(&decision.path));
    if let Some(who) = &decision.who {
        let mut chain = who.agent.to_string();
        for (index, key) in who.holders.iter().enumerate().skip(1) {
            // What a delegator calls the next holder is its own word: never without the key.
            let called = who.called.get(index - 1).and_then(Option::as_ref);
            let called = called.map_or_else(String::new, ToString::to_string);
            chain.push_str(&format!(" › {called}({})", short(*key)));
        }
        if let Some(subject) = &who.subject {
            chain.push_str(&format!(" for {}", plain_line(subject.as_str())));
        }
        told.push_str(&format!("  {}", strong(chain)));
    }
    match decision.verdict {
        Verdict::Allowed => {
            let further = decision.also.iter().filter_map(|also| also.capability.as_ref());
            for (i, capability) in decision.capability.iter().chain(further).enumerate() {
                told.push_str(&format!("{}{}", if i == 0 { "  by " } else { ", " }, term(capability)));
            }
            if let Some(approval) = &decision.approval {
                told.push_str(&format!("  with approval {approval}"));
            }
        }
        Verdict::Denied => {
            let detail = decision.detail.as_deref().unwrap_or(&decision.reason);
            told.push_str(&format!("  {}", plain_line(detail)));
        }
    }
    told
}

fn outcome_told(outcome: &Outcome) -> String {
    let status = outcome.status.map_or_else(String::new, |status| format!(" with {status}"));
    let finish = match &outcome.finish {
        Finish::Completed => good("answered"),
        Finish::Refused { reason } => bad(format!("refused before injection ({reason})")),
        Finish::Cut { reason } => bad(format!("cut ({reason})")),
        Finish::Failed { reason } => bad(format!("failed ({reason})")),
        Finish::Abandoned => doubtful("abandoned by the caller"),
        Finish::Unknown => doubtful("unknown: the edge ended first"),
    };
    let bytes = format!("{} bytes up, {} down", outcome.bytes_up, outcome.bytes_down);
    format!("{finish}{status} in {} ms  {}", outcome.elapsed_ms, faint(bytes))
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Operator(name) => format!("operator {name}"),
        Actor::Agent(name) => format!("agent {name}"),
        Actor::User(subject) => format!("user {subject}"),
        Actor::Provider(name) => format!("identity provider {name}"),
        Actor::Holder(key) => format!("holder {key}"),
        Actor::Edge(name) => format!("edge {name}"),
        Actor::Authority => "the authority".to_owned(),
    }
}
