//! Writing a block: facts and checks to the bytes that are signed.

use biscuit_auth::builder::{self, Convert as _, Term};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::convert::{token_check_to_proto_check, token_fact_to_proto_fact};
use biscuit_auth::format::schema;
use prost::Message as _;

use crate::clock::Timestamp;
use crate::key::PublicKey;
use crate::token::capability::Capability;
use crate::token::compile::{self, Rule};
use crate::token::container::Container;
use crate::token::limits::Limits;
use crate::token::profile::{FIRST_PARTY_VERSION, THIRD_PARTY_VERSION};
use crate::token::symbols::Symbols;

/// Whose signature a block will carry besides the chain's: decides its symbol table and version.
#[derive(Clone, Copy)]
pub(super) enum Party {
    First,
    Third,
}

/// A block in the making.
pub(super) struct BlockWriter {
    /// Where the block's own symbols begin in the table.
    offset: usize,
    symbols: SymbolTable,
    version: u32,
    facts: Vec<schema::Fact>,
    checks: Vec<schema::Check>,
}

impl BlockWriter {
    /// An authority block.
    pub(super) fn authority() -> Self {
        Self::after_symbols(SymbolTable::new(), FIRST_PARTY_VERSION)
    }

    /// A block to be appended to `container`, whose blocks keep to the profile.
    pub(super) fn after(container: &Container, party: Party) -> Self {
        match party {
            Party::Third => Self::after_symbols(SymbolTable::new(), THIRD_PARTY_VERSION),
            Party::First => Self::after_symbols(shared_symbols(container), FIRST_PARTY_VERSION),
        }
    }

    fn after_symbols(symbols: SymbolTable, version: u32) -> Self {
        Self { offset: symbols.current_offset(), symbols, version, facts: Vec::new(), checks: Vec::new() }
    }

    pub(super) fn fact(&mut self, name: &str, terms: Vec<Term>) {
        let fact = builder::Fact::new(name.to_owned(), terms).convert(&mut self.symbols);
        self.facts.push(token_fact_to_proto_fact(&fact));
    }

    /// Adds the check that `text` is, if the profile allows it.
    pub(super) fn check(&mut self, text: &str, limits: &Limits) -> Result<(), Rule> {
        /// The parser recurses once for each parenthesis.
        const PARENTHESES_MAX: usize = 32;
        if text.len() > limits.string_bytes_max * 4 || text.matches('(').count() > PARENTHESES_MAX {
            return Err("the check is too long");
        }
        // Before it is parsed: the parser reads what stands behind a `!` twice if it does not fit, and so on inside of it.
        if negates(text) {
            return Err("`!` is not allowed in a check: say what must hold");
        }
        let check = builder::Check::try_from(text).map_err(|_| "it does not read as a Datalog `check if …`")?;
        check.validate_parameters().map_err(|_| "a parameter in braces has no value")?;
        let check = token_check_to_proto_check(&check.convert(&mut self.symbols));
        compile::check(&check, 0, &Symbols::new(&self.symbols.strings(), limits.string_bytes_max), limits)?;
        self.checks.push(check);
        Ok(())
    }

    /// Adds the check that one of `capabilities` allows the operation. They split over several queries of one check.
    pub(super) fn check_capabilities(&mut self, capabilities: &[Capability]) {
        let queries = capabilities.iter().map(|capability| {
            let operation = builder::Predicate::new("operation".to_owned(), capability_terms(capability));
            query(operation, Vec::new())
        });
        self.push_check(queries.collect());
    }

    /// Adds the check that it is not later than `until`.
    pub(super) fn check_until(&mut self, until: Timestamp) {
        let time = builder::Predicate::new("time".to_owned(), vec![Term::Variable("time".to_owned())]);
        let not_later = builder::Expression {
            ops: vec![
                builder::Op::Value(Term::Variable("time".to_owned())),
                builder::Op::Value(date(until)),
                builder::Op::Binary(builder::Binary::LessOrEqual),
            ],
        };
        self.push_check(vec![query(time, vec![not_later])]);
    }

    fn push_check(&mut self, queries: Vec<builder::Rule>) {
        let check = builder::Check { queries, kind: builder::CheckKind::One };
        self.checks.push(token_check_to_proto_check(&check.convert(&mut self.symbols)));
    }

    /// The bytes that are signed.
    pub(super) fn finish(mut self) -> Vec<u8> {
        schema::Block {
            symbols: self.symbols.split_at(self.offset).strings(),
            context: None,
            version: Some(self.version),
            facts: self.facts,
            rules: Vec::new(),
            checks: self.checks,
            scope: Vec::new(),
            public_keys: Vec::new(),
        }
        .encode_to_vec()
    }
}

/// The table that all first-party blocks share.
fn shared_symbols(container: &Container) -> SymbolTable {
    let mut shared = SymbolTable::new();
    for block in container.blocks.iter().filter(|block| block.external.is_none()) {
        for symbol in schema::Block::decode(block.payload.as_slice()).unwrap_or_default().symbols {
            shared.insert(&symbol);
        }
    }
    shared
}

/// Whether a `!` stands in a Datalog text outside of its strings.
fn negates(text: &str) -> bool {
    let mut bytes = text.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'!' if !in_string => return true,
            _ => {}
        }
    }
    false
}

fn query(fact: builder::Predicate, expressions: Vec<builder::Expression>) -> builder::Rule {
    let head = builder::Predicate::new("query".to_owned(), Vec::new());
    builder::Rule::new(head, vec![fact], expressions, Vec::new())
}

pub(super) fn capability_terms(capability: &Capability) -> Vec<Term> {
    vec![string(capability.service.as_str()), string(capability.action.as_str()), string(capability.resource.as_str())]
}

pub(super) fn string(text: &str) -> Term {
    Term::Str(text.to_owned())
}

/// A date of whole seconds, rounded towards the past.
pub(super) fn date(time: Timestamp) -> Term {
    Term::Date(u64::try_from(time.secs()).unwrap_or(0))
}

pub(super) fn key(key: &PublicKey) -> Term {
    Term::Bytes(key.as_bytes().to_vec())
}
