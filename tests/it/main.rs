//! Everything that is tested from outside, in one binary: each module is one subject.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod allocations;
mod approval;
mod attacks;
mod attenuation;
mod authoring;
mod authority;
mod biscuit;
mod canaries;
mod checks;
mod cli;
mod delegation;
mod dial;
mod edge;
mod failover;
mod follow;
mod forgery;
mod identity;
mod import;
mod journal;
mod layers;
mod limits;
mod model;
mod policy;
mod prefixes;
mod proofs;
mod revocation;
mod saml;
mod scim;
mod shed;
mod store;
mod support;
mod tokens;
mod tour;
mod vectors;
mod world;
