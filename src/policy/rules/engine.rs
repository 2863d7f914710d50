//! A tenant's policies, ready to decide. Only those that can apply to a question are given to Cedar.
//!
//! Default deny; a forbid wins; a policy that cannot be evaluated denies. Answers name the policies that decided.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use cedar_policy::{Authorizer, Decision, Effect, Policy as Cedar, PolicyId, PolicySet as CedarSet, Response};

use crate::id::PolicyName;
use crate::policy::rules::needs::Needs;
use crate::policy::rules::question::{Ids, Moment, Question, Unaskable, action_parents, path_parents};
use crate::policy::rules::scope::{Actions, Named, Scope};
use crate::policy::rules::set::{InvalidSet, Policy, PolicySet, Standing};

/// A policy set at one version, compiled.
pub struct Rules {
    version: u64,
    outdates: u64,
    set: PolicySet,
    named: Named,
    compiled: Vec<Compiled>,
    by_action: RwLock<HashMap<Box<str>, Arc<Candidates>>>,
}

/// One policy.
struct Compiled {
    actions: Actions,
    principal: Scope,
    resource: Scope,
    /// Its conditions, without the scope; `None` if it has none.
    conditions: Option<Conditions>,
    effect: Effect,
}

struct Conditions {
    policy: Cedar,
    needs: Needs,
}

/// The policies whose scope fits an action, and the sets of them that were asked for.
#[derive(Default)]
struct Candidates {
    policies: Vec<usize>,
    together: RwLock<HashMap<Box<[usize]>, Arc<Together>>>,
}

/// Policies with conditions that are evaluated together.
#[derive(Default)]
struct Together {
    enforced: CedarSet,
    shadow_permits: CedarSet,
    shadow_forbids: CedarSet,
    needs: Needs,
}

/// How many actions are remembered with the policies that fit them.
const ACTIONS_MAX: usize = 4096;
/// How many sets of policies are remembered for one action.
const TOGETHER_MAX: usize = 64;

/// What a tenant's policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What they decide.
    pub verdict: Verdict,
    /// The shadow policies that would have had a say.
    pub shadow: Vec<PolicyName>,
}

/// What a tenant's policies decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed, by these permits.
    Allowed {
        /// The permits that match and ask for no approval, or for one that was given.
        by: Vec<PolicyName>,
        /// The longest life of a writ, in seconds, where each of them states one.
        ttl_s: Option<u32>,
    },
    /// Every permit that matches asks for a person's approval.
    Approval {
        /// The permits.
        by: Vec<PolicyName>,
        /// Whose approval: what each says.
        approvers: Vec<Box<str>>,
    },
    /// No permit matches.
    NotPermitted,
    /// These forbids match.
    Forbidden {
        /// The forbids.
        by: Vec<PolicyName>,
    },
    /// A policy could not be evaluated. What it would have said is not known.
    Erring {
        /// The policies.
        by: Vec<PolicyName>,
        /// Why, of the first.
        why: Box<str>,
    },
}

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
static BUILT_IN: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    // Expect safety: the text is constant, and a test compiles it.
    Arc::new(Rules::compile(0, 0, PolicySet::grants_decide()).expect("the built-in set compiles"))
});

impl Rules {
    /// Compiles version `version` of a set. A writ for a user that was minted under a version before `outdates` may lack a
    /// group that the set asks for.
    pub fn compile(version: u64, outdates: u64, set: PolicySet) -> Result<Self, InvalidSet> {
        let mut named = Named::default();
        let compiled =
            set.policies().iter().map(|policy| Compiled::of(policy, &mut named)).collect::<Result<_, _>>()?;
        Ok(Self { version, outdates, set, named, compiled, by_action: RwLock::default() })
    }

    /// Reads and compiles the JSON text of a document.
    pub fn read(version: u64, outdates: u64, json: &str) -> Result<Self, InvalidSet> {
        let document = serde_json::from_str(json)
            .map_err(|error| InvalidSet::whole(format!("it was written by another version of writ ({error})")))?;
        Self::compile(version, outdates, PolicySet::parse(document)?)
    }

    /// The set of a tenant that never stored one.
    pub fn built_in() -> Arc<Self> {
        BUILT_IN.clone()
    }

    /// The set's version; 0 for the built-in one.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether a writ for a user that was minted under version `minted` may lack a group that policies ask for.
    pub const fn outdates(&self, minted: u64) -> bool {
        minted < self.outdates
    }

    /// Since which version the set asks for no further group.
    pub const fn outdates_before(&self) -> u64 {
        self.outdates
    }

    /// The set.
    pub const fn set(&self) -> &PolicySet {
        &self.set
    }

