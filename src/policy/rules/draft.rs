//! What a language model is asked for a draft of policies, and how its answer is read: as the word of a stranger.

use serde_json::{Value, json};

use crate::id::is_deceptive;
use crate::policy::rules::schema::{Schema, Type};

/// The longest description of what is wanted, in bytes.
pub const WANTED_BYTES_MAX: usize = 4096;
/// The longest draft in bytes.
pub const DRAFT_BYTES_MAX: usize = 32 << 10;
/// The most actions that are told.
const ACTIONS_MAX: usize = 400;

/// An answer that holds no draft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDraft {
    /// Not the form of a chat completion.
    #[error("the endpoint did not answer as a chat completions API does")]
    Form,
    /// No policy text in it.
    #[error("the answer holds no block of Cedar")]
    Empty,
    /// Longer than [`DRAFT_BYTES_MAX`].
    #[error("the answer is longer than {DRAFT_BYTES_MAX} bytes")]
    TooLong,
    /// Characters that could make a reader see another text.
    #[error("the answer holds characters that could deceive a reader")]
    Deceptive,
}

/// The request to a chat completions API.
pub fn asked(model: &str, wanted: &str, schema: &Schema) -> Value {
    let actions: Vec<String> = schema
        .actions()
        .take(ACTIONS_MAX)
        .map(|action| {
            let arguments: Vec<String> =
                schema.arguments(action).map(|(name, kind)| format!("{name}: {}", kind_name(kind))).collect();
            format!("{action} ({})", arguments.join(", "))
        })
        .collect();
    let rules = "You write authorization policies in Cedar for AI agents. Answer with one ```cedar block and nothing else. \
        Every policy begins with @id(\"short-name\"). Principals: Agent::\"name\" (an agent acting for itself), or \
        AgentForUser in Agent, User and Group: write `principal in Agent::\"name\"`, `principal in Group::\"name\"`. \
        Actions are Action::\"service:path\" and groups of them are every path above (Action::\"service:/\" is all of a \
        service), and Action::\"reads\", Action::\"writes\", Action::\"deletes\". Resources: Resource::\"service:path\". \
        context.local has hour, minute, weekday (1 is Monday); context.arguments has an action's arguments, each of which may \
        be absent, so test with `context.arguments has x &&` first. @approval(\"group\") on a permit asks a person. Everything \
        that no permit allows is denied: permit as little as fits. Never write a permit for all actions.";
    json!({
        "model": model,
        "temperature": 0,
        "max_tokens": 2000,
        "messages": [
            { "role": "system", "content": format!("{rules}\n\nThe actions and their arguments:\n{}", actions.join("\n")) },
            { "role": "user", "content": wanted },
        ],
    })
}

fn kind_name(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "boolean",
        Type::Integer => "integer",
        Type::Decimal => "decimal",
        Type::Time => "datetime",
        Type::Text => "string",
        Type::Set(_) => "set",
    }
}

/// The Cedar text of an answer. Whether it is any good is for [`check`](super::check) to say.
pub fn answered(body: &[u8]) -> Result<String, NoDraft> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| NoDraft::Form)?;
    let content = answer["choices"][0]["message"]["content"].as_str().ok_or(NoDraft::Form)?;
    let text = match content.split_once("```") {
        // The fence's first line may name the language.
        Some((_, fenced)) => {
            let (inside, _) = fenced.split_once("```").ok_or(NoDraft::Empty)?;
            inside.strip_prefix("cedar").unwrap_or(inside)
        }
        None => content,
    };
    let text = text.trim();
    if text.len() > DRAFT_BYTES_MAX {
        return Err(NoDraft::TooLong);
    }
    if text.is_empty() {
        return Err(NoDraft::Empty);
    }
    if text.chars().any(|c| is_deceptive(c) && !matches!(c, '\n' | '\t' | '\r')) {
        return Err(NoDraft::Deceptive);
    }
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(content: &str) -> Vec<u8> {
        json!({ "choices": [{ "message": { "content": content } }] }).to_string().into_bytes()
    }

    #[test]
    fn an_answer_is_its_block_of_cedar() {
        for content in ["```cedar\npermit;\n```", "Here:\n```\npermit;\n```\nand more", "permit;"] {
            assert_eq!(answered(&body(content)).unwrap(), "permit;\n");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        assert_eq!(answered(b"nonsense"), Err(NoDraft::Form));
        assert_eq!(answered(br#"{"choices":[]}"#), Err(NoDraft::Form));
        assert_eq!(answered(&body("```cedar\npermit")), Err(NoDraft::Empty));
        assert_eq!(answered(&body(" ")), Err(NoDraft::Empty));
        assert_eq!(answered(&body("permit\u{202e};")), Err(NoDraft::Deceptive));
        assert_eq!(answered(&body("permit\u{1b}[2J;")), Err(NoDraft::Deceptive));
        assert_eq!(answered(&body(&"a".repeat(DRAFT_BYTES_MAX + 1))), Err(NoDraft::TooLong));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), content: String) {
            let _ = answered(&bytes);
            let _ = answered(&body(&content));
        }
    }
}
