//! The block profile, enforced on parsed blocks before anything is evaluated.
//!
//! Who may state what: the authority block its facts, a hop its own, a narrowing block nothing. Everybody may add checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use biscuit_auth::format::schema;
use prost::Message as _;

use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, Group, Subject};
use crate::key::PublicKey;
use crate::token::capability::Capability;
use crate::token::chain::{Authority, Hop, ProofCovers};
use crate::token::check::{Check, Constant};
use crate::token::claims::{CLAIMS_MAX, Claim, ClaimName, ClaimValue, GROUPS_MAX, PolicyFacts};
use crate::token::compile::{self, DATE_MAX, Rule};
use crate::token::container::{Container, Keys, SignedBlock};
use crate::token::limits::Limits;
use crate::token::symbols::{Symbols, check_table};
use crate::token::verify::TokenError;

/// The version of this profile, stated by the fact `writ(1)`.
pub const VERSION: i64 = 1;
/// The deepest chain an authority block may allow.
pub const DEPTH_MAX: u8 = 15;

/// Datalog 3.0, in which every block we write is read by every implementation.
pub(super) const FIRST_PARTY_VERSION: u32 = 3;
/// Datalog 3.2, which brought third-party blocks.
pub(super) const THIRD_PARTY_VERSION: u32 = 5;
/// Datalog 3.3, the newest that biscuit-auth 6.0.0 reads.
const BLOCK_VERSION_MAX: u32 = 6;

/// What the blocks of a token state.
pub(super) struct Contents {
    pub(super) authority: Arc<Authority>,
    pub(super) hops: Vec<Hop>,
    pub(super) checks: Vec<Arc<Check>>,
}

/// What all blocks state. With `keys` of all of them.
pub(super) fn read(container: &Container, keys: &Keys, limits: &Limits) -> Result<Contents, TokenError> {
    let mut tables = Tables::default();
    // A container has at least its authority block.
    let first = container.blocks.first().ok_or(TokenError::Malformed("no authority block"))?;
    let block = Block::read(0, first, &mut tables, limits)?;
    let authority = Arc::new(block.authority(keys, limits)?);
    let contents = Contents { authority, hops: Vec::new(), checks: shared(block.checks) };
    read_blocks(contents, container, 1, tables, keys, limits)
}

/// What all blocks state, of which the first `from` state `contents`. With `keys` of the others.
pub(super) fn read_on(
    contents: Contents,
    container: &Container,
    from: usize,
    keys: &Keys,
    limits: &Limits,
) -> Result<Contents, TokenError> {
    let mut tables = Tables::default();
    let (before, after) = container.blocks.split_at(from);
    if after.iter().any(|block| block.external.is_none()) {
        tables.take_over(before)?;
    }
    read_blocks(contents, container, from, tables, keys, limits)
}

fn read_blocks(
    mut contents: Contents,
    container: &Container,
    from: usize,
    mut tables: Tables,
    keys: &Keys,
    limits: &Limits,
) -> Result<Contents, TokenError> {
    for (index, signed) in container.blocks.iter().enumerate().skip(from) {
        let block = Block::read(index, signed, &mut tables, limits)?;
        match keys.external(index) {
            Some(signed_by) => {
                contents.hops.push(block.hop(signed_by, contents.authority.not_before, keys, limits)?);
            }
            None if block.facts.is_empty() => {}
            None => return Err(block.breaks("an unsigned block states a fact: only checks are allowed")),
        }
        contents.checks.extend(shared(block.checks));
    }
    Ok(contents)
}

fn shared(checks: Vec<Check>) -> Vec<Arc<Check>> {
    checks.into_iter().map(Arc::new).collect()
}

/// The symbols of the blocks so far.
#[derive(Default)]
struct Tables {
    /// Those that first-party blocks define together.
    first_party: Vec<String>,
    /// Those of the third-party block that is being read.
    own: Vec<String>,
}

impl Tables {
    /// Takes the symbols of the next block in. Returns its table.
    fn of_next(&mut self, symbols: Vec<String>, third_party: bool) -> Result<&[String], Rule> {
        let table = if third_party {
            self.own = symbols;
            &self.own
        } else {
            self.first_party.extend(symbols);
            &self.first_party
        };
        check_table(table)?;
        Ok(table)
    }

    /// Takes the symbols of first-party blocks over that were read before.
    fn take_over(&mut self, blocks: &[SignedBlock]) -> Result<(), TokenError> {
        for block in blocks.iter().filter(|block| block.external.is_none()) {
            self.first_party.extend(decode(&block.payload)?.symbols);
        }
        Ok(())
    }
}

fn decode(payload: &[u8]) -> Result<schema::Block, TokenError> {
    schema::Block::decode(payload).map_err(|_| TokenError::Malformed("a block is not a Biscuit block"))
}

