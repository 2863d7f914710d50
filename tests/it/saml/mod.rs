//! SAML assertions: which identify a user and which do not, what they are exchanged for, and how such a user's writs end.
//!
//! Most are made here, by a signer that knows nothing of ours and signs whatever it is given; the rest by pysaml2 (with xmlsec1)
//! and samlp. A failure is an assertion that says what its provider did not sign, or a refusal that does not say what to change.

mod canonical;
mod changed;
mod exchange;
mod form;
mod mint;
mod random;
mod real;
mod said;
mod signed;
mod terms;
mod wrapping;
