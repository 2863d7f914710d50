//! Which route a request takes: one table of paths for each method, and no two routes that match the same requests.

use std::collections::{HashMap, HashSet};

use matchit::{InsertError, Router};

use crate::catalog::load::invalid;
use crate::catalog::pattern::Pattern;
use crate::catalog::route::Route;
use crate::catalog::service::{CatalogError, Table};
use crate::id::shown;

/// One table for each method. `HEAD` gets every `GET` route whose paths no `HEAD` route claims.
pub(super) fn tables(routes: &[Route], place: &str) -> Result<Vec<Table>, CatalogError> {
    let mut tables = Tables { routes, place, tables: Vec::new(), claimed: HashSet::new(), fixed: FixedText::default() };
    for (i, route) in routes.iter().enumerate() {
        for method in &route.methods {
            tables.insert(method, i)?;
        }
    }
    for (i, route) in routes.iter().enumerate() {
        let head = ("HEAD".into(), route.pattern.shape());
        if route.methods.iter().any(|method| **method == *"GET") && !tables.claimed.contains(&head) {
            tables.insert("HEAD", i)?;
        }
    }
    Ok(tables.tables)
}

struct Tables<'a> {
    routes: &'a [Route],
    place: &'a str,
    tables: Vec<Table>,
    claimed: HashSet<(Box<str>, String)>,
    fixed: FixedText,
}

/// The text around captures, by method and place.
///
/// A segment could match both `b{x}` and `{x}:v`, and neither says more: in one place all such text is before the capture, or all
/// is behind it, or it is the same.
#[derive(Default)]
pub(in crate::catalog) struct FixedText(HashMap<(Box<str>, String), Vec<Claim>>);

/// Text before and behind a capture, and the pattern that has it.
type Claim = (Box<str>, Box<str>, String);

impl FixedText {
    /// Adds the text of a pattern; the error is a pattern that it could be taken for.
    pub(in crate::catalog) fn claim(&mut self, method: &str, pattern: &Pattern) -> Result<(), String> {
        for (place, before, after) in pattern.fixed_text() {
            let claimed = self.0.entry((method.into(), place)).or_default();
            let clash = claimed.iter().find(|(own_before, own_after, _)| {
                let same = **own_before == *before && **own_after == *after;
                let one_side =
                    (own_before.is_empty() && before.is_empty()) || (own_after.is_empty() && after.is_empty());
                !same && !one_side
            });
            if let Some((_, _, other)) = clash {
                return Err(other.clone());
            }
            claimed.push((before.into(), after.into(), pattern.to_string()));
        }
        Ok(())
    }
}

impl Tables<'_> {
    fn insert(&mut self, method: &str, index: usize) -> Result<(), CatalogError> {
        let pattern = &self.routes[index].pattern;
        let at = self.tables.iter().position(|(own, _)| **own == *method).unwrap_or_else(|| {
            self.tables.push((method.into(), Router::new()));
            self.tables.len() - 1
        });
        let fixed = self.fixed.claim(method, pattern).map_err(|with| InsertError::Conflict { with });
        let inserted = fixed.and_then(|()| self.tables[at].1.insert(pattern.to_string(), index));
        self.claimed.insert((method.into(), pattern.shape()));
        inserted.map_err(|error| {
            let place = format!("{}, route `{method} {}`", self.place, shown(&pattern.to_string()));
            match error {
                InsertError::Conflict { with } => {
                    CatalogError::AmbiguousRoute { place, method: method.into(), other: shown(&with) }
                }
                other => invalid(&place, "path", other),
            }
        })
    }
}
