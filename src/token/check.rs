//! The checks of a token: the few forms of Datalog that the profile allows, evaluated without an engine.

use std::fmt::{self, Write as _};

use crate::clock::Timestamp;
use crate::token::capability::Capability;
use crate::token::operation::Operation;
use crate::token::value::{Decimal, Value};

/// A `check if` of one block: passes when any of its queries matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The block it stands in, 0 for the authority block.
    pub block: usize,
    /// Its Datalog text, for denials and people.
    pub source: Box<str>,
    pub(super) queries: Box<[Query]>,
}

/// One fact pattern, and what the values it binds must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) fact: Ambient,
    pub(super) terms: Box<[Slot]>,
    pub(super) comparisons: Box<[Comparison]>,
}

/// The facts that a request gives. Blocks can't add to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ambient {
    Time,
    Service,
    Action,
    Resource,
    Operation,
    Method,
    Arg,
    /// Any other name: no such fact exists.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Variable,
    Constant(Constant),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Constant {
    Integer(i64),
    String(Box<str>),
    Date(u64),
    Bytes(Box<[u8]>),
    Boolean(bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Which term of the fact.
    pub(super) slot: usize,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Order(Order, Bound),
    Equal(Constant),
    StartsWith(Box<str>),
    OneOf(Box<[Constant]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Integer(i64),
    Date(u64),
}

/// A value of an ambient fact.
#[derive(Clone, Copy)]
enum Datum<'a> {
    Integer(i64),
    String(&'a str),
    Date(u64),
    Boolean(bool),
    /// Stands for its canonical text.
    Decimal(Decimal),
    /// A set, to which no constant is equal: only `contains` can be asked.
    List(&'a [Value]),
}

/// Values of different types were compared. Biscuit fails the whole token then, and so does [`Check::passes`].
struct TypeMismatch;

impl Check {
    /// Whether the check passes for `operation` at `now`. A missing fact or a value of another type fails it.
    pub fn passes(&self, operation: &Operation, now: Timestamp) -> bool {
        for query in &self.queries {
            match query.matches(operation, now) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(TypeMismatch) => return false,
            }
        }
        false
    }

    /// The capabilities it narrows to, when that is all it says: for people, who read those more easily than Datalog.
    pub fn capabilities(&self) -> Option<Vec<Capability>> {
        self.queries.iter().map(Query::capability).collect()
    }
}

impl Query {
    fn capability(&self) -> Option<Capability> {
        let text = |slot: &Slot| match slot {
            Slot::Constant(Constant::String(text)) => Some(text.clone()),
            Slot::Constant(_) | Slot::Variable => None,
        };
        match (self.fact, &*self.terms, &*self.comparisons) {
            (Ambient::Operation, [service, action, resource], []) => Some(Capability {
                service: text(service)?.parse().ok()?,
                action: text(action)?.parse().ok()?,
                resource: text(resource)?.parse().ok()?,
            }),
            _ => None,
        }
    }

    fn matches(&self, operation: &Operation, now: Timestamp) -> Result<bool, TypeMismatch> {
        let service = Datum::String(operation.service.as_str());
        let actions = || operation.action.prefixes().map(Datum::String);
        let resources = || operation.resource.prefixes().map(Datum::String);
        match self.fact {
            Ambient::Time => self.fits(&[date(now)]),
            Ambient::Service => self.fits(&[service]),
            Ambient::Action => self.fits_any(actions().map(|action| [action])),
            Ambient::Resource => self.fits_any(resources().map(|resource| [resource])),
            Ambient::Operation => {
                self.fits_any(actions().flat_map(|action| resources().map(move |resource| [service, action, resource])))
            }
            Ambient::Method => self.fits(&[Datum::String(&operation.method)]),
            Ambient::Arg => {
                self.fits_any(operation.arguments.iter().map(|arg| [Datum::String(&arg.name), value_datum(&arg.value)]))
            }
            Ambient::Absent => Ok(false),
        }
    }

    fn fits_any<'a, const N: usize>(&self, facts: impl Iterator<Item = [Datum<'a>; N]>) -> Result<bool, TypeMismatch> {
        let mut found = false;
        for fact in facts {
            // To the end: a mismatch in a later fact denies whatever the order of facts is.
            found |= self.fits(&fact)?;
        }
        Ok(found)
    }

    fn fits(&self, fact: &[Datum<'_>]) -> Result<bool, TypeMismatch> {
        let equal = |(slot, datum): (&Slot, &Datum<'_>)| match slot {
            Slot::Variable => true,
            Slot::Constant(constant) => constant.compare(*datum).unwrap_or(false),
        };
        if self.terms.len() != fact.len() || !self.terms.iter().zip(fact).all(equal) {
            return Ok(false);
        }
        for comparison in &self.comparisons {
            // A slot outside the fact can't come from the compiler; were it to, it denies.
            let datum = fact.get(comparison.slot).ok_or(TypeMismatch)?;
            if !comparison.test.holds(*datum)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Test {
    fn holds(&self, datum: Datum<'_>) -> Result<bool, TypeMismatch> {
        match (self, datum) {
            (Self::Order(order, Bound::Integer(bound)), Datum::Integer(value)) => Ok(order.holds(value, *bound)),
            (Self::Order(order, Bound::Date(bound)), Datum::Date(value)) => Ok(order.holds(value, *bound)),
            (Self::Equal(constant), datum) => constant.compare(datum).ok_or(TypeMismatch),
            (Self::StartsWith(prefix), Datum::String(value)) => Ok(value.starts_with(&**prefix)),
            (Self::StartsWith(prefix), Datum::Decimal(value)) => Ok(value.to_string().starts_with(&**prefix)),
            (Self::OneOf(_), Datum::List(items)) => {
                // All of them; a test of one value at a time never mismatches here.
                items.iter().try_fold(true, |all, item| Ok(all && self.holds(value_datum(item))?))
            }
            (Self::OneOf(set), datum) => Ok(set.iter().any(|constant| constant.compare(datum) == Some(true))),
            (Self::Order(..) | Self::StartsWith(_), _) => Err(TypeMismatch),
        }
    }
}

impl Order {
    fn holds<T: Ord>(self, value: T, bound: T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

impl Constant {
    /// Whether they are equal; `None` when they are of different types.
    fn compare(&self, datum: Datum<'_>) -> Option<bool> {
        match (self, datum) {
            (Self::Integer(constant), Datum::Integer(value)) => Some(*constant == value),
            (Self::String(constant), Datum::String(value)) => Some(**constant == *value),
            (Self::String(constant), Datum::Decimal(value)) => Some(**constant == value.to_string()),
            (Self::Date(constant), Datum::Date(value)) => Some(*constant == value),
            (Self::Boolean(constant), Datum::Boolean(value)) => Some(*constant == value),
            (Self::Integer(_) | Self::String(_) | Self::Date(_) | Self::Bytes(_) | Self::Boolean(_), _) => None,
        }
    }
}

fn value_datum(value: &Value) -> Datum<'_> {
    match value {
        Value::Boolean(value) => Datum::Boolean(*value),
        Value::Integer(value) => Datum::Integer(*value),
        Value::String(value) => Datum::String(value),
        Value::Decimal(value) => Datum::Decimal(*value),
        Value::Time(value) => date(*value),
        Value::List(list) => Datum::List(list.items()),
    }
}

fn date(time: Timestamp) -> Datum<'static> {
    Datum::Date(u64::try_from(time.secs()).unwrap_or(0))
}

impl Ambient {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "time" => Self::Time,
            "service" => Self::Service,
            "action" => Self::Action,
            "resource" => Self::Resource,
            "operation" => Self::Operation,
            "method" => Self::Method,
            "arg" => Self::Arg,
            _ => Self::Absent,
        }
    }
}

impl Query {
    /// Its Datalog text. `name` is the fact's name, `variables` has a name for each variable slot, by position.
    pub(super) fn write(&self, name: &str, variables: &[&str], out: &mut String) {
        let variable = |slot: usize| variables.get(slot).copied().unwrap_or("_");
        out.push_str(name);
        for (slot, term) in self.terms.iter().enumerate() {
            out.push_str(if slot == 0 { "(" } else { ", " });
            // Expect safety of `let _`: writing to a String does not fail.
            let _ = match term {
                Slot::Variable => write!(out, "${}", variable(slot)),
                Slot::Constant(constant) => write!(out, "{constant}"),
            };
        }
        out.push(')');
        for Comparison { slot, test } in &self.comparisons {
            let variable = variable(*slot);
            let _ = match test {
                Test::Order(order, bound) => write!(out, ", ${variable} {order} {bound}"),
                Test::Equal(constant) => write!(out, ", ${variable} === {constant}"),
                Test::StartsWith(prefix) => {
                    write!(out, ", ${variable}.starts_with({})", Constant::String(prefix.clone()))
                }
                Test::OneOf(set) => {
                    let set: Vec<String> = set.iter().map(Constant::to_string).collect();
                    write!(out, ", {{{}}}.contains(${variable})", set.join(", "))
                }
            };
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(text) => write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Date(secs) => Bound::Date(*secs).fmt(f),
            Self::Bytes(bytes) => write!(f, "hex:{}", hex::encode(bytes)),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Date(secs) => write!(f, "{}", Timestamp::from_secs(i64::try_from(*secs).unwrap_or(i64::MAX))),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}
