//! What policies are asked: who, which action, on what, and what else is known. From our terms to Cedar's.
//!
//! Every entity's parents follow from its name, and none has attributes: so no schema is needed to decide.

use core::net::IpAddr;

use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::id::{AgentName, Group, ServiceName, Subject};
use crate::key::PublicKey;
use crate::policy::rules::needs::Needs;
use crate::policy::rules::scope::Entity;
use crate::policy::rules::seen::{Fact, Named, Seen};
use crate::token::claims::{Claim, ClaimValue};
use crate::token::{Argument, Capability, Chain, Operation, Path, Value};

/// A question to a tenant's policies.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub who: Who<'a>,
    /// The service.
    pub service: &'a ServiceName,
    /// The action: of a call, or of the capability that is to be issued.
    pub action: &'a Path,
    /// The resource.
    pub resource: &'a Path,
    /// The time.
    pub now: Timestamp,
    /// Whether a writ is to be issued or a call to be made.
    pub moment: Moment<'a>,
}

/// The principal, and through whom it acts.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The agent.
    pub agent: &'a AgentName,
    /// The user it acts for; `None` where it acts for itself.
    pub user: Option<&'a Subject>,
    /// The user's groups.
    pub groups: &'a [Group],
    /// What the identity provider says of the user's login.
    pub claims: &'a [Claim],
    /// Through which hands the authority came.
    pub holders: Holders<'a>,
}

/// Through which hands the authority came.
#[derive(Clone, Copy, Debug)]
pub enum Holders<'a> {
    /// Only the agent's own.
    Agent(Option<PublicKey>),
    /// A writ's.
    Chain(&'a Chain),
    /// As somebody says who tries policies out.
    Named {
        /// How many hops.
        depth: usize,
        /// Who delegated last.
        delegator: Option<&'a str>,
        /// Names and keys.
        names: &'a [String],
    },
}

/// Whether a writ is to be issued or a call to be made.
#[derive(Clone, Copy, Debug)]
pub enum Moment<'a> {
    /// A writ with this capability is to be issued.
    Issuing,
    /// A call is to be made.
    Call(Call<'a>),
}

/// What only a call has.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// The arguments that the route takes from the request.
    pub arguments: &'a [Argument],
    /// How much of each limit is used.
    pub used: &'a [(Box<str>, Value)],
}

/// A question that has no form in Cedar. Nothing is allowed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question cannot be put to the policies: {0}")]
pub struct Unaskable(pub(super) String);

impl<'a> Question<'a> {
    /// Whether `chain` may do `operation`.
    pub fn of_call(
        chain: &'a Chain,
        operation: &'a Operation,
        source: Option<IpAddr>,
        used: &'a [(Box<str>, Value)],
        now: Timestamp,
    ) -> Self {
        let authority = chain.authority();
        Self {
            who: Who {
                agent: &authority.agent,
                user: authority.subject.as_ref(),
                groups: &authority.policy.groups,
                claims: &authority.policy.claims,
                holders: Holders::Chain(chain),
            },
            service: &operation.service,
            action: &operation.action,
            resource: &operation.resource,
            now,
            moment: Moment::Call(Call { method: &operation.method, source, arguments: &operation.arguments, used }),
        }
    }

    /// Whether `who` may be given `capability`.
    pub const fn of_issuance(who: Who<'a>, capability: &'a Capability, now: Timestamp) -> Self {
        let Capability { service, action, resource } = capability;
        Self { who, service, action, resource, now, moment: Moment::Issuing }
    }
}

/// The id of `Action` or `Resource` for a path of a service, as capabilities spell it: `github:issues/read`.
pub fn path_id(service: &ServiceName, path: &str) -> String {
    let service = service.as_str();
    let mut id = String::with_capacity(service.len() + 1 + path.len());
    id.push_str(service);
    id.push(':');
    id.push_str(path);
    id
}

/// What stands above a path of a service, the root first.
pub fn path_parents(service: &ServiceName, path: &Path) -> Vec<String> {
    let above = path.prefixes().filter(|prefix| *prefix != path.as_str());
    above.map(|prefix| path_id(service, prefix)).collect()
}

