//! The rules of every tenant at one moment. A set that cannot be read allows nothing, and says why.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::TenantName;
use crate::policy::rules::engine::Rules;
use crate::policy::rules::set::InvalidSet;

/// The rules of every tenant at one moment.
#[derive(Debug, Default)]
pub struct RuleBook(HashMap<TenantName, Entry>);

#[derive(Debug)]
struct Entry {
    json: Box<str>,
    rules: Result<Arc<Rules>, InvalidSet>,
}

/// A tenant's set, as it is stored and sent.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// Whose.
    pub tenant: &'a TenantName,
    /// Its version.
    pub version: u64,
    /// Since which version it asks for no further group.
    pub outdates: u64,
    /// The JSON text of a document.
    pub json: &'a str,
}

impl RuleBook {
    /// The book of these sets. What `self` has of them is not compiled again.
    pub fn next<'a>(&self, sets: impl IntoIterator<Item = Offered<'a>>) -> Self {
        let entry = |offered: Offered<'a>| {
            let Offered { tenant, version, outdates, json } = offered;
            let same = |rules: &&Arc<Rules>| rules.version() == version && rules.outdates_before() == outdates;
            let known = self.0.get(tenant).filter(|known| *known.json == *json);
            let known = known.and_then(|known| known.rules.as_ref().ok()).filter(same);
            let rules = match known {
                Some(rules) => Ok(rules.clone()),
                None => Rules::read(version, outdates, json).map(Arc::new),
            };
            (tenant.clone(), Entry { json: json.into(), rules })
        };
        Self(sets.into_iter().map(entry).collect())
    }

    /// A tenant's rules: the built-in ones where it never stored a set.
    pub fn of(&self, tenant: &TenantName) -> Result<Arc<Rules>, InvalidSet> {
        self.0.get(tenant).map_or_else(|| Ok(Rules::built_in()), |entry| entry.rules.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_compiled_once_and_one_that_cannot_be_read_allows_nothing() {
        let tenant: TenantName = "acme".parse().unwrap();
        let json = serde_json::to_string(&super::super::Document::grants_decide()).unwrap();
        let offered = |version, json| [Offered { tenant: &tenant, version, outdates: 0, json }];
        let first = RuleBook::default().next(offered(1, &json));
        let same = first.next(offered(1, &json));
        assert!(Arc::ptr_eq(&first.of(&tenant).unwrap(), &same.of(&tenant).unwrap()));
        // A store that was set back may give a number again.
        let other = json.replace("grants-decide", "another");
        let next = same.next(offered(1, &other));
        assert!(!Arc::ptr_eq(&first.of(&tenant).unwrap(), &next.of(&tenant).unwrap()));
        let newer = json.replacen('{', r#"{"colour":"red","#, 1);
        let unreadable = next.next(offered(2, &newer));
        assert!(unreadable.of(&tenant).unwrap_err().to_string().contains("another version of writ"));
        assert_eq!(unreadable.of(&"other".parse().unwrap()).unwrap().version(), 0);
        assert_eq!(unreadable.next([]).of(&tenant).unwrap().version(), 0);
    }
}
