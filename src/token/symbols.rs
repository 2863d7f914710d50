//! Names and strings of a block, which its terms refer to by number.

use biscuit_auth::datalog::SymbolTable;

use crate::id::is_deceptive;
use crate::token::compile::Rule;

/// What the numbers of one block stand for.
pub(super) struct Symbols<'a> {
    table: &'a SymbolTable,
    pub(super) string_bytes_max: usize,
}

impl<'a> Symbols<'a> {
    pub(super) const fn new(table: &'a SymbolTable, string_bytes_max: usize) -> Self {
        Self { table, string_bytes_max }
    }

    /// A string: bounded, and without characters that deceive on a terminal or a page.
    pub(super) fn text(&self, index: u64) -> Result<&'a str, Rule> {
        let text = self.table.get_symbol(index).ok_or("a symbol is not defined")?;
        if text.len() > self.string_bytes_max {
            return Err("a string or byte string is too long");
        }
        if text.chars().any(is_deceptive) {
            return Err("a string holds control or invisible characters");
        }
        Ok(text)
    }

    /// The name of a fact or a variable: 1 to 64 ASCII letters, digits, `_` or `:`.
    pub(super) fn name(&self, index: u64) -> Result<&'a str, Rule> {
        let text = self.text(index)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
        if text.is_empty() || text.len() > 64 || !plain {
            return Err("a name is not made of ASCII letters, digits, `_` and `:`");
        }
        Ok(text)
    }
}

/// A table of a block's own symbols, defaults included. Refuses a symbol that is defined twice.
pub(super) fn own_table(symbols: &[String]) -> Result<SymbolTable, Rule> {
    let mut sorted: Vec<&String> = symbols.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(TWICE);
    }
    SymbolTable::from(symbols.to_vec()).map_err(|_| TWICE)
}

/// Adds the symbols of the next first-party block: those share one table.
pub(super) fn extend(shared: &mut SymbolTable, own: &SymbolTable) -> Result<(), Rule> {
    shared.extend(own).map_err(|_| TWICE)
}

const TWICE: Rule = "a symbol is defined twice";
