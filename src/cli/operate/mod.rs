//! An operator's commands: each is one call of the authority's API, told as a table, a sentence or JSON.

use serde_json::Value;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong, table};
use crate::cli::remote::Remote;
use crate::cli::request::encoded;
use crate::cli::time::{moment, relative};
use crate::clock::Timestamp;

pub(crate) mod agent;
pub(crate) mod approval;
mod asked;
pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod edge;
pub(crate) mod grant;
mod import;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod operator;
pub(crate) mod relying;
pub(crate) mod revoke;
pub(crate) mod scim;
pub(crate) mod service;
mod shown;
pub(crate) mod stop;
pub(crate) mod user;
pub(crate) mod vault;
mod workload;

/// A column of a list: its heading, and what a row says there.
pub(crate) type Column = (&'static str, fn(&Value, Timestamp) -> String);

/// Fetches a list and prints it.
pub(crate) async fn list(context: &Context, remote: &Remote, path: &str, columns: &[Column]) -> Result<(), Failure> {
    let rows: Vec<Value> = remote.fetch(path).await?;
    let now = context.now();
    context.out.result(&rows, || {
        let heading: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
        let cells = |row: &Value| columns.iter().map(|(_, cell)| cell(row, now)).collect();
        table(&heading, &rows.iter().map(cells).collect::<Vec<_>>())
    })
}

/// `path` with the remote's tenant and further parameters.
pub(crate) fn of_tenant(remote: &Remote, path: &str, more: &[(&str, Option<String>)]) -> String {
    let mut pairs = vec![("tenant", remote.tenant().to_string())];
    pairs.extend(more.iter().filter_map(|(name, value)| Some((*name, value.clone()?))));
    format!("{path}?{}", encoded(&pairs))
}

/// A member of a JSON object as a person reads it; empty where it is missing.
pub(crate) fn text(row: &Value, key: &str) -> String {
    match &row[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A member that is a moment in milliseconds.
pub(crate) fn when(row: &Value, key: &str, now: Timestamp) -> String {
    match row[key].as_i64() {
        Some(millis) => {
            let then = Timestamp::from_millis(millis);
            format!("{} ({})", moment(then), relative(then, now))
        }
        None => "never".to_owned(),
    }
}

/// What a receipt says, for a person.
pub(crate) fn receipt_told(receipt: &Value) -> String {
    let mut lines = vec![format!(
        "{} {}: from now on no edge serves it. {} ms after the commit, at most {} ms.",
        good("ended"),
        strong(text(receipt, "target")),
        receipt["elapsed_ms"],
        receipt["bound_ms"]
    )];
    for edge in receipt["edges"].as_array().into_iter().flatten() {
        let how = match edge["how"].as_str() {
            Some("acknowledged") => "knows and has cut what hung on it",
            _ => "was silent until no lease of it could hold",
        };
        lines.push(format!("  edge {} {how}", strong(text(edge, "edge"))));
    }
    lines.join("\n")
}
