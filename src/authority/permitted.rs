//! What policies say to a writ before it is minted, and what it then states for them.

use std::time::Duration;

use crate::authority::AuthorityError;
use crate::authority::issue::{IssueError, OnBehalf};
use crate::authority::keys::Published;
use crate::clock::Timestamp;
use crate::id::{Group, PolicyName};
use crate::key::PublicKey;
use crate::policy::rules::question::Holders;
use crate::policy::rules::{Question, Rules, Verdict, Who};
use crate::small::Few;
use crate::store::Agent;
use crate::token::Capability;
use crate::token::claims::{GROUPS_MAX, PolicyFacts};

/// What policies allow of an issuance.
pub(super) struct Permitted {
    /// The longest life they allow; `None` where they do not say.
    pub(super) ttl_max: Option<Duration>,
    /// What the writ states for them.
    pub(super) facts: PolicyFacts,
    /// The permits that allow it.
    pub(super) by: Vec<PolicyName>,
}

/// Whether the tenant's policies let `agent` be given every one of `capabilities`.
pub(super) fn permitted(
    published: &Published,
    agent: &Agent,
    on_behalf: Option<&OnBehalf>,
    capabilities: &[Capability],
    holder: Option<PublicKey>,
    now: Timestamp,
) -> Result<Permitted, IssueError> {
    let rules = published.rules.of(&agent.tenant).map_err(AuthorityError::from)?;
    let groups = asked_for(&rules, on_behalf)?;
    let claims = on_behalf.map(|user| user.claims.clone()).unwrap_or_default();
    let who = Who {
        agent: &agent.name,
        user: on_behalf.map(|user| &user.subject),
        groups: &groups,
        claims: &claims,
        holders: Holders::Agent(holder),
    };
    let (mut ttl_s, mut by) = (None::<u32>, Vec::new());
    for capability in capabilities {
        let allowed = allowed(&rules, &Question::of_issuance(who, capability, now), capability)?;
        ttl_s = [ttl_s, allowed.1].into_iter().flatten().min();
        by.extend(allowed.0);
    }
    by.sort_unstable();
    by.dedup();
    let facts = PolicyFacts { version: rules.version(), groups, claims };
    Ok(Permitted { ttl_max: ttl_s.map(|ttl_s| Duration::from_secs(ttl_s.into())), facts, by })
}

/// The permits that allow one capability, and the longest life they say. A person's approval is for each call to ask.
fn allowed(
    rules: &Rules,
    question: &Question<'_>,
    capability: &Capability,
) -> Result<(Few<PolicyName>, Option<u32>), IssueError> {
    let approvals: Vec<_> = rules.set().policies().iter().filter_map(|policy| policy.approval.clone()).collect();
    let refused = |why: String| {
        IssueError::Policy(format!("{why}: ask for less than `{capability}`, or an operator can change the policies"))
    };
    match rules.decide(question, &approvals).verdict {
        Verdict::Allowed { by, ttl_s } => Ok((by, ttl_s)),
        Verdict::Forbidden { by } => {
            let by = by.first().map_or("-", PolicyName::as_str);
            Err(refused(format!("the policy `{by}` forbids that this agent is given `{capability}`")))
        }
        Verdict::NotPermitted | Verdict::Approval { .. } => {
            Err(refused(format!("no policy permits that this agent is given all of `{capability}`")))
        }
        Verdict::Erring { by, .. } => {
            let by = by.first().map_or("-", PolicyName::as_str);
            Err(refused(format!("the policy `{by}` cannot be evaluated for `{capability}`")))
        }
    }
}

/// Those of the user's groups that policies ask for.
fn asked_for(rules: &Rules, on_behalf: Option<&OnBehalf>) -> Result<Vec<Group>, IssueError> {
    let all = on_behalf.map(|user| user.groups.as_slice()).unwrap_or_default();
    let mut groups: Vec<Group> =
        all.iter().filter(|group| rules.set().groups().contains_key(*group)).cloned().collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > GROUPS_MAX {
        // To leave one out could be to leave out the one that a forbid is about.
        return Err(IssueError::User(
            "the user is in more than 16 groups that policies name: an operator must make policies of fewer groups"
                .into(),
        ));
    }
    Ok(groups)
}
