//! Recorded calls, asked again: what an audit record holds of a question, and what it lacks.

use crate::audit::Decision;
use crate::audit::event::What;
use crate::clock::Timestamp;
use crate::policy::rules::cases::Situation;
use crate::policy::rules::explain::Gaps;
use crate::policy::rules::schema::Schema;
use crate::token::{Argument, Value};

/// Ends a text that was cut for the record.
const CUT: &str = "…";

/// The questions of a recorded decision: one for each thing that the request did. None where no route matched, or nobody was
/// known.
pub fn recorded(decision: &Decision, at: Timestamp, schema: &Schema) -> Vec<Situation> {
    let Some(who) = &decision.who else { return Vec::new() };
    let depth = who.holders.len().saturating_sub(1);
    // What a hop calls its holder, or else that one's key.
    let called = |hop: usize| {
        let name = who.called.get(hop).and_then(Option::as_ref).map(ToString::to_string);
        name.or_else(|| who.holders.get(hop + 1).map(ToString::to_string))
    };
    let delegator = match depth {
        0 => None,
        1 => Some(who.agent.to_string()),
        hops => called(hops - 2),
    };
    let keys = who.holders.iter().map(ToString::to_string);
    let names: Vec<String> = keys.chain(who.called.iter().flatten().map(ToString::to_string)).collect();
    let situation = |what: &What| {
        let action = format!("{}:{}", what.service, what.action);
        let (arguments, mut context) = arguments(schema, &action, what);
        context.extend([vec!["session".into()], vec!["used".into()]]);
        Situation {
            agent: who.agent.clone(),
            user: who.subject.clone(),
            groups: Vec::new(),
            claims: Vec::new(),
            service: what.service.clone(),
            action: what.action.clone(),
            resource: what.resource.clone(),
            arguments,
            method: decision.method.as_str().into(),
            source: decision.client,
            now: at,
            depth,
            delegator: delegator.as_deref().map(Into::into),
            names: names.clone(),
            used: Vec::new(),
            issuing: false,
            gaps: Gaps { context, groups: who.subject.is_some() },
        }
    };
    decision.what.iter().chain(decision.also.iter().map(|also| &also.what)).map(situation).collect()
}

/// The arguments that were recorded whole, and the paths of those that were not.
fn arguments(schema: &Schema, action: &str, what: &What) -> (Vec<Argument>, Vec<Vec<Box<str>>>) {
    let is_cut = |argument: &Argument| match &argument.value {
        Value::String(text) => text.ends_with(CUT),
        // A note may say that some of its values were left out.
        Value::List(_) => !what.notes.is_empty(),
        _ => false,
    };
    let whole: Vec<Argument> = what.arguments.iter().filter(|argument| !is_cut(argument)).cloned().collect();
    let missing =
        schema.arguments(action).map(|(name, _)| name).filter(|name| whole.iter().all(|known| *known.name != **name));
    let paths = missing.map(|name| vec!["arguments".into(), name.into()]).collect();
    (whole, paths)
}
