//! What policies are asked: who, which action, on what, and what else is known. From our terms to Cedar's.
//!
//! Every entity's parents follow from its name, and none has attributes: so no schema is needed to decide.

use core::net::IpAddr;
use std::sync::LazyLock;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Expression,
};
use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::id::{AgentName, Group, ServiceName, Subject};
use crate::key::PublicKey;
use crate::policy::rules::needs::Needs;
use crate::token::claims::{Claim, ClaimValue};
use crate::token::{Argument, Capability, Chain, Decimal, Operation, Path, Value};

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

struct Types {
    agent: EntityTypeName,
    agent_for_user: EntityTypeName,
    user: EntityTypeName,
    group: EntityTypeName,
    resource: EntityTypeName,
    action: EntityTypeName,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    // Expect safety: the names are constant, and every test of this room reads them.
    let name = |text: &str| text.parse().expect("a type's name is one");
    Types {
        agent: name("Agent"),
        agent_for_user: name("AgentForUser"),
        user: name("User"),
        group: name("Group"),
        resource: name("Resource"),
        action: name("Action"),
    }
});

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Who<'_> {
    /// The principal's type and id.
    pub(super) fn principal(&self) -> (&'static str, String) {
        match self.user {
            None => ("Agent", self.agent.to_string()),
            Some(user) => ("AgentForUser", format!("{}/{user}", self.agent)),
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

/// The names and ids of a question, made once for all the policies that are asked.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) principal_kind: &'static str,
    pub(super) principal: String,
    pub(super) action: String,
    pub(super) resource: String,
}

impl Question<'_> {
    pub(super) fn ids(&self) -> Ids {
        let (principal_kind, principal) = self.who.principal();
        Ids {
            principal_kind,
            principal,
            action: path_id(self.service, self.action.as_str()),
            resource: path_id(self.service, self.resource.as_str()),
        }
    }

    /// The request as Cedar takes it, with as much of the context as is needed.
    pub(super) fn request(&self, ids: &Ids, needs: Needs, zone: &TimeZone) -> Result<Request, Unaskable> {
        let principal = uid(principal_type(ids), &ids.principal);
        let (action, resource) = (uid(&TYPES.action, &ids.action), uid(&TYPES.resource, &ids.resource));
        let context = Context::from_pairs(self.context(needs, zone)?).map_err(|error| Unaskable(error.to_string()))?;
        Request::new(principal, action, resource, context, None).map_err(|error| Unaskable(error.to_string()))
    }

    /// The entities and what they stand in, where a condition asks for it.
    pub(super) fn entities(&self, ids: &Ids, needs: Needs) -> Result<Entities, Unaskable> {
        if !needs.any(Needs::HIERARCHY) {
            return Ok(Entities::empty());
        }
        let of_path = |kind: &EntityTypeName, parents: Vec<String>| -> Vec<EntityUid> {
            parents.iter().map(|parent| uid(kind, parent)).collect()
        };
        let entity = |own: EntityUid, parents: Vec<EntityUid>| Entity::new_no_attrs(own, parents.into_iter().collect());
        let parents = self.who.parents().map(|(kind, id)| uid(parent_type(kind), id)).collect();
        let actions = of_path(&TYPES.action, action_parents(self.service, self.action));
        let resources = of_path(&TYPES.resource, path_parents(self.service, self.resource));
        let all = [
            entity(uid(principal_type(ids), &ids.principal), parents),
            entity(uid(&TYPES.action, &ids.action), actions),
            entity(uid(&TYPES.resource, &ids.resource), resources),
        ];
        Entities::from_entities(all, None).map_err(|error| Unaskable(error.to_string()))
    }

    fn context(&self, needs: Needs, zone: &TimeZone) -> Result<Vec<(String, Expression)>, Unaskable> {
        let mut pairs = Vec::new();
        let mut add = |need: Needs, name: &str, value: &mut dyn FnMut() -> Result<Option<Expression>, Unaskable>| {
            if needs.any(need)
                && let Some(value) = value()?
            {
                pairs.push((name.to_owned(), value));
            }
            Ok::<(), Unaskable>(())
        };
        let holders = &self.who.holders;
        add(Needs::TIME, "time", &mut || datetime(self.now).map(Some))?;
        add(Needs::LOCAL, "local", &mut || local(self.now, zone).map(Some))?;
        add(Needs::DEPTH, "depth", &mut || Ok(Some(Expression::new_long(holders.depth()))))?;
        add(Needs::DELEGATOR, "delegator", &mut || Ok(holders.delegator(self.who.agent).map(Expression::new_string)))?;
        add(Needs::CHAIN, "chain", &mut || {
            Ok(Some(Expression::new_set(holders.names(self.who.agent).into_iter().map(Expression::new_string))))
        })?;
        add(Needs::SESSION, "session", &mut || {
            record(self.who.claims.iter().map(|claim| Ok((claim.name.to_string(), claimed(&claim.value))))).map(Some)
        })?;
        let call = match self.moment {
            Moment::Issuing => Call { method: "", source: None, arguments: &[], used: &[] },
            Moment::Call(call) => call,
        };
        add(Needs::ISSUING, "issuing", &mut || Ok(Some(Expression::new_bool(matches!(self.moment, Moment::Issuing)))))?;
        add(Needs::SOURCE, "source", &mut || {
            Ok(call.source.map(|source| Expression::new_ip(source.to_canonical().to_string())))
        })?;
        add(Needs::METHOD, "method", &mut || Ok(Some(Expression::new_string(call.method.to_owned()))))?;
        add(Needs::ARGUMENTS, "arguments", &mut || {
            record(call.arguments.iter().map(|argument| Ok((argument.name.to_string(), value(&argument.value)?))))
                .map(Some)
        })?;
        add(Needs::USED, "used", &mut || {
            record(call.used.iter().map(|(name, so_far)| Ok((name.to_string(), value(so_far)?)))).map(Some)
        })?;
        Ok(pairs)
    }
}

