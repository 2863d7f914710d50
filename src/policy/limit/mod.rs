//! How often, and how much: limits that count what permitted requests do. Pure; `spec/limits.md` is the contract.
//!
//! A limit has a count for each of those it is [`Per`] and for each [`Window`]. [`needs`](Limits::needs) says what a request
//! takes of which counts, [`allot`] how much an authority lets an edge hold, [`Ledger`] what an edge may still spend of that.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{LimitName, ServiceName};
use crate::token::capability::Path;
use crate::token::{Decimal, Value};

mod allot;
mod ledger;
mod need;
#[cfg(test)]
mod simulation;
mod window;

pub use allot::{Allotted, Ask, allot};
pub use ledger::{Ledger, LedgerLimits, Moment, Reservation, Short, Spent};
pub use need::{Bucket, Caller, Need, Uncountable};
pub use window::{InvalidWindow, Window};

/// One limit of a tenant's policy set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Limit {
    name: LimitName,
    per: Per,
    service: Option<ServiceName>,
    action: Path,
    resource: Path,
    window: Window,
    measure: Measure,
    max: i64,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Those of one agent, whoever it acts for.
    Agent,
    /// Those for one user, whichever agent sends them. An agent that acts for itself is counted like a user of its own.
    User,
    /// Those under one grant, of every writ that it was a reason for and of every hop below. A writ without a grant is counted alone.
    Grant,
    /// Those to one service.
    Service,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Measure {
    Calls,
    /// The sum of this argument.
    Sum(Box<str>),
}

/// The limits of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Limit>", into = "Vec<Limit>")]
pub struct Limits(Box<[Limit]>);

/// A limit that can't be one, or limits that can't be together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// It counts nothing, or two things.
    #[error("limit `{0}` must have either `calls`, or `sum` with `max`")]
    Measure(LimitName),
    /// Its bound is none.
    #[error(
        "the bound of limit `{0}` must be positive, a whole number or text with at most 4 digits after the point, such as \"500.00\""
    )]
    Max(LimitName),
    /// The name of its argument is none.
    #[error("limit `{0}` must name the argument whose `sum` it counts, in 1 to 64 bytes")]
    Argument(LimitName),
    /// Two limits have one name.
    #[error("there are two limits named `{0}`: a count is known by its limit's name")]
    Twice(LimitName),
    /// More than [`Limits::COUNT_MAX`].
    #[error("a tenant has at most {} limits", Limits::COUNT_MAX)]
    TooMany,
}

/// How a limit is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: LimitName,
    per: Per,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceName>,
    #[serde(default = "Path::root")]
    action: Path,
    #[serde(default = "Path::root")]
    resource: Path,
    window: Window,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<Max>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Max {
    Whole(i64),
    Text(Box<str>),
}

/// The longest name of an argument in bytes.
const ARGUMENT_BYTES_MAX: usize = 64;

impl TryFrom<Form> for Limit {
    type Error = InvalidLimit;

    fn try_from(form: Form) -> Result<Self, InvalidLimit> {
        let Form { name, per, service, action, resource, window, calls, sum, max } = form;
        let (measure, max) = match (calls, sum, max) {
            (Some(calls), None, None) => (Measure::Calls, Some(calls)),
            (None, Some(argument), Some(max)) => {
                if argument.is_empty() || argument.len() > ARGUMENT_BYTES_MAX {
                    return Err(InvalidLimit::Argument(name));
                }
                let max = match max {
                    Max::Whole(max) => need::scaled(max),
                    Max::Text(text) => text.parse().ok().map(Decimal::scaled),
                };
                (Measure::Sum(argument), max)
            }
            _ => return Err(InvalidLimit::Measure(name)),
        };
        match max.filter(|max| *max > 0) {
            Some(max) => Ok(Self { name, per, service, action, resource, window, measure, max }),
            None => Err(InvalidLimit::Max(name)),
        }
    }
}

impl From<Limit> for Form {
    fn from(limit: Limit) -> Self {
        let max = limit.max_text();
        let Limit { name, per, service, action, resource, window, measure, max: units } = limit;
        let (calls, sum, max) = match measure {
            Measure::Calls => (Some(units), None, None),
            Measure::Sum(argument) => (None, Some(argument), Some(Max::Text(max.into()))),
        };
        Self { name, per, service, action, resource, window, calls, sum, max }
    }
}

impl Limit {
    /// Its name.
    pub const fn name(&self) -> &LimitName {
        &self.name
    }

    /// Whose requests are counted together.
    pub const fn per(&self) -> Per {
        self.per
    }

    /// How long a count lasts.
    pub const fn window(&self) -> Window {
        self.window
    }

