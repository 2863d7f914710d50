//! All that a policy's conditions can see of a question, as plain data.
//!
//! Cedar is given this and nothing else. So two questions of which a set of conditions sees the same have the same answer.

use core::net::IpAddr;
use std::sync::LazyLock;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Expression,
};

use crate::clock::Timestamp;
use crate::policy::rules::question::Unaskable;
use crate::token::Decimal;

/// What conditions see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    /// The principal, the action and the resource; without an id where no condition looks at it.
    pub(super) entities: [Named; 3],
    /// What each of them stands in, in the same order; `None` where no condition asks for it.
    pub(super) above: Option<[Vec<Named>; 3]>,
    /// As much of the context as they look at.
    pub(super) context: Vec<(&'static str, Fact)>,
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub(super) kind: &'static str,
    pub(super) id: Box<str>,
}

/// A value of the context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fact {
    Boolean(bool),
    Integer(i64),
    Text(Box<str>),
    Decimal(Decimal),
    Time(Timestamp),
    Address(IpAddr),
    Set(Vec<Fact>),
    Record(Vec<(Box<str>, Fact)>),
}

impl Seen {
    /// The request as Cedar takes it.
    pub(super) fn request(&self) -> Result<Request, Unaskable> {
        let [principal, action, resource] = &self.entities;
        let pairs = self.context.iter().map(|(name, fact)| Ok(((*name).to_owned(), fact.expression()?)));
        let context = Context::from_pairs(pairs.collect::<Result<Vec<_>, Unaskable>>()?).map_err(unaskable)?;
        Request::new(principal.uid(), action.uid(), resource.uid(), context, None).map_err(unaskable)
    }

    /// The entities and what they stand in.
    pub(super) fn hierarchy(&self) -> Result<Entities, Unaskable> {
        let Some(above) = &self.above else { return Ok(Entities::empty()) };
        let entity = |(own, above): (&Named, &Vec<Named>)| {
            Entity::new_no_attrs(own.uid(), above.iter().map(Named::uid).collect())
        };
        Entities::from_entities(self.entities.iter().zip(above).map(entity), None).map_err(unaskable)
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let entities = self.entities.iter().chain(self.above.iter().flatten().flatten());
        let entities: usize = entities.map(|entity| size_of::<Named>() + entity.id.len()).sum();
        entities + self.context.iter().map(|(_, fact)| fact.weight()).sum::<usize>()
    }
}

fn unaskable(error: impl std::fmt::Display) -> Unaskable {
    Unaskable(error.to_string())
}

static TYPES: LazyLock<[(&str, EntityTypeName); 6]> = LazyLock::new(|| {
    // Expect safety: the names are constant, and every test of this room reads them.
    ["Agent", "AgentForUser", "User", "Group", "Action", "Resource"]
        .map(|name| (name, name.parse().expect("a type's name is one")))
});

impl Named {
    pub(super) fn new(kind: &'static str, id: impl Into<Box<str>>) -> Self {
        Self { kind, id: id.into() }
    }

    fn uid(&self) -> EntityUid {
        // Expect safety: `kind` is written in this room, and every test of it comes here.
        let (_, kind) = TYPES.iter().find(|(name, _)| *name == self.kind).expect("there are six types");
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&self.id))
    }
}

impl Fact {
    pub(super) fn text(text: impl Into<Box<str>>) -> Self {
        Self::Text(text.into())
    }

    fn expression(&self) -> Result<Expression, Unaskable> {
        Ok(match self {
            Self::Boolean(value) => Expression::new_bool(*value),
            Self::Integer(value) => Expression::new_long(*value),
            Self::Text(text) => Expression::new_string(text.to_string()),
            Self::Decimal(value) => Expression::new_decimal(decimal(*value)),
            Self::Time(time) => Expression::new_datetime(datetime(*time)?),
            Self::Address(address) => Expression::new_ip(address.to_canonical().to_string()),
            Self::Set(facts) => Expression::new_set(facts.iter().map(Self::expression).collect::<Result<Vec<_>, _>>()?),
            Self::Record(pairs) => {
                let pairs = pairs.iter().map(|(name, fact)| Ok((name.to_string(), fact.expression()?)));
                Expression::new_record(pairs.collect::<Result<Vec<_>, Unaskable>>()?).map_err(unaskable)?
            }
        })
    }

    fn weight(&self) -> usize {
        let inner: usize = match self {
            Self::Text(text) => text.len(),
            Self::Set(facts) => facts.iter().map(Self::weight).sum(),
            Self::Record(pairs) => pairs.iter().map(|(name, fact)| name.len() + fact.weight()).sum(),
            Self::Boolean(_) | Self::Integer(_) | Self::Decimal(_) | Self::Time(_) | Self::Address(_) => 0,
        };
        size_of::<Self>() + inner
    }
}

/// As Cedar writes it: a point always, and four digits behind it.
fn decimal(value: Decimal) -> String {
    let (sign, magnitude) = (if value.scaled() < 0 { "-" } else { "" }, value.scaled().unsigned_abs());
    format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
}

fn datetime(time: Timestamp) -> Result<String, Unaskable> {
    let time = jiff::Timestamp::from_millisecond(time.millis()).map_err(unaskable)?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}