fn principal_type(ids: &Ids) -> &'static EntityTypeName {
    parent_type(ids.principal_kind)
}

fn parent_type(kind: &str) -> &'static EntityTypeName {
    match kind {
        "Agent" => &TYPES.agent,
        "AgentForUser" => &TYPES.agent_for_user,
        "User" => &TYPES.user,
        _ => &TYPES.group,
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

fn record(pairs: impl Iterator<Item = Result<(String, Expression), Unaskable>>) -> Result<Expression, Unaskable> {
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    Expression::new_record(pairs).map_err(|error| Unaskable(error.to_string()))
}

fn value(value: &Value) -> Result<Expression, Unaskable> {
    Ok(match value {
        Value::Boolean(value) => Expression::new_bool(*value),
        Value::Integer(value) => Expression::new_long(*value),
        Value::String(text) => Expression::new_string(text.to_string()),
        Value::Decimal(value) => Expression::new_decimal(decimal(*value)),
        Value::Time(time) => datetime(*time)?,
        Value::List(list) => Expression::new_set(list.items().iter().map(self::value).collect::<Result<Vec<_>, _>>()?),
    })
}

/// As Cedar writes it: a point always, and four digits behind it.
fn decimal(value: Decimal) -> String {
    let (sign, magnitude) = (if value.scaled() < 0 { "-" } else { "" }, value.scaled().unsigned_abs());
    format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
}

fn claimed(value: &ClaimValue) -> Expression {
    match value {
        ClaimValue::Boolean(value) => Expression::new_bool(*value),
        ClaimValue::Integer(value) => Expression::new_long(*value),
        ClaimValue::String(text) => Expression::new_string(text.to_string()),
        ClaimValue::Strings(texts) => {
            Expression::new_set(texts.iter().map(|text| Expression::new_string(text.to_string())))
        }
    }
}

fn moment(time: Timestamp) -> Result<jiff::Timestamp, Unaskable> {
    jiff::Timestamp::from_millisecond(time.millis()).map_err(|error| Unaskable(error.to_string()))
}

fn datetime(time: Timestamp) -> Result<Expression, Unaskable> {
    let text = moment(time)?.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    Ok(Expression::new_datetime(text))
}

fn local(time: Timestamp, zone: &TimeZone) -> Result<Expression, Unaskable> {
    let local = Zoned::new(moment(time)?, zone.clone());
    let number = |number: i8| Ok(Expression::new_long(i64::from(number)));
    let parts = [
        ("hour", number(local.hour())),
        ("minute", number(local.minute())),
        ("weekday", number(local.weekday().to_monday_one_offset())),
        ("date", Ok(Expression::new_string(local.date().to_string()))),
    ];
    record(parts.into_iter().map(|(name, value)| Ok((name.to_owned(), value?))))
}