    /// The service whose requests it counts; `None` for every one's.
    pub const fn service(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// The action that it counts, with everything below it.
    pub const fn action(&self) -> &Path {
        &self.action
    }

    /// The argument whose sum it bounds; `None` if it counts calls.
    pub fn sum(&self) -> Option<&str> {
        match &self.measure {
            Measure::Calls => None,
            Measure::Sum(argument) => Some(argument),
        }
    }

    /// The bound: calls, or a sum in ten-thousandths. Positive.
    pub const fn max(&self) -> i64 {
        self.max
    }

    /// The bound as text.
    pub fn max_text(&self) -> String {
        self.text_of(self.max)
    }

    /// `units` of this limit as text: a number of calls, or a sum.
    pub fn text_of(&self, units: i64) -> String {
        match self.measure {
            Measure::Calls => units.to_string(),
            Measure::Sum(_) => Decimal::from_scaled(units).to_string(),
        }
    }

    /// `units` of this limit as a policy sees them: a whole number of calls, or a sum as a decimal.
    pub fn value_of(&self, units: i64) -> Value {
        match self.measure {
            Measure::Calls => Value::Integer(units),
            Measure::Sum(_) => Value::Decimal(Decimal::from_scaled(units)),
        }
    }

    /// What its counts are counts of: with the same name and another of these, a limit counts anew.
    pub fn counted(&self) -> String {
        match &self.measure {
            Measure::Calls => format!("calls {}", self.window.as_secs()),
            Measure::Sum(argument) => format!("sum {} {argument}", self.window.as_secs()),
        }
    }
}

/// `100 calls per agent in 1h`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.max_text();
        match &self.measure {
            Measure::Calls => write!(f, "{max} calls")?,
            Measure::Sum(argument) => write!(f, "{max} of `{argument}`")?,
        }
        write!(f, " per {} in {}", self.per, self.window)
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Grant => "grant",
            Self::Service => "service",
        })
    }
}

impl Limits {
    /// The most limits of a tenant.
    pub const COUNT_MAX: usize = 64;

    /// All of them, as written.
    pub fn iter(&self) -> std::slice::Iter<'_, Limit> {
        self.0.iter()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limit of this name.
    pub fn named(&self, name: &LimitName) -> Option<&Limit> {
        self.iter().find(|limit| limit.name == *name)
    }
}

impl<'a> IntoIterator for &'a Limits {
    type Item = &'a Limit;
    type IntoIter = std::slice::Iter<'a, Limit>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Limit>> for Limits {
    type Error = InvalidLimit;

    fn try_from(limits: Vec<Limit>) -> Result<Self, InvalidLimit> {
        if limits.len() > Self::COUNT_MAX {
            return Err(InvalidLimit::TooMany);
        }
        for (n, limit) in limits.iter().enumerate() {
            if limits[..n].iter().any(|before| before.name == limit.name) {
                return Err(InvalidLimit::Twice(limit.name.clone()));
            }
        }
        Ok(Self(limits.into()))
    }
}

impl From<Limits> for Vec<Limit> {
    fn from(limits: Limits) -> Self {
        limits.0.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limits, String> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            limit: Limits,
        }
        toml::from_str::<Document>(text).map(|document| document.limit).map_err(|error| error.to_string())
    }

    fn limit(rest: &str) -> Result<Limits, String> {
        read(&format!("[[limit]]\nname = \"x\"\nper = \"agent\"\n{rest}"))
    }

    #[test]
    fn a_limit_says_what_it_counts_for_whom_and_how_long() {
        let text = r#"
            [[limit]]
            name = "mail-per-hour"
            per = "agent"
            service = "mail"
            action = "messages/send"
            window = "60m"
            calls = 100
            [[limit]]
            name = "refunds"
            per = "user"
            window = "1d"
            sum = "amount"
            max = "500.00"
        "#;
        let limits = read(text).unwrap();
        let told: Vec<String> = limits.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["100 calls per agent in 1h", "500 of `amount` per user in 1d"]);
        let refunds = limits.named(&"refunds".parse().unwrap()).unwrap();
        assert_eq!((refunds.max(), refunds.sum()), (5_000_000, Some("amount")));
        let json = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits, "{json}");
        assert_eq!(read("").unwrap(), Limits::default());
    }

    #[test]
    fn a_limit_that_counts_nothing_or_has_no_bound_is_refused_by_its_name() {
        let refused = [
            ("window = \"1h\"", "either `calls`, or `sum`"),
            ("window = \"1h\"\ncalls = 1\nsum = \"a\"\nmax = 1", "either `calls`, or `sum`"),
            ("window = \"1h\"\nsum = \"a\"", "either `calls`, or `sum`"),
            ("window = \"1h\"\ncalls = 0", "must be positive"),
            ("window = \"1h\"\ncalls = -1", "must be positive"),
            ("window = \"1h\"\nsum = \"a\"\nmax = \"0.0\"", "must be positive"),
            ("window = \"1h\"\nsum = \"a\"\nmax = \"-1\"", "must be positive"),
            ("window = \"1h\"\nsum = \"a\"\nmax = \"1.00001\"", "must be positive"),
            ("window = \"1h\"\nsum = \"a\"\nmax = 922337203685478", "must be positive"),
            ("window = \"1h\"\nsum = \"\"\nmax = 1", "must name the argument"),
        ];
        for (rest, why) in refused {
            let error = limit(rest).unwrap_err();
            assert!(error.contains(why) && error.contains("`x`"), "{rest}: {error}");
        }
        assert!(limit("window = \"1h\"\ncalls = 1\nmaximum = 2").unwrap_err().contains("maximum"));
        assert!(limit("window = \"32d\"\ncalls = 1").unwrap_err().contains("31 days"));
        assert!(limit("window = \"1h\"\nsum = \"a\"\nmax = 1.5").is_err(), "there are no floats");
    }

    #[test]
    fn two_limits_of_one_name_and_more_than_64_are_refused() {
        let of = |n: usize| format!("[[limit]]\nname = \"l{n}\"\nper = \"service\"\nwindow = \"1h\"\ncalls = 1\n");
        let many = |count: usize| (0..count).map(of).collect::<String>();
        assert_eq!(read(&many(64)).unwrap().iter().count(), 64);
        assert!(read(&many(65)).unwrap_err().contains("at most 64"));
        assert!(read(&(of(1) + &of(1))).unwrap_err().contains("two limits named `l1`"));
    }
}
