//! The checks of a token: the few forms of Datalog that the profile allows, evaluated without an engine.

use crate::clock::Timestamp;
use crate::token::operation::Operation;

/// A `check if` of one block: passes when any of its queries matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The block it stands in, 0 for the authority block.
    pub block: usize,
    /// Its Datalog text, for denials and people.
    pub source: Box<str>,
}

impl Check {
    /// Whether the check passes for `operation` at `now`. A missing fact or a value of another type fails it.
    pub fn passes(&self, operation: &Operation, now: Timestamp) -> bool {
        let _ = (operation, now);
        todo!()
    }
}
