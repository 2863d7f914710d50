//! writ: a capability-token authority and credential broker for AI agents.
//!
//! The path of a request, each arrow the only constructor of the next type:
//! `RawToken -verify-> Chain -current-> VerifiedToken -hold-> HeldToken -admit-> LiveToken -authorize-> Permit -clear->
//! Cleared -inject-> upstream`.
//!
//! | room | what it knows | what it never does |
//! | --- | --- | --- |
//! | [`clock`], [`id`], [`key`], [`secret`], [`small`] | time, names, keys, secrets, short texts and lists | depend on another room |
//! | [`token`] | mint, delegate, verify, prove possession | I/O; decide about a request |
//! | [`revocation`] | what is revoked, and how fresh that must be | take an entry back |
//! | [`policy`] | what may be issued, what may be done | allow by default |
//! | [`catalog`] | how an HTTP request becomes an operation | guess: what is unclear is refused |
//! | [`vault`] | sealing secrets, applying them to a request | show a secret |
//! | [`audit`] | what happened, in hash chains | hold a token or a secret |
//! | `config` | settings files, checked | read the environment |
//! | [`wire`] | every message between an edge and its authority | talk to anybody |
//! | `dial` | outgoing connections: which address, which certificate | send a secret to an unchecked peer |
//! | `listen` | incoming connections: places, and who is taken for gone | read a request |
//! | `edge` | admit, inject, forward, follow the revocation feed | reach a store; serve without a lease |
//! | `store` | durable state: SQLite, Postgres | decide |
//! | `identity` | what a provider says of a user | believe a token by another issuer's keys |
//! | `authority` | what is issued, lent, revoked: use cases and their HTTP | trust an edge's word |
//! | `telemetry` | what a process says about itself | log a token or a secret |
//! | `cli` | arguments, environment, terminal | hold a rule of its own |

pub mod audit;
#[cfg(feature = "server")]
pub mod authority;
pub mod catalog;
#[cfg(feature = "server")]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "server")]
pub mod dial;
#[cfg(feature = "server")]
pub mod edge;
pub mod id;
#[cfg(feature = "server")]
pub mod identity;
pub mod key;
#[cfg(feature = "server")]
mod listen;
pub mod policy;
pub mod revocation;
pub mod secret;
pub mod small;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod token;
pub mod vault;
pub mod wire;
