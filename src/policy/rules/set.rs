//! A tenant's policy set: from its document to policies that are known to be whole, named and within bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr as _;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy as Cedar, PolicyId};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::id::{Group, PolicyName, is_deceptive};
use crate::policy::Grant;
use crate::policy::limit::Limits;

/// A policy set as it is written, stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The time zone of `context.local`, by its IANA name.
    #[serde(default = "utc")]
    pub zone: Box<str>,
    /// The policies, as Cedar text.
    pub policy: Box<str>,
    /// The limits: all that the tenant has. A set without any reads as it did before there were some in sets.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limit: Limits,
}

fn utc() -> Box<str> {
    "UTC".into()
}

impl Document {
    /// The longest text of policies in bytes.
    pub const POLICY_BYTES_MAX: usize = 256 << 10;

    /// The set of a tenant that never stored one: what a writ allows is allowed.
    pub fn grants_decide() -> Self {
        Self {
            zone: utc(),
            policy: "@id(\"grants-decide\")\npermit(principal, action, resource);\n".into(),
            limit: Limits::default(),
        }
    }
}

/// A checked set. Whether its names exist is for the schema to say.
#[derive(Clone, Debug)]
pub struct PolicySet {
    document: Document,
    zone: TimeZone,
    policies: Vec<Policy>,
    groups: BTreeMap<Group, GroupUse>,
}

/// What a set asks of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupUse {
    /// Only permits name it: a user who joins it may more.
    Permits,
    /// A forbid names it: a user who joins it may less.
    Forbids,
}

/// One policy of a set.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its `@id`, unique in the set.
    pub name: PolicyName,
    /// In which line of the text it begins, from 1.
    pub line: usize,
    /// Whether it counts.
    pub standing: Standing,
    /// Whose approval it asks for: on a permit only.
    pub approval: Option<Box<str>>,
    /// The longest life of a writ issued by it, in seconds: on a permit only.
    pub ttl_s: Option<u32>,
    /// What Cedar made of it; its id is the name.
    pub cedar: Cedar,
}

/// Whether a policy counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Enforced,
    /// It is evaluated and recorded only, for this reason.
    Shadow(Box<str>),
}

/// Why a text is no policy set: what to change, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSet {
    /// The policy's `@id`, if it has one.
    pub policy: Option<Box<str>>,
    /// The line of the policy text, from 1.
    pub line: Option<usize>,
    /// What is wrong, in one sentence.
    pub message: Box<str>,
}

impl std::error::Error for InvalidSet {}

impl fmt::Display for InvalidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.policy, self.line) {
            (Some(policy), Some(line)) => write!(f, "policy `{policy}` (line {line}): {}", self.message),
            (Some(policy), None) => write!(f, "policy `{policy}`: {}", self.message),
            (None, Some(line)) => write!(f, "line {line} of the policy text: {}", self.message),
            (None, None) => f.write_str(&self.message),
        }
    }
}

impl InvalidSet {
    /// About the set as a whole.
    pub fn whole(message: impl Into<Box<str>>) -> Self {
        Self { policy: None, line: None, message: message.into() }
    }

    fn at(line: usize, message: impl Into<Box<str>>) -> Self {
        Self { policy: None, line: Some(line), message: message.into() }
    }
}

impl Policy {
    /// The longest text of one policy in bytes.
    pub const BYTES_MAX: usize = 8 << 10;
    /// How deep brackets may stand in one another.
    pub const NESTING_MAX: usize = 32;
    /// The most signs of operators, and words `if`: `a.b && c` has three.
    pub const SIGNS_MAX: usize = 80;
    /// The longest `@approval` or `@shadow` in bytes.
    pub const NOTE_BYTES_MAX: usize = 256;

    /// An error about this policy.
    pub fn invalid(&self, message: impl Into<Box<str>>) -> InvalidSet {
        InvalidSet { policy: Some(self.name.as_str().into()), line: Some(self.line), message: message.into() }
    }

    /// Whether it counts.
    pub fn is_enforced(&self) -> bool {
        self.standing == Standing::Enforced
    }

    fn read(line: usize, text: &str) -> Result<Self, InvalidSet> {
        let cedar = Cedar::parse(None, text).map_err(|errors| not_cedar(line, text, &errors))?;
        let Some(id) = cedar.annotation("id") else {
            return Err(InvalidSet::at(line, "the policy has no name: write `@id(\"…\")` before it"));
        };
        let name: PolicyName =
            id.parse().map_err(|error: crate::id::InvalidName| InvalidSet::at(line, error.to_string()))?;
        let mut policy = Self {
            line,
            standing: Standing::Enforced,
            approval: None,
            ttl_s: None,
            cedar: cedar.new_id(PolicyId::new(name.as_str())),
            name,
        };
        for (key, value) in cedar.annotations() {
            policy.annotate(key, value)?;
        }
        Ok(policy)
    }

    fn annotate(&mut self, key: &str, value: &str) -> Result<(), InvalidSet> {
        let permits = self.cedar.effect() == Effect::Permit;
        match key {
            "id" | "description" => {}
            "shadow" => self.standing = Standing::Shadow(self.note(key, value)?),
            "approval" if permits && !value.is_empty() => self.approval = Some(self.note(key, value)?),
            "approval" => return Err(self.invalid("`@approval(\"…\")` stands on a `permit` and names who approves")),
            "ttl_s" => {
                let ttl_s = value.parse().ok().filter(|ttl_s| (1..=Grant::TTL_S_MAX).contains(ttl_s) && permits);
                let rule = "`@ttl_s(\"…\")` stands on a `permit` and is 1 to 86400 seconds";
                self.ttl_s = Some(ttl_s.ok_or_else(|| self.invalid(rule))?);
            }
            other => {
                return Err(self.invalid(format!(
                    "`@{}` is no annotation that counts here: there are `@id`, `@description`, `@approval`, `@shadow` and \
                     `@ttl_s`",
                    crate::id::shown(other)
                )));
            }
        }
        Ok(())
    }

