//! Everything that is tested from outside, in one binary: each module is one subject.

mod biscuit;
mod delegation;
mod layers;
mod revocation;
mod tokens;