/// In which of the actions `reads`, `writes` and `deletes` an action stands. One that covers others of either kind counts
/// as the stronger: it writes.
pub fn access_groups(action: &Path) -> &'static [&'static str] {
    if action.segments().any(|segment| segment == "delete") {
        &["writes", "deletes"]
    } else if action.segments().any(|segment| segment == "read") {
        &["reads"]
    } else {
        &["writes"]
    }
}

/// Everything above an action.
pub fn action_parents(service: &ServiceName, action: &Path) -> Vec<String> {
    let mut parents = path_parents(service, action);
    parents.extend(access_groups(action).iter().map(|group| (*group).to_owned()));
    parents
}

impl Who<'_> {
    /// The principal's type and id.
    pub(super) fn principal(&self) -> (&'static str, String) {
        match self.user {
            None => ("Agent", self.agent.to_string()),
            Some(user) => ("AgentForUser", format!("{}/{user}", self.agent)),
        }
    }

    /// The principal.
    pub(super) fn entity(&self) -> Entity<'_> {
        match self.user {
            None => ("Agent", self.agent.as_str(), ""),
            Some(user) => ("AgentForUser", self.agent.as_str(), user.as_str()),
        }
    }

    /// What the principal stands in: its agent, its user, the user's groups.
    pub(super) fn parents(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let agent = self.user.map(|_| ("Agent", self.agent.as_str()));
        let user = self.user.map(|user| ("User", user.as_str()));
        let groups = self.groups.iter().filter(|_| self.user.is_some()).map(|group| ("Group", group.as_str()));
        agent.into_iter().chain(user).chain(groups)
    }
}

impl Question<'_> {
    pub(super) const fn is_of_issuance(&self) -> bool {
        matches!(self.moment, Moment::Issuing)
    }

    /// What conditions with these needs can see of it.
    pub(super) fn seen(&self, needs: Needs, zone: &TimeZone) -> Result<Seen, Unaskable> {
        // Literals of a condition may stand in one another too, if they are these entities.
        let hierarchy = needs.any(Needs::HIERARCHY);
        let named = |need: Needs, named: &dyn Fn() -> (&'static str, String)| {
            let (kind, id) = if hierarchy || needs.any(need) { named() } else { ("Resource", String::new()) };
            Named::new(kind, id)
        };
        let entities = [
            named(Needs::PRINCIPAL, &|| self.who.principal()),
            named(Needs::ACTION, &|| ("Action", path_id(self.service, self.action.as_str()))),
            named(Needs::RESOURCE, &|| ("Resource", path_id(self.service, self.resource.as_str()))),
        ];
        let above = hierarchy.then(|| {
            let all = |kind, parents: Vec<String>| parents.into_iter().map(|parent| Named::new(kind, parent)).collect();
            [
                self.who.parents().map(|(kind, id)| Named::new(kind, id)).collect(),
                all("Action", action_parents(self.service, self.action)),
                all("Resource", path_parents(self.service, self.resource)),
            ]
        });
        Ok(Seen { entities, above, context: self.context(needs, zone)? })
    }

    fn context(&self, needs: Needs, zone: &TimeZone) -> Result<Vec<(&'static str, Fact)>, Unaskable> {
        let holders = &self.who.holders;
        let call = match self.moment {
            Moment::Issuing => Call { method: "", source: None, arguments: &[], used: &[] },
            Moment::Call(call) => call,
        };
        let mut context = Vec::new();
        let mut add = |need: Needs, name, fact: &dyn Fn() -> Option<Fact>| {
            if needs.any(need)
                && let Some(fact) = fact()
            {
                context.push((name, fact));
            }
        };
        add(Needs::TIME, "time", &|| Some(Fact::Time(self.now)));
        add(Needs::DEPTH, "depth", &|| Some(Fact::Integer(holders.depth())));
        add(Needs::DELEGATOR, "delegator", &|| holders.delegator(self.who.agent).map(Fact::text));
        add(Needs::CHAIN, "chain", &|| {
            Some(Fact::Set(holders.names(self.who.agent).into_iter().map(Fact::text).collect()))
        });
        add(Needs::SESSION, "session", &|| {
            let claims = self.who.claims.iter().map(|claim| (claim.name.as_str().into(), claimed(&claim.value)));
            Some(Fact::Record(claims.collect()))
        });
        add(Needs::ISSUING, "issuing", &|| Some(Fact::Boolean(matches!(self.moment, Moment::Issuing))));
        add(Needs::SOURCE, "source", &|| call.source.map(Fact::Address));
        add(Needs::METHOD, "method", &|| Some(Fact::text(call.method)));
        add(Needs::ARGUMENTS, "arguments", &|| {
            let arguments =
                call.arguments.iter().map(|argument| (argument.name.as_str().into(), value(&argument.value)));
            Some(Fact::Record(arguments.collect()))
        });
        add(Needs::USED, "used", &|| {
            Some(Fact::Record(call.used.iter().map(|(name, so_far)| (name.clone(), value(so_far))).collect()))
        });
        if needs.any(Needs::LOCAL) {
            context.push(("local", local(self.now, zone)?));
        }
        Ok(context)
    }
}

