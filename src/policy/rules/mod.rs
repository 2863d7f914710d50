//! Policies in Cedar: what a tenant allows beyond what its writs say.
//!
//! `Document -parse-> PolicySet -compile-> Rules`, and [`Rules`] decide about a [`Question`]. What a set may name, and what is
//! wrong with one, says its [`Schema`]. Nothing here stores or sends.

pub mod book;
pub mod cases;
pub mod check;
pub mod cover;
pub mod draft;
pub mod engine;
pub mod explain;
mod expression;
mod memo;
mod names;
pub mod nearest;
pub mod needs;
pub mod question;
pub mod replay;
pub mod schema;
pub mod scope;
mod seen;
pub mod set;
pub mod template;

pub use book::{Offered, RuleBook};
pub use check::{Finding, Severity};
pub use engine::{Answer, Rules, Verdict};
pub use question::{Call, Moment, Question, Who};
pub use schema::{Facts, InvalidSchema, Schema, Type};
pub use set::{Document, InvalidSet, Policy, PolicySet};

#[cfg(test)]
mod tests;
