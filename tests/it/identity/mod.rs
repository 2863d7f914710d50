//! Identity providers: whose tokens count, what they are exchanged for, and how a user's writs end.
//!
//! Tokens are made by an independent library (joserfc), and a provider is either a double that can misbehave or somebody else's
//! server. A failure is a token that counts and should not, or a refusal that does not say what to change.

mod events;
pub(crate) mod exchange;
mod glewlwyd;
mod id_jag;
pub(crate) mod jose;
mod keys;
mod logout;
mod mine;
pub(crate) mod provider;
pub(crate) mod race;
pub(crate) mod real;
mod sign_in;
mod signing_in;
mod tokens;
mod workload;
mod workload_real;