    fn note(&self, key: &str, value: &str) -> Result<Box<str>, InvalidSet> {
        if value.len() > Self::NOTE_BYTES_MAX || value.chars().any(is_deceptive) {
            return Err(self.invalid(format!("`@{key}` is longer than 256 bytes or holds a control character")));
        }
        Ok(value.into())
    }
}

impl PolicySet {
    /// The most policies of a set.
    pub const POLICIES_MAX: usize = 1000;

    /// Reads a document.
    pub fn parse(document: Document) -> Result<Self, InvalidSet> {
        if document.policy.len() > Document::POLICY_BYTES_MAX {
            return Err(InvalidSet::whole("the policies are longer than 256 KiB"));
        }
        let zone = zone(&document.zone)?;
        let mut policies = Vec::new();
        let mut names = BTreeSet::new();
        for (line, text) in statements(&document.policy)? {
            if policies.len() == Self::POLICIES_MAX {
                return Err(InvalidSet::at(line, "a set has at most 1000 policies"));
            }
            let policy = Policy::read(line, text)?;
            if !names.insert(policy.name.clone()) {
                return Err(policy.invalid("another policy has the same `@id`"));
            }
            policies.push(policy);
        }
        let groups = groups(&policies)?;
        Ok(Self { document, zone, policies, groups })
    }

    /// The set of a tenant that never stored one.
    pub fn grants_decide() -> Self {
        // Expect safety: the text is constant, and a test reads it.
        Self::parse(Document::grants_decide()).expect("the built-in set is one")
    }

    /// What it was read from.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The zone of `context.local`.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The policies, in the order of the text.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The groups that policies name: a writ for a user carries those of them that the user is in.
    pub const fn groups(&self) -> &BTreeMap<Group, GroupUse> {
        &self.groups
    }
}

fn zone(name: &str) -> Result<TimeZone, InvalidSet> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let name = crate::id::shown(name);
        InvalidSet::whole(format!("`zone` names no time zone: `{name}` should be an IANA name such as `Europe/Berlin`"))
    })
}

/// The groups that scopes and conditions name.
fn groups(policies: &[Policy]) -> Result<BTreeMap<Group, GroupUse>, InvalidSet> {
    let mut groups = BTreeMap::new();
    for policy in policies {
        let used = match policy.cedar.effect() {
            Effect::Permit => GroupUse::Permits,
            Effect::Forbid => GroupUse::Forbids,
        };
        for named in policy.cedar.entity_literals() {
            if named.type_name().basename() != "Group" {
                continue;
            }
            let group = Group::from_str(named.id().unescaped()).map_err(|error| policy.invalid(error.to_string()))?;
            let known = groups.entry(group).or_insert(used);
            *known = (*known).max(used);
        }
    }
    Ok(groups)
}

fn not_cedar(line: usize, text: &str, errors: &cedar_policy::ParseErrors) -> InvalidSet {
    let error = errors.iter().next().map(DetailedError::from);
    let Some(error) = error else { return InvalidSet::at(line, "this is not a Cedar policy") };
    let within = error
        .source_locations
        .first()
        .map_or(0, |label| text.as_bytes().iter().take(label.loc.start).filter(|byte| **byte == b'\n').count());
    let help = error.help.map(|help| format!(" ({help})")).unwrap_or_default();
    InvalidSet::at(line + within, format!("{}{help}", error.message))
}

/// Each policy's text with the line it begins in. Bounds what Cedar is given: its reader and its evaluator recurse.
fn statements(text: &str) -> Result<Vec<(usize, &str)>, InvalidSet> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line, mut depth, mut signs) = (0, 1, 0_usize, 0_usize);
    // Where the policy begins, if anything of one was seen.
    let mut begun: Option<(usize, usize)> = None;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => line += 1,
            b' ' | b'\t' | b'\r' => {}
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while bytes.get(at + 1).is_some_and(|next| *next != b'\n') {
                    at += 1;
                }
            }
            _ => {
                let (start, first) = *begun.get_or_insert((at, line));
                match byte {
                    b'"' => line += string(bytes, &mut at),
                    b'(' | b'[' | b'{' => (depth, signs) = (depth + 1, signs + 1),
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    b'&' | b'|' | b'!' | b'+' | b'-' | b'*' | b'.' => signs += 1,
                    b'i' if bytes.get(at + 1) == Some(&b'f') => signs += 1,
                    _ => {}
                }
                if signs > Policy::SIGNS_MAX {
                    return Err(InvalidSet::at(first, "a policy has more than 80 operators and brackets: split it"));
                }
                if depth > Policy::NESTING_MAX {
                    return Err(InvalidSet::at(line, "brackets stand more than 32 deep in one another"));
                }
                if at - start > Policy::BYTES_MAX {
                    return Err(InvalidSet::at(first, "a policy is longer than 8 KiB: split it"));
                }
                if *byte == b';' {
                    found.push((first, &text[start..=at]));
                    (begun, depth, signs) = (None, 0, 0);
                }
            }
        }
        at += 1;
    }
    match begun {
        Some((_, first)) => Err(InvalidSet::at(first, "the policy that begins here does not end with `;`")),
        None => Ok(found),
    }
}

/// Moves `at` from the opening to the closing quote; answers how many lines ended in between.
fn string(bytes: &[u8], at: &mut usize) -> usize {
    let mut lines = 0;
    loop {
        *at += 1;
        match bytes.get(*at) {
            Some(b'\\') => *at += 1,
            Some(b'\n') => lines += 1,
            Some(b'"') | None => return lines,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
