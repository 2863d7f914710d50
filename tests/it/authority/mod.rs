//! The authority over real sockets, on every back end.
//!
//! What counts as failure: an answer that is not the one documented, a change that an error left behind, a receipt before
//! every edge has it.

mod agents;
mod edges;
mod explain;
mod faults;
mod injections;
mod installation;
mod listener;
mod oauth;
mod replicas;
mod revocations;
pub(crate) mod routes;
mod stops;
mod tokens;
mod witness;