/// One block, its form checked; not yet who may state what.
struct Block {
    index: usize,
    facts: Vec<Fact>,
    checks: Vec<Check>,
}

#[derive(PartialEq, Eq)]
struct Fact {
    name: Box<str>,
    values: Vec<Constant>,
}

impl Block {
    fn read(index: usize, signed: &SignedBlock, tables: &mut Tables, limits: &Limits) -> Result<Self, TokenError> {
        let breaks = |rule| TokenError::Profile { block: index, rule };
        let block = decode(&signed.payload)?;
        if block.encode_to_vec() != signed.payload {
            return Err(TokenError::Malformed("a block is not in canonical encoding"));
        }
        check_form(&block, signed.external.is_some(), limits).map_err(breaks)?;
        if block.facts.len() > limits.facts_max {
            return Err(TokenError::TooLarge("facts"));
        }
        if block.checks.len() > limits.checks_max {
            return Err(TokenError::TooLarge("checks"));
        }
        let table = tables.of_next(block.symbols, signed.external.is_some()).map_err(breaks)?;
        let symbols = Symbols::new(table, limits.string_bytes_max);
        let facts = block.facts.iter().map(|fact| read_fact(fact, &symbols)).collect::<Result<Vec<_>, _>>();
        let checks = block.checks.iter().map(|check| compile::check(check, index, &symbols, limits));
        let checks = checks.collect::<Result<Vec<_>, _>>();
        Ok(Self { index, facts: facts.map_err(breaks)?, checks: checks.map_err(breaks)? })
    }

    fn breaks(&self, rule: Rule) -> TokenError {
        TokenError::Profile { block: self.index, rule }
    }
}

/// What holds for every block, whoever signed it.
fn check_form(block: &schema::Block, third_party: bool, limits: &Limits) -> Result<(), Rule> {
    let min = if third_party { THIRD_PARTY_VERSION } else { FIRST_PARTY_VERSION };
    if !(min..=BLOCK_VERSION_MAX).contains(&block.version.unwrap_or(0)) {
        return Err("the block version is not one that the profile knows");
    }
    if !block.rules.is_empty() {
        return Err("rules are not allowed");
    }
    if !block.scope.is_empty() || !block.public_keys.is_empty() {
        return Err("`trusting` is not allowed");
    }
    if block.context.as_ref().is_some_and(|context| context.len() > limits.string_bytes_max) {
        return Err("a string or byte string is too long");
    }
    Ok(())
}

fn read_fact(fact: &schema::Fact, symbols: &Symbols<'_>) -> Result<Fact, Rule> {
    const TERMS_MAX: usize = 4;
    if fact.predicate.terms.len() > TERMS_MAX {
        return Err("a fact has too many terms");
    }
    let values = fact.predicate.terms.iter().map(|term| compile::constant(term, symbols)).collect::<Result<_, _>>()?;
    Ok(Fact { name: symbols.name(fact.predicate.name)?.into(), values })
}

const AUTHORITY_FACTS: [&str; 20] = [
    "writ",
    "issuer",
    "audience",
    "tenant",
    "subject",
    "session",
    "agent",
    "cnf",
    "capability",
    "grant",
    "id",
    "nbf",
    "exp",
    "max_depth",
    "epoch",
    "proof_covers",
    "policy",
    "group",
    "claim",
    "claims",
];
const HOP_FACTS: [&str; 5] = ["cnf", "id", "exp", "nbf", "agent"];

impl Block {
    fn authority(&self, keys: &Keys, limits: &Limits) -> Result<Authority, TokenError> {
        if self.facts.iter().any(|fact| !AUTHORITY_FACTS.contains(&&*fact.name)) {
            return Err(self.breaks("the authority block states a fact that the profile does not know"));
        }
        if self.count("capability") > limits.capabilities_max {
            return Err(TokenError::TooLarge("capabilities"));
        }
        self.authority_facts(keys).map_err(|rule| self.breaks(rule))
    }