    /// Decides. `approved` holds the `@approval` texts for which an approval was given.
    pub fn decide(&self, question: &Question<'_>, approved: &[Box<str>]) -> Answer {
        let ids = question.ids();
        let candidates = self.candidates(question, &ids);
        let mut votes = Votes::default();
        let asked = self.applying(&candidates, question, &ids, &mut votes);
        if !asked.is_empty()
            && let Err(error) = self.ask(&candidates, asked, question, &ids, &mut votes)
        {
            votes.error.get_or_insert_with(|| error.to_string().into());
        }
        self.counted(votes, approved)
    }

    /// The policies whose scope fits the action.
    fn candidates(&self, question: &Question<'_>, ids: &Ids) -> Arc<Candidates> {
        if let Some(known) = self.by_action.read().unwrap_or_else(PoisonError::into_inner).get(&*ids.action) {
            return known.clone();
        }
        let parents = action_parents(question.service, question.action);
        let fits = |(index, policy): (usize, &Compiled)| policy.actions.fits(&ids.action, &parents).then_some(index);
        let policies = self.compiled.iter().enumerate().filter_map(fits).collect();
        let found = Arc::new(Candidates { policies, together: RwLock::default() });
        // What agents ask for at issuance is theirs to choose, and would fill the memory.
        if matches!(question.moment, Moment::Issuing) {
            return found;
        }
        let mut by_action = self.by_action.write().unwrap_or_else(PoisonError::into_inner);
        if by_action.len() >= ACTIONS_MAX {
            by_action.clear();
        }
        by_action.insert(ids.action.as_str().into(), found.clone());
        found
    }

    /// Those of the candidates that have conditions to evaluate. Where the scope alone decides, the vote is counted.
    fn applying(&self, candidates: &Candidates, question: &Question<'_>, ids: &Ids, votes: &mut Votes) -> Vec<usize> {
        let principal = self.named.marks((ids.principal_kind, &ids.principal), question.who.parents());
        let above = path_parents(question.service, question.resource);
        let resource = self.named.marks(("Resource", &ids.resource), above.iter().map(|id| ("Resource", &**id)));
        let mut asked = Vec::new();
        for index in &candidates.policies {
            let Some(policy) = self.compiled.get(*index) else { continue };
            let applies =
                principal.fits(ids.principal_kind, &policy.principal) && resource.fits("Resource", &policy.resource);
            if !applies {
                continue;
            }
            match &policy.conditions {
                None => votes.add(*index, policy.effect),
                Some(conditions) if is_open(question, conditions.needs) => {
                    // Each call is decided anew: what cannot be known yet hinders nothing, and allows nothing in the end.
                    if policy.effect == Effect::Permit {
                        votes.add(*index, Effect::Permit);
                    }
                }
                Some(_) => asked.push(*index),
            }
        }
        asked
    }

    fn ask(
        &self,
        candidates: &Candidates,
        asked: Vec<usize>,
        question: &Question<'_>,
        ids: &Ids,
        votes: &mut Votes,
    ) -> Result<(), Unaskable> {
        let together = self.together(candidates, asked)?;
        let request = question.request(ids, together.needs, self.set.zone())?;
        let entities = question.entities(ids, together.needs)?;
        for set in [&together.enforced, &together.shadow_permits, &together.shadow_forbids] {
            if !set.is_empty() {
                self.heard(&AUTHORIZER.is_authorized(&request, set, &entities), votes);
            }
        }
        Ok(())
    }

