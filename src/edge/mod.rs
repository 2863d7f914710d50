//! The edge.

pub mod journal;