    fn authority_facts(&self, keys: &Keys) -> Result<Authority, Rule> {
        self.no_fact_twice()?;
        if self.one("writ", integer, "`writ` stands once, an integer")? != VERSION {
            return Err("`writ` names a version of the profile that is not 1");
        }
        let authority = Authority {
            issuer: self.one("issuer", string, "`issuer` stands once, a string")?.into(),
            audience: self.one("audience", parsed, "`audience` stands once, an audience name")?,
            tenant: self.one("tenant", parsed, "`tenant` stands once, a tenant name")?,
            subject: self.at_most_one("subject", parsed::<Subject>, "`subject` stands at most once, a subject")?,
            session: self.at_most_one("session", parsed::<Subject>, "`session` stands at most once, a subject")?,
            agent: self.one("agent", parsed, "`agent` stands once, an agent name")?,
            holder: self.at_most_one(
                "cnf",
                key(keys),
                "`cnf` stands at most once, an Ed25519 public key of 32 bytes",
            )?,
            capabilities: self.all(
                "capability",
                capability,
                "`capability` is a service name, an action and a resource",
            )?,
            grants: self.all("grant", |values| id(values).map(GrantId::from_bytes), "`grant` is 16 bytes")?,
            id: self.one("id", |values| id(values).map(BlockId::from_bytes), "`id` stands once, 16 bytes")?,
            not_before: self.one("nbf", date, "`nbf` stands once, a date before the year 10000")?,
            expires: self.one("exp", nonzero_date, "`exp` stands once, a date after 1970 and before the year 10000")?,
            depth_max: self.one("max_depth", depth, "`max_depth` stands once, an integer from 0 to 15")?,
            epoch: self.one("epoch", epoch, "`epoch` stands once, an integer of at least 0")?,
            proof_covers: self.proof_covers()?,
            policy: PolicyFacts {
                version: self
                    .at_most_one("policy", version, "`policy` stands at most once, an integer above 0")?
                    .unwrap_or(0),
                groups: self.groups()?,
                claims: self.claims()?,
            },
        };
        if authority.issuer.is_empty() {
            return Err("`issuer` is empty");
        }
        if authority.subject.is_none() && !(authority.policy.groups.is_empty() && authority.policy.claims.is_empty()) {
            return Err("`group` and `claim` are about a user, and there is no `subject`");
        }
        if authority.not_before > authority.expires {
            return Err("`nbf` lies after `exp`");
        }
        Ok(authority)
    }

    fn proof_covers(&self) -> Result<ProofCovers, Rule> {
        const RULE: Rule = "`proof_covers` is \"query\" or \"body\"";
        let mut covers = ProofCovers::default();
        for what in self.all("proof_covers", string, RULE)? {
            match what {
                "query" => covers.query = true,
                "body" => covers.body = true,
                _ => return Err(RULE),
            }
        }
        Ok(covers)
    }

    fn groups(&self) -> Result<Vec<Group>, Rule> {
        let groups = self.all("group", parsed::<Group>, "`group` is a group's name")?;
        if groups.len() > GROUPS_MAX { Err("there are more than 16 groups") } else { Ok(groups) }
    }

    /// In the order of their names: the texts of a list are facts of their own.
    fn claims(&self) -> Result<Vec<Claim>, Rule> {
        let mut claims = BTreeMap::new();
        let one = self.all("claim", claim, "`claim` is a name and an integer, boolean or string")?;
        for (name, value) in one {
            if claims.insert(name, value).is_some() {
                return Err("a claim has two values");
            }
        }
        let mut lists: BTreeMap<ClaimName, Vec<Box<str>>> = BTreeMap::new();
        for (name, text) in self.all("claims", claim_text, "`claims` is a name and a string")? {
            lists.entry(name).or_default().push(text);
        }
        for (name, texts) in lists {
            if claims.insert(name, ClaimValue::strings(texts)).is_some() {
                return Err("a claim has two values");
            }
        }
        if claims.values().map(ClaimValue::facts).sum::<usize>() > CLAIMS_MAX {
            return Err("there are more than 16 claims");
        }
        Ok(claims.into_iter().map(|(name, value)| Claim { name, value }).collect())
    }

    fn hop(
        &self,
        signed_by: PublicKey,
        authority_not_before: Timestamp,
        keys: &Keys,
        limits: &Limits,
    ) -> Result<Hop, TokenError> {
        if self.facts.iter().any(|fact| !HOP_FACTS.contains(&&*fact.name)) {
            return Err(TokenError::Overreach { block: self.index });
        }
        let hop = self.hop_facts(signed_by, keys).map_err(|rule| self.breaks(rule))?;
        let ahead_s = |not_before: Timestamp| not_before.secs().saturating_sub(authority_not_before.secs());
        if hop.not_before.map_or(0, ahead_s) > limits.not_before_ahead_s_max {
            return Err(self.breaks("`nbf` of a hop lies too far after that of the authority block"));
        }
        Ok(hop)
    }

