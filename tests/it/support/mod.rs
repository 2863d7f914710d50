//! What the tests need around the code.

pub(crate) mod postgres;
