//! Names and strings of a block, which its terms refer to by number.

use crate::id::is_deceptive;
use crate::token::compile::Rule;

/// Biscuit's default symbols, in the order of their numbers.
const DEFAULTS: [&str; 28] = [
    "read",
    "write",
    "resource",
    "operation",
    "right",
    "time",
    "role",
    "owner",
    "tenant",
    "namespace",
    "user",
    "team",
    "service",
    "admin",
    "email",
    "group",
    "member",
    "ip_address",
    "client",
    "client_ip",
    "domain",
    "path",
    "version",
    "cluster",
    "node",
    "hostname",
    "nonce",
    "query",
];
/// The number of the first symbol that a token defines.
const OFFSET: u64 = 1024;

/// What the numbers of one block stand for.
pub(super) struct Symbols<'a> {
    defined: &'a [String],
    pub(super) string_bytes_max: usize,
}

impl<'a> Symbols<'a> {
    /// With the symbols that the block's table defines.
    pub(super) const fn new(defined: &'a [String], string_bytes_max: usize) -> Self {
        Self { defined, string_bytes_max }
    }

    /// A string: bounded, and without characters that deceive on a terminal or a page.
    pub(super) fn text(&self, index: u64) -> Result<&'a str, Rule> {
        let text = self.symbol(index).ok_or("a symbol is not defined")?;
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

    fn symbol(&self, index: u64) -> Option<&'a str> {
        match index.checked_sub(OFFSET) {
            Some(index) => self.defined.get(usize::try_from(index).ok()?).map(String::as_str),
            None => DEFAULTS.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

/// Refuses a table that defines a symbol twice, or a default again.
pub(super) fn check_table(defined: &[String]) -> Result<(), Rule> {
    let mut sorted: Vec<&str> = defined.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if twice || sorted.iter().any(|symbol| DEFAULTS.contains(symbol)) {
        return Err("a symbol is defined twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use biscuit_auth::datalog::SymbolTable;

    #[test]
    fn the_default_symbols_are_those_of_biscuit_auth() {
        let (table, defined) = (SymbolTable::new(), [String::new()]);
        let ours = Symbols::new(&defined, 64);
        for index in (0..OFFSET).chain([OFFSET + 1, u64::MAX]) {
            assert_eq!(ours.symbol(index), table.get_symbol(index), "{index}");
        }
        assert_eq!(ours.symbol(OFFSET), Some(""));
    }
}
