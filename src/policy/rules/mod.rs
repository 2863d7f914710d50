//! Policies that people write, in Cedar: what they may name, and what is wrong with them.

pub mod check;
mod expression;
mod names;
pub mod nearest;
pub mod schema;

pub use check::{Finding, Severity};
pub use schema::{Facts, InvalidSchema, Schema, Type};

#[cfg(test)]
mod tests;
