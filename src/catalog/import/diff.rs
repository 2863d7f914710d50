//! What a new version of a service changes: route by route, each method on its own.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::catalog::route::Selector;
use crate::catalog::service::Service;

/// A request that one of two versions of a service understands differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It had no route.
    Added {
        /// Method and path.
        route: String,
        /// What it asks for.
        asks: String,
    },
    /// It has no route any more.
    Removed {
        /// Method and path.
        route: String,
        /// What it asked for.
        asked: String,
    },
    /// It asks for something else.
    Changed {
        /// Method and path.
        route: String,
        /// What it asked for.
        asked: String,
        /// What it asks for.
        asks: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { route, asks } => write!(f, "+ {route}: {asks}"),
            Self::Removed { route, asked } => write!(f, "- {route}: {asked}"),
            Self::Changed { route, asked, asks } => write!(f, "~ {route}: {asked}, now {asks}"),
        }
    }
}

/// The differences from `old` to `new`, by path and method. Names of captures make none; arguments are not compared.
pub fn changes(old: &Service, new: &Service) -> Vec<Change> {
    let (old, new) = (rows(old), rows(new));
    let mut changes = Vec::new();
    for (key, (route, asks, same)) in &new {
        match old.get(key) {
            None => changes.push(Change::Added { route: route.clone(), asks: asks.clone() }),
            Some((_, asked, before)) if before != same => {
                changes.push(Change::Changed { route: route.clone(), asked: asked.clone(), asks: asks.clone() });
            }
            Some(_) => {}
        }
    }
    for (_, (route, asked, _)) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        changes.push(Change::Removed { route: route.clone(), asked: asked.clone() });
    }
    changes
}

/// By shape and method: the route, what it asks for, and the same with captures numbered.
fn rows(service: &Service) -> BTreeMap<(String, Box<str>), (String, String, String)> {
    let mut rows = BTreeMap::new();
    for route in service.routes() {
        let asks = route.calls().iter().map(|call| match call.selector() {
            Selector::Request => format!("{} on {}", call.action(), call.template()),
            part => format!("{part}: {} on {}", call.action(), call.template()),
        });
        let asks = asks.collect::<Vec<_>>().join(", ");
        let same = route.pattern().names().enumerate().fold(asks.clone(), |asks, (i, name)| {
            asks.replace(&format!("{{{name}}}"), &format!("{{{i}}}"))
                .replace(&format!("{{*{name}}}"), &format!("{{*{i}}}"))
        });
        for method in route.methods() {
            let text = format!("{method} {}", route.pattern());
            rows.insert((route.pattern().shape(), method.clone()), (text, asks.clone(), same.clone()));
        }
    }
    rows
}
