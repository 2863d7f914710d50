//! What one request takes of which counts.

use serde::{Deserialize, Serialize};

use super::{Limit, Limits, Measure, Per};
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, LimitName, Subject, TenantName};
use crate::token::{Chain, Operation, Value};

/// One count: of one limit, for one of those it is per, in one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Whose limit.
    pub tenant: TenantName,
    /// Which.
    pub limit: LimitName,
    /// What it counted: [`Limit::counted`].
    pub counted: Box<str>,
    /// Whose requests: `agent:…`, `user:…`, `grant:…`, `writ:…` or `service:…`.
    pub key: Box<str>,
    /// When the window began.
    pub start: Timestamp,
}

/// What a request takes of one count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The count.
    pub bucket: Bucket,
    /// How much: positive, in the limit's units.
    pub amount: i64,
    /// The bound.
    pub max: i64,
    /// When the window ends.
    pub ends: Timestamp,
    /// Of which holding it was reserved; 0 until it is.
    pub(super) holding: u64,
    /// In which round of its count it is noted as missing; 0 until it is.
    pub(super) noted: u64,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The tenant.
    pub tenant: &'a TenantName,
    /// The agent that the writ was minted for; every hop counts for it.
    pub agent: &'a AgentName,
    /// The user it acts for.
    pub user: Option<&'a Subject>,
    /// The grants that the writ was minted under.
    pub grants: &'a [GrantId],
    /// The writ.
    pub writ: &'a BlockId,
}

impl<'a> From<&'a Chain> for Caller<'a> {
    fn from(chain: &'a Chain) -> Self {
        let authority = chain.authority();
        Self {
            tenant: &authority.tenant,
            agent: &authority.agent,
            user: authority.subject.as_ref(),
            grants: &authority.grants,
            writ: &authority.id,
        }
    }
}

/// A request that a limit would have to count, and cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limit `{limit}` counts the argument `{argument}`, and this request has none that can be counted: send it as a positive number"
)]
pub struct Uncountable {
    /// The limit.
    pub limit: LimitName,
    /// The argument.
    pub argument: Box<str>,
}

impl Limits {
    /// What a request takes: each count once, all its operations together. Empty where no limit counts it.
    pub fn needs<'o>(
        &self,
        caller: Caller<'_>,
        operations: impl IntoIterator<Item = &'o Operation> + Clone,
        now: Timestamp,
    ) -> Result<Vec<Need>, Uncountable> {
        let mut needs = Vec::new();
        for limit in self {
            let mut total = 0;
            let mut service = None;
            for operation in operations.clone().into_iter().filter(|operation| limit.counts(operation)) {
                let amount = limit.amount(operation).and_then(|amount| amount.checked_add(total));
                total = amount.ok_or_else(|| limit.uncountable())?;
                service = Some(&operation.service);
            }
            let Some(service) = service else { continue };
            let start = limit.window.start(now);
            let need = |key: String| Need {
                bucket: Bucket {
                    tenant: caller.tenant.clone(),
                    limit: limit.name.clone(),
                    counted: limit.counted().into(),
                    key: key.into(),
                    start,
                },
                amount: total,
                max: limit.max,
                ends: limit.window.end(start),
                holding: 0,
                noted: 0,
            };
            match (limit.per, caller.user) {
                (Per::Agent, _) | (Per::User, None) => needs.push(need(format!("agent:{}", caller.agent))),
                (Per::User, Some(user)) => needs.push(need(format!("user:{user}"))),
                (Per::Service, _) => needs.push(need(format!("service:{service}"))),
                (Per::Grant, _) if caller.grants.is_empty() => needs.push(need(format!("writ:{}", caller.writ))),
                (Per::Grant, _) => needs.extend(distinct(caller.grants).map(|grant| need(format!("grant:{grant}")))),
            }
        }
        Ok(needs)
    }
}

/// A whole number in ten-thousandths, as decimals are counted.
pub(super) const fn scaled(whole: i64) -> Option<i64> {
    whole.checked_mul(10_000)
}

fn distinct(grants: &[GrantId]) -> impl Iterator<Item = &GrantId> {
    grants.iter().enumerate().filter(|(n, grant)| !grants[..*n].contains(grant)).map(|(_, grant)| grant)
}

impl Limit {
    fn counts(&self, operation: &Operation) -> bool {
        self.service.as_ref().is_none_or(|service| *service == operation.service)
            && self.action.covers(&operation.action)
            && self.resource.covers(&operation.resource)
    }

    /// What an operation takes. To many a service no amount, or zero, means all there is: so neither is countable.
    fn amount(&self, operation: &Operation) -> Option<i64> {
        let Measure::Sum(name) = &self.measure else { return Some(1) };
        let argument = operation.arguments.iter().find(|argument| *argument.name == **name)?;
        let units = match &argument.value {
            Value::Integer(whole) => scaled(*whole),
            Value::Decimal(decimal) => Some(decimal.scaled()),
            Value::Boolean(_) | Value::String(_) | Value::Time(_) | Value::List(_) => None,
        };
        units.filter(|units| *units > 0)
    }

