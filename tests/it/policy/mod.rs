//! Policies in the running system: at a real edge, and at an authority on both stores.
//!
//! A failure is a call, or a writ, that the set in force does not permit or forbids; or a set that counts though it is invalid.

mod authority;
mod edge;
mod groups;

/// A document with these policies, as JSON text.
fn document(policy: &str) -> String {
    serde_json::json!({ "zone": "UTC", "policy": policy }).to_string()
}
