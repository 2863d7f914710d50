//! Whose calls, which actions and which resources a policy is about: the part of it that is decided without Cedar.
//!
//! Exactly what Cedar says of a scope; a property test compares the two.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::small::Few;

/// An entity that a scope names, as a number.
type Mark = usize;

/// The entities that the scopes of a set name: by type and id.
#[derive(Debug, Default)]
pub(super) struct Named {
    marks: HashMap<&'static str, HashMap<Box<str>, Seconds>>,
    count: usize,
}

/// By the second part of an id.
type Seconds = HashMap<Box<str>, Mark>;

/// An entity: its type, and its id in the two parts that [`parts`] takes it apart into. So nobody has to join them to look for it.
pub(super) type Entity<'a> = (&'static str, &'a str, &'a str);

/// Those of the named entities that a principal or a resource is, or stands in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Marks {
    own: Option<Mark>,
    /// Its own and the others, sorted.
    all: Few<Mark, 4>,
}

/// A scope's condition on the principal or the resource.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Any,
    Never,
    Is(&'static str),
    Eq(Mark),
    In(Mark),
    IsIn(&'static str, Mark),
}

/// A scope's condition on the action, by ids.
#[derive(Clone, Debug)]
pub(super) enum Actions {
    Any,
    Eq(Box<str>),
    In(Vec<Box<str>>),
}

/// The entity types there are.
const TYPES: [&str; 6] = ["Agent", "AgentForUser", "User", "Group", "Resource", "Action"];

fn known(name: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|known| *known == name)
}

/// An id without the sign that joins it: the service of a path, or the agent that acts for a user, and what follows. `None` for
/// what is the id of no such entity.
fn parts<'a>(kind: &str, id: &'a str) -> Option<(&'a str, &'a str)> {
    match kind {
        "Resource" | "Action" => id.split_once(':'),
        "AgentForUser" => id.split_once('/'),
        _ => Some((id, "")),
    }
}

impl Named {
    fn mark(&mut self, entity: &EntityUid) -> Option<Mark> {
        let kind = known(&entity.type_name().to_string())?;
        let (first, second) = parts(kind, entity.id().unescaped())?;
        let next = self.count;
        let firsts = self.marks.entry(kind).or_default();
        let mark = *firsts.entry(first.into()).or_default().entry(second.into()).or_insert(next);
        self.count = self.count.max(mark + 1);
        Some(mark)
    }

    /// The condition on the principal.
    pub(super) fn principal(&mut self, policy: &Policy) -> Scope {
        match policy.principal_constraint() {
            PrincipalConstraint::Any => Scope::Any,
            PrincipalConstraint::Is(kind) => self.is(&kind.to_string()),
            PrincipalConstraint::Eq(entity) => self.mark(&entity).map_or(Scope::Never, Scope::Eq),
            PrincipalConstraint::In(entity) => self.mark(&entity).map_or(Scope::Never, Scope::In),
            PrincipalConstraint::IsIn(kind, entity) => self.is_in(&kind.to_string(), &entity),
        }
    }

    /// The condition on the resource.
    pub(super) fn resource(&mut self, policy: &Policy) -> Scope {
        match policy.resource_constraint() {
            ResourceConstraint::Any => Scope::Any,
            ResourceConstraint::Is(kind) => self.is(&kind.to_string()),
            ResourceConstraint::Eq(entity) => self.mark(&entity).map_or(Scope::Never, Scope::Eq),
            ResourceConstraint::In(entity) => self.mark(&entity).map_or(Scope::Never, Scope::In),
            ResourceConstraint::IsIn(kind, entity) => self.is_in(&kind.to_string(), &entity),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as its siblings")]
    fn is(&self, kind: &str) -> Scope {
        known(kind).map_or(Scope::Never, Scope::Is)
    }

    fn is_in(&mut self, kind: &str, entity: &EntityUid) -> Scope {
        match (known(kind), self.mark(entity)) {
            (Some(kind), Some(mark)) => Scope::IsIn(kind, mark),
            _ => Scope::Never,
        }
    }

    /// The marks of an entity: its own, and those of what it stands in.
    pub(super) fn marks<'a>(&self, own: Entity<'_>, parents: impl Iterator<Item = Entity<'a>>) -> Marks {
        if self.marks.is_empty() {
            return Marks { own: None, all: Few::new() };
        }
        let find = |(kind, first, second): Entity<'_>| self.marks.get(kind)?.get(first)?.get(second).copied();
        let own = find(own);
        let mut all: Few<Mark, 4> = own.into_iter().chain(parents.filter_map(find)).collect();
        all.sort_unstable();
        all.dedup();
        Marks { own, all }
    }
}

impl Marks {
    /// Whether the entity, of type `kind`, fits `scope`.
    pub(super) fn fits(&self, kind: &'static str, scope: &Scope) -> bool {
        let within = |mark: &Mark| self.all.binary_search(mark).is_ok();
        match scope {
            Scope::Any => true,
            Scope::Never => false,
            Scope::Is(wanted) => *wanted == kind,
            Scope::Eq(mark) => self.own == Some(*mark),
            Scope::In(mark) => within(mark),
            Scope::IsIn(wanted, mark) => *wanted == kind && within(mark),
        }
    }
}

impl Actions {
    /// The condition on the action. An entity of another type than `Action` is none.
    pub(super) fn of(policy: &Policy) -> Self {
        let id = |entity: &EntityUid| -> Option<Box<str>> {
            (entity.type_name().to_string() == "Action").then(|| entity.id().unescaped().into())
        };
        match policy.action_constraint() {
            ActionConstraint::Any => Self::Any,
            ActionConstraint::Eq(entity) => id(&entity).map_or(Self::In(Vec::new()), Self::Eq),
            ActionConstraint::In(entities) => Self::In(entities.iter().filter_map(id).collect()),
        }
    }

    /// Whether the action `own`, which stands in `parents`, fits.
    pub(super) fn fits(&self, own: &str, parents: &[String]) -> bool {
        match self {
            Self::Any => true,
            Self::Eq(id) => **id == *own,
            Self::In(ids) => ids.iter().any(|id| **id == *own || parents.iter().any(|parent| **id == **parent)),
        }
    }
}