    fn uncountable(&self) -> Uncountable {
        Uncountable { limit: self.name.clone(), argument: self.sum().unwrap_or_default().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::List;
    use crate::token::operation::Argument;

    fn limits(json: serde_json::Value) -> Limits {
        serde_json::from_value(json).unwrap()
    }

    fn operation(service: &str, action: &str, amount: Option<Value>) -> Operation {
        Operation {
            service: service.parse().unwrap(),
            action: action.parse().unwrap(),
            resource: "team".parse().unwrap(),
            method: "POST".into(),
            arguments: amount.map(|value| Argument { name: "amount".into(), value }).into_iter().collect(),
        }
    }

    fn taken(limits: &Limits, user: Option<&str>, grants: &[u8], operations: &[Operation]) -> Result<Vec<String>, ()> {
        let user = user.map(|user| user.parse().unwrap());
        let grants: Vec<GrantId> = grants.iter().map(|n| GrantId::from_bytes([*n; 16])).collect();
        let caller = Caller {
            tenant: &"t".parse().unwrap(),
            agent: &"planner".parse().unwrap(),
            user: user.as_ref(),
            grants: &grants,
            writ: &BlockId::from_bytes([9; 16]),
        };
        let needs = limits.needs(caller, operations, Timestamp::from_secs(7201)).map_err(|_| ())?;
        Ok(needs.iter().map(|need| format!("{} {} {}", need.bucket.limit, need.bucket.key, need.amount)).collect())
    }

    #[test]
    fn a_request_is_counted_for_the_agent_the_user_every_grant_and_the_service() {
        let all = |per: &str| serde_json::json!({ "name": per, "per": per, "window": "1h", "calls": 5 });
        let limits = limits(serde_json::json!([all("agent"), all("user"), all("grant"), all("service")]));
        let read = [operation("notes", "read", None)];
        let grants = ["01", "02"].map(|byte| format!("grant grant:{} 1", byte.repeat(16)));
        let [one, two] = &grants;
        assert_eq!(
            taken(&limits, Some("alice"), &[1, 2, 1], &read).unwrap(),
            ["agent agent:planner 1", "user user:alice 1", one, two, "service service:notes 1"]
        );
        let writ = format!("grant writ:{} 1", "09".repeat(16));
        assert_eq!(
            taken(&limits, None, &[], &read).unwrap(),
            ["agent agent:planner 1", "user agent:planner 1", &writ, "service service:notes 1"]
        );
    }

    #[test]
    fn operations_are_counted_as_a_capability_covers_them_and_together() {
        let limits = limits(serde_json::json!([
            { "name": "all", "per": "service", "window": "1h", "calls": 5 },
            { "name": "sends", "per": "agent", "service": "mail", "action": "send", "resource": "team", "window": "1h", "calls": 5 },
        ]));
        let of = |service, action| operation(service, action, None);
        let taken = |operations: &[Operation]| taken(&limits, None, &[], operations).unwrap();
        assert_eq!(
            taken(&[of("mail", "send/all"), of("mail", "send")]),
            ["all service:mail 2", "sends agent:planner 2"]
        );
        for other in [of("mail", "sendx"), of("mail", "read"), of("notes", "send")] {
            assert_eq!(taken(std::slice::from_ref(&other)).len(), 1, "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_not_let_through_uncounted() {
        let limits = limits(serde_json::json!([
            { "name": "spend", "per": "agent", "action": "pay", "window": "1d", "sum": "amount", "max": "500" },
        ]));
        let pay = |value| operation("bank", "pay", value);
        let counted = taken(&limits, None, &[], &[pay(Some(Value::Integer(20))), pay(Some(Value::Integer(1)))]);
        assert_eq!(counted.unwrap(), ["spend agent:planner 210000"]);
        let decimal = taken(&limits, None, &[], &[pay(Some(Value::Decimal("0.0001".parse().unwrap())))]);
        assert_eq!(decimal.unwrap(), ["spend agent:planner 1"]);
        assert_eq!(taken(&limits, None, &[], &[operation("bank", "read", None)]).unwrap(), [""; 0]);
        let uncountable = [
            None,
            Some(Value::Integer(0)),
            Some(Value::Integer(-5)),
            Some(Value::Integer(i64::MAX)),
            Some(Value::Boolean(true)),
            Some(Value::Decimal("-0.01".parse().unwrap())),
            Some(Value::Decimal("0".parse().unwrap())),
            Some(Value::Time(Timestamp::from_secs(5))),
            Some(Value::List(List::new(vec![Value::Integer(5)]).unwrap())),
            Some(Value::String("20".into())),
        ];
        for value in uncountable {
            assert!(
                taken(&limits, None, &[], &[pay(Some(Value::Integer(1))), pay(value.clone())]).is_err(),
                "{value:?}"
            );
        }
        let most = Value::Integer(i64::MAX / 10_000);
        assert!(taken(&limits, None, &[], &[pay(Some(most.clone())), pay(Some(most))]).is_err(), "the sum overflows");
    }
}
