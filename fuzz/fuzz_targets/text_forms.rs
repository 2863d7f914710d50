//! Any text as a name, an id, a path, a capability, an origin, a pattern: whatever is read is written as it is read again.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use writ::catalog::json::Pointer;
use writ::catalog::pattern::{Pattern, Template};
use writ::catalog::{Origin, Upstream};
use writ::id::{AgentName, ApprovalId, BlockId, Group, OperatorName, ServiceName, Subject};
use writ::key::PublicKey;
use writ::policy::Role;
use writ::revocation::Target;
use writ::token::claims::ClaimName;
use writ::token::{Capability, Decimal, Path};

fn read<T: FromStr + Display>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let Ok(again) = written.parse::<T>() else { panic!("`{written}` is written and not read") };
    assert_eq!(again.to_string(), written);
}

fuzz_target!(|text: &str| {
    read::<AgentName>(text);
    read::<ServiceName>(text);
    read::<OperatorName>(text);
    read::<Subject>(text);
    read::<Group>(text);
    read::<BlockId>(text);
    read::<ApprovalId>(text);
    read::<PublicKey>(text);
    read::<Role>(text);
    read::<Target>(text);
    read::<ClaimName>(text);
    read::<Path>(text);
    read::<Capability>(text);
    read::<Decimal>(text);
    read::<Origin>(text);
    read::<Upstream>(text);
    read::<Pointer>(text);
    read::<Pattern>(text);
    read::<Template>(text);
});