impl Holders<'_> {
    fn depth(&self) -> i64 {
        let depth = match self {
            Self::Agent(_) => 0,
            Self::Chain(chain) => chain.hops().len(),
            Self::Named { depth, .. } => *depth,
        };
        i64::try_from(depth).unwrap_or(i64::MAX)
    }

    /// Who delegated to the last holder: the agent, or what the hop before calls its holder, or that one's key.
    fn delegator(&self, agent: &AgentName) -> Option<String> {
        match self {
            Self::Agent(_) => None,
            Self::Named { delegator, .. } => delegator.map(str::to_owned),
            Self::Chain(chain) => match chain.hops() {
                [] => None,
                [_] => Some(agent.to_string()),
                [.., before, _] => {
                    Some(before.agent.as_ref().map_or_else(|| before.holder.to_string(), ToString::to_string))
                }
            },
        }
    }

    fn names(&self, agent: &AgentName) -> Vec<String> {
        let mut names = vec![agent.to_string()];
        match self {
            Self::Agent(key) => names.extend(key.map(|key| key.to_string())),
            Self::Named { names: given, .. } => names.extend(given.iter().cloned()),
            Self::Chain(chain) => {
                names.extend(chain.holders().map(|holder| holder.to_string()));
                names.extend(chain.hops().iter().filter_map(|hop| hop.agent.as_ref()).map(ToString::to_string));
            }
        }
        names
    }
}

fn value(value: &Value) -> Fact {
    match value {
        Value::Boolean(value) => Fact::Boolean(*value),
        Value::Integer(value) => Fact::Integer(*value),
        Value::String(text) => Fact::Text(text.clone()),
        Value::Decimal(value) => Fact::Decimal(*value),
        Value::Time(time) => Fact::Time(*time),
        Value::List(list) => Fact::Set(list.items().iter().map(self::value).collect()),
    }
}

fn claimed(value: &ClaimValue) -> Fact {
    match value {
        ClaimValue::Boolean(value) => Fact::Boolean(*value),
        ClaimValue::Integer(value) => Fact::Integer(*value),
        ClaimValue::String(text) => Fact::Text(text.clone()),
        ClaimValue::Strings(texts) => Fact::Set(texts.iter().map(|text| Fact::text(text.clone())).collect()),
    }
}

fn local(time: Timestamp, zone: &TimeZone) -> Result<Fact, Unaskable> {
    let time = jiff::Timestamp::from_millisecond(time.millis()).map_err(|error| Unaskable(error.to_string()))?;
    let local = Zoned::new(time, zone.clone());
    let number = |name: &str, number: i8| (name.into(), Fact::Integer(i64::from(number)));
    Ok(Fact::Record(vec![
        number("hour", local.hour()),
        number("minute", local.minute()),
        number("weekday", local.weekday().to_monday_one_offset()),
        ("date".into(), Fact::text(local.date().to_string())),
    ]))
}