    fn hop_facts(&self, signed_by: PublicKey, keys: &Keys) -> Result<Hop, Rule> {
        self.no_fact_twice()?;
        let holder = self.one("cnf", key(keys), "`cnf` of a hop stands once, an Ed25519 public key of 32 bytes")?;
        let nonce =
            self.one("id", |values| id(values).map(BlockId::from_bytes), "`id` of a hop stands once, 16 bytes")?;
        Ok(Hop {
            block: self.index,
            signed_by,
            holder,
            id: Hop::id_of(&signed_by, nonce, &holder),
            expires: self.one(
                "exp",
                nonzero_date,
                "`exp` of a hop stands once, a date after 1970 and before the year 10000",
            )?,
            not_before: self.at_most_one(
                "nbf",
                date,
                "`nbf` of a hop stands at most once, a date before the year 10000",
            )?,
            agent: self.at_most_one(
                "agent",
                parsed::<AgentName>,
                "`agent` of a hop stands at most once, an agent name",
            )?,
        })
    }

    fn no_fact_twice(&self) -> Result<(), Rule> {
        let twice = self.facts.iter().enumerate().any(|(i, fact)| self.facts[..i].contains(fact));
        if twice { Err("a fact stands twice") } else { Ok(()) }
    }

    fn count(&self, name: &str) -> usize {
        self.facts.iter().filter(|fact| &*fact.name == name).count()
    }

    fn all<'a, T>(
        &'a self,
        name: &str,
        read: impl Fn(&'a [Constant]) -> Option<T>,
        rule: Rule,
    ) -> Result<Vec<T>, Rule> {
        let named = self.facts.iter().filter(|fact| &*fact.name == name);
        named.map(|fact| read(&fact.values).ok_or(rule)).collect()
    }

    fn at_most_one<'a, T>(
        &'a self,
        name: &str,
        read: impl Fn(&'a [Constant]) -> Option<T>,
        rule: Rule,
    ) -> Result<Option<T>, Rule> {
        if self.count(name) > 1 {
            return Err(rule);
        }
        Ok(self.all(name, read, rule)?.pop())
    }

    fn one<'a, T>(&'a self, name: &str, read: impl Fn(&'a [Constant]) -> Option<T>, rule: Rule) -> Result<T, Rule> {
        self.at_most_one(name, read, rule)?.ok_or(rule)
    }
}

fn integer(values: &[Constant]) -> Option<i64> {
    if let [Constant::Integer(value)] = values { Some(*value) } else { None }
}

fn string(values: &[Constant]) -> Option<&str> {
    if let [Constant::String(text)] = values { Some(text) } else { None }
}

fn parsed<T: std::str::FromStr>(values: &[Constant]) -> Option<T> {
    string(values)?.parse().ok()
}

fn bytes(values: &[Constant]) -> Option<&[u8]> {
    if let [Constant::Bytes(bytes)] = values { Some(bytes) } else { None }
}

fn id(values: &[Constant]) -> Option<[u8; 16]> {
    bytes(values)?.try_into().ok()
}

/// A holder's key: most likely who signs the next hop.
fn key(keys: &Keys) -> impl Fn(&[Constant]) -> Option<PublicKey> {
    |values| PublicKey::of_bytes(bytes(values)?, keys.externals()).ok()
}

fn date(values: &[Constant]) -> Option<Timestamp> {
    match values {
        [Constant::Date(secs)] if *secs <= DATE_MAX => i64::try_from(*secs).ok().map(Timestamp::from_secs),
        _ => None,
    }
}

fn nonzero_date(values: &[Constant]) -> Option<Timestamp> {
    date(values).filter(|time| time.secs() > 0)
}

fn depth(values: &[Constant]) -> Option<u8> {
    u8::try_from(integer(values)?).ok().filter(|depth| *depth <= DEPTH_MAX)
}

fn epoch(values: &[Constant]) -> Option<u64> {
    u64::try_from(integer(values)?).ok()
}

fn capability(values: &[Constant]) -> Option<Capability> {
    let [Constant::String(service), Constant::String(action), Constant::String(resource)] = values else {
        return None;
    };
    Some(Capability { service: service.parse().ok()?, action: action.parse().ok()?, resource: resource.parse().ok()? })
}

fn version(values: &[Constant]) -> Option<u64> {
    epoch(values).filter(|version| *version > 0)
}

fn claim(values: &[Constant]) -> Option<(ClaimName, ClaimValue)> {
    let [Constant::String(name), value] = values else { return None };
    let value = match value {
        Constant::Boolean(value) => ClaimValue::Boolean(*value),
        Constant::Integer(value) => ClaimValue::Integer(*value),
        Constant::String(text) if ClaimValue::is_text(text) => ClaimValue::String(text.clone()),
        Constant::String(_) | Constant::Date(_) | Constant::Bytes(_) => return None,
    };
    Some((name.parse().ok()?, value))
}

fn claim_text(values: &[Constant]) -> Option<(ClaimName, Box<str>)> {
    match claim(values)? {
        (name, ClaimValue::String(text)) => Some((name, text)),
        _ => None,
    }
}