    /// Adds what Cedar answered.
    fn heard(&self, response: &Response, votes: &mut Votes) {
        let effect = match response.decision() {
            Decision::Allow => Effect::Permit,
            Decision::Deny => Effect::Forbid,
        };
        for id in response.diagnostics().reason() {
            match self.index(id) {
                Some(index) => votes.add(index, effect),
                None => votes.error = Some("a policy has no name".into()),
            }
        }
        for error in response.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            match self.index(error.policy_id()) {
                // A shadow never counts, not even by failing.
                Some(index) if self.set.policies().get(index).is_some_and(|policy| !policy.is_enforced()) => {}
                found => {
                    votes.erring.extend(found);
                    votes.error.get_or_insert_with(|| error.inner().to_string().into());
                }
            }
        }
    }

    fn index(&self, id: &PolicyId) -> Option<usize> {
        let name: &str = id.as_ref();
        self.set.policies().iter().position(|policy| policy.name.as_str() == name)
    }

    fn together(&self, candidates: &Candidates, asked: Vec<usize>) -> Result<Arc<Together>, Unaskable> {
        if let Some(known) = candidates.together.read().unwrap_or_else(PoisonError::into_inner).get(&*asked) {
            return Ok(known.clone());
        }
        let mut together = Together::default();
        for index in &asked {
            let (Some(policy), Some(compiled)) = (self.set.policies().get(*index), self.compiled.get(*index)) else {
                continue;
            };
            let Some(conditions) = &compiled.conditions else { continue };
            together.needs |= conditions.needs;
            let set = match (&policy.standing, compiled.effect) {
                (Standing::Enforced, _) => &mut together.enforced,
                (Standing::Shadow(_), Effect::Permit) => &mut together.shadow_permits,
                (Standing::Shadow(_), Effect::Forbid) => &mut together.shadow_forbids,
            };
            set.add(conditions.policy.clone()).map_err(|error| Unaskable(error.to_string()))?;
        }
        let together = Arc::new(together);
        let mut known = candidates.together.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOGETHER_MAX {
            known.clear();
        }
        known.insert(asked.into(), together.clone());
        Ok(together)
    }

    /// From votes to a verdict.
    fn counted(&self, mut votes: Votes, approved: &[Box<str>]) -> Answer {
        votes.permits.sort_unstable();
        votes.forbids.sort_unstable();
        let policies = |indexes: &[usize], enforced: bool| -> Vec<&Policy> {
            let found = indexes.iter().filter_map(|index| self.set.policies().get(*index));
            found.filter(|policy| policy.is_enforced() == enforced).collect()
        };
        let names = |policies: &[&Policy]| policies.iter().map(|policy| policy.name.clone()).collect::<Vec<_>>();
        let mut shadow = names(&policies(&votes.permits, false));
        shadow.extend(names(&policies(&votes.forbids, false)));
        let (permits, forbids) = (policies(&votes.permits, true), policies(&votes.forbids, true));
        let (free, held): (Vec<_>, Vec<_>) = permits
            .into_iter()
            .partition(|policy| policy.approval.as_ref().is_none_or(|approval| approved.contains(approval)));
        let verdict = if !forbids.is_empty() {
            Verdict::Forbidden { by: names(&forbids) }
        } else if let Some(why) = votes.error {
            let erring: Vec<_> = votes.erring.iter().filter_map(|index| self.set.policies().get(*index)).collect();
            Verdict::Erring { by: names(&erring), why }
        } else if !free.is_empty() {
            let ttl_s = free.iter().map(|policy| policy.ttl_s).collect::<Option<Vec<_>>>();
            Verdict::Allowed { by: names(&free), ttl_s: ttl_s.and_then(|all| all.into_iter().max()) }
        } else if !held.is_empty() {
            let mut approvers: Vec<Box<str>> = held.iter().filter_map(|policy| policy.approval.clone()).collect();
            approvers.sort_unstable();
            approvers.dedup();
            Verdict::Approval { by: names(&held), approvers }
        } else {
            Verdict::NotPermitted
        };
        Answer { verdict, shadow }
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rules(version {}, {} policies)", self.version, self.compiled.len())
    }
}

const fn is_open(question: &Question<'_>, needs: Needs) -> bool {
    matches!(question.moment, Moment::Issuing) && needs.is_open_at_issuance()
}

/// Which policies match, and which could not be evaluated.
#[derive(Default)]
struct Votes {
    permits: Vec<usize>,
    forbids: Vec<usize>,
    erring: Vec<usize>,
    error: Option<Box<str>>,
}

impl Votes {
    fn add(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Permit => self.permits.push(index),
            Effect::Forbid => self.forbids.push(index),
        }
    }
}

impl Compiled {
    fn of(policy: &Policy, named: &mut Named) -> Result<Self, InvalidSet> {
        let conditions = if policy.cedar.has_non_scope_constraint() { Some(Conditions::of(policy)?) } else { None };
        Ok(Self {
            actions: Actions::of(&policy.cedar),
            principal: named.principal(&policy.cedar),
            resource: named.resource(&policy.cedar),
            conditions,
            effect: policy.cedar.effect(),
        })
    }
}

impl Conditions {
    /// The policy without its scope, which was decided when it comes to its conditions.
    fn of(policy: &Policy) -> Result<Self, InvalidSet> {
        let refused = |error: &dyn std::fmt::Display| policy.invalid(format!("it cannot be compiled: {error}"));
        let mut json = policy.cedar.to_json().map_err(|error| refused(&error))?;
        let needs = Needs::of(&json);
        for part in ["principal", "action", "resource"] {
            json[part] = serde_json::json!({ "op": "All" });
        }
        let id = PolicyId::new(policy.name.as_str());
        Ok(Self { policy: Cedar::from_json(Some(id), json).map_err(|error| refused(&error))?, needs })
    }
}

#[cfg(test)]
mod tests;
