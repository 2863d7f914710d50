//! What the tests need around the code.

pub(crate) mod authority;
pub(crate) mod postgres;
