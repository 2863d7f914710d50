//! A tenant's policies, ready to decide. Only those that can apply to a question are given to Cedar, and only once for all that
//! their conditions can see of it.
//!
//! Default deny; a forbid wins; a policy that cannot be evaluated denies. Answers name the policies that decided.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cedar_policy::{Authorizer, Decision, Effect, Policy as Cedar, PolicyId, PolicySet as CedarSet, Response};

use crate::id::{PolicyName, ServiceName};
use crate::policy::rules::memo::Memo;
use crate::policy::rules::needs::Needs;
use crate::policy::rules::question::{Question, Unaskable, action_parents, path_id};
use crate::policy::rules::scope::{Actions, Marks, Named, Scope};
use crate::policy::rules::seen::Seen;
use crate::policy::rules::set::{InvalidSet, Policy, PolicySet, Standing};
use crate::small::Few;
use crate::token::Path;

/// A policy set at one version, compiled.
///
/// It remembers what calls led to. What is asked at issuance is for agents to choose, and would push that out.
pub struct Rules {
    version: u64,
    outdates: u64,
    set: PolicySet,
    named: Named,
    compiled: Vec<Compiled>,
    /// What they say of every question, if they ask nothing of any.
    always: Option<Votes>,
    applying: Memo<Place, Arc<Applying>>,
    together: Memo<Box<[usize]>, Arc<Together>>,
    together_count: AtomicU64,
    evaluated: Memo<(u64, Seen), Arc<Votes>>,
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

/// All that scopes look at.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    issuing: bool,
    kind: &'static str,
    principal: Marks,
    service: ServiceName,
    action: Path,
    resource: Marks,
}

/// The policies whose scope fits a place.
struct Applying {
    /// What those say that have no conditions to evaluate.
    votes: Votes,
    /// Those that have.
    asked: Option<Arc<Together>>,
}

/// Policies with conditions that are evaluated together.
#[derive(Default)]
struct Together {
    /// Its own among those of the set.
    number: u64,
    enforced: CedarSet,
    shadow_permits: CedarSet,
    shadow_forbids: CedarSet,
    needs: Needs,
}

/// For how many places the policies are remembered that apply there.
const PLACES_MAX: usize = 8192;
/// How many sets of policies with conditions are remembered.
const TOGETHER_MAX: usize = 1024;
/// How many evaluations of conditions are remembered.
const EVALUATED_MAX: usize = 4096;
/// And of how much that was seen, in bytes.
const SEEN_BYTES_MAX: usize = 2048;

/// What a tenant's policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What they decide.
    pub verdict: Verdict,
    /// The shadow policies that would have had a say.
    pub shadow: Few<PolicyName>,
}

/// What a tenant's policies decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed, by these permits.
    Allowed {
        /// The permits that match and ask for no approval, or for one that was given.
        by: Few<PolicyName>,
        /// The longest life of a writ, in seconds, where each of them states one.
        ttl_s: Option<u32>,
    },
    /// Every permit that matches asks for a person's approval.
    Approval {
        /// The permits.
        by: Few<PolicyName>,
        /// Whose approval: what each says.
        approvers: Vec<Box<str>>,
    },
    /// No permit matches.
    NotPermitted,
    /// These forbids match.
    Forbidden {
        /// The forbids.
        by: Few<PolicyName>,
    },
    /// A policy could not be evaluated. What it would have said is not known.
    Erring {
        /// The policies.
        by: Few<PolicyName>,
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
        let compiled = set
            .policies()
            .iter()
            .enumerate()
            .map(|(index, policy)| Compiled::of(index, policy, &mut named))
            .collect::<Result<Vec<_>, _>>()?;
        let mut always = Votes::default();
        compiled.iter().enumerate().for_each(|(index, policy)| always.add(index, policy.effect));
        Ok(Self {
            version,
            outdates,
            set,
            named,
            always: compiled.iter().all(Compiled::asks_nothing).then_some(always),
            compiled,
            applying: Memo::new(PLACES_MAX),
            together: Memo::new(TOGETHER_MAX),
            together_count: AtomicU64::new(0),
            evaluated: Memo::new(EVALUATED_MAX),
        })
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
        if let Some(votes) = &self.always {
            return self.counted([Some(votes), None], approved);
        }
        let applying = match self.applying(question) {
            Ok(applying) => applying,
            Err(error) => return self.counted([Some(&Votes::erring(error)), None], approved),
        };
        let evaluated = applying
            .asked
            .as_ref()
            .map(|together| self.evaluated(together, question).unwrap_or_else(|error| Arc::new(Votes::erring(error))));
        self.counted([Some(&applying.votes), evaluated.as_deref()], approved)
    }

    /// The policies that apply.
    fn applying(&self, question: &Question<'_>) -> Result<Arc<Applying>, Unaskable> {
        let Question { who, service, action, resource, .. } = question;
        let (kind, ..) = who.entity();
        let principal = self.named.marks(who.entity(), who.parents().map(|(kind, id)| (kind, id, "")));
        let below = |path| ("Resource", service.as_str(), path);
        let resource = self.named.marks(below(resource.as_str()), resource.prefixes().map(below));
        let issuing = question.is_of_issuance();
        let (service, action) = ((*service).clone(), (*action).clone());
        let place = Place { issuing, kind, principal, service, action, resource };
        if let Some(known) = self.applying.find(&place) {
            return Ok(known);
        }
        let found = Arc::new(self.apply(&place)?);
        if !issuing {
            self.applying.keep(place, found.clone());
        }
        Ok(found)
    }

    /// Those whose scope fits `place`.
    fn apply(&self, place: &Place) -> Result<Applying, Unaskable> {
        let action = path_id(&place.service, place.action.as_str());
        let parents = action_parents(&place.service, &place.action);
        let mut votes = Votes::default();
        let mut asked = Vec::new();
        for (index, policy) in self.compiled.iter().enumerate() {
            let fits = policy.actions.fits(&action, &parents)
                && place.principal.fits(place.kind, &policy.principal)
                && place.resource.fits("Resource", &policy.resource);
            match &policy.conditions {
                _ if !fits => {}
                None => votes.add(index, policy.effect),
                Some(conditions) if place.issuing && conditions.needs.is_open_at_issuance() => {
                    // Each call is decided anew: what cannot be known yet hinders nothing, and allows nothing in the end.
                    if policy.effect == Effect::Permit {
                        votes.add(index, Effect::Permit);
                    }
                }
                Some(_) => asked.push(index),
            }
        }
        let asked = if asked.is_empty() { None } else { Some(self.together(asked.into(), place.issuing)?) };
        Ok(Applying { votes, asked })
    }

    fn evaluated(&self, together: &Together, question: &Question<'_>) -> Result<Arc<Votes>, Unaskable> {
        let seen = question.seen(together.needs, self.set.zone())?;
        // The time to the millisecond does not come twice.
        let is_once = together.needs.any(Needs::TIME) || seen.weight() > SEEN_BYTES_MAX;
        if is_once || question.is_of_issuance() {
            return Ok(Arc::new(self.evaluate(together, &seen)?));
        }
        let key = (together.number, seen);
        if let Some(known) = self.evaluated.find(&key) {
            return Ok(known);
        }
        let votes = Arc::new(self.evaluate(together, &key.1)?);
        self.evaluated.keep(key, votes.clone());
        Ok(votes)
    }

    fn evaluate(&self, together: &Together, seen: &Seen) -> Result<Votes, Unaskable> {
        let (request, entities) = (seen.request()?, seen.hierarchy()?);
        let mut votes = Votes::default();
        for set in [&together.enforced, &together.shadow_permits, &together.shadow_forbids] {
            if !set.is_empty() {
                self.heard(&AUTHORIZER.is_authorized(&request, set, &entities), &mut votes);
            }
        }
        Ok(votes)
    }

    /// Adds what Cedar answered.
    fn heard(&self, response: &Response, votes: &mut Votes) {
        let effect = match response.decision() {
            Decision::Allow => Effect::Permit,
            Decision::Deny => Effect::Forbid,
        };
        for id in response.diagnostics().reason() {
            match index(id) {
                Some(index) => votes.add(index, effect),
                None => votes.error = Some("a policy has no name".into()),
            }
        }
        for error in response.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            match index(error.policy_id()) {
                // A shadow never counts, not even by failing.
                Some(index) if self.set.policies().get(index).is_some_and(|policy| !policy.is_enforced()) => {}
                found => {
                    votes.erring.extend(found);
                    votes.error.get_or_insert_with(|| error.inner().to_string().into());
                }
            }
        }
    }

    fn together(&self, asked: Box<[usize]>, issuing: bool) -> Result<Arc<Together>, Unaskable> {
        if let Some(known) = self.together.find(&asked) {
            return Ok(known);
        }
        let number = self.together_count.fetch_add(1, Ordering::Relaxed);
        let mut together = Together { number, ..Together::default() };
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
        if !issuing {
            self.together.keep(asked, together.clone());
        }
        Ok(together)
    }

    /// From votes to a verdict.
    fn counted(&self, votes: [Option<&Votes>; 2], approved: &[Box<str>]) -> Answer {
        let votes = || votes.iter().flatten().copied();
        let policies = |indexes: &dyn Fn(&Votes) -> &[usize], enforced: bool| -> Few<&Policy, 8> {
            let mut all: Few<usize, 8> = votes().flat_map(indexes).copied().collect();
            all.sort_unstable();
            let found = all.into_iter().filter_map(|index| self.set.policies().get(index));
            found.filter(|policy| policy.is_enforced() == enforced).collect()
        };
        let names = |policies: &[&Policy]| policies.iter().map(|policy| policy.name.clone()).collect::<Few<_>>();
        let mut shadow = names(&policies(&|votes| &votes.permits, false));
        shadow.extend(names(&policies(&|votes| &votes.forbids, false)));
        let permits = policies(&|votes| &votes.permits, true);
        let forbids = policies(&|votes| &votes.forbids, true);
        let (free, held): (Few<_, 8>, Few<_, 8>) = permits
            .into_iter()
            .partition(|policy| policy.approval.as_ref().is_none_or(|approval| approved.contains(approval)));
        let verdict = if !forbids.is_empty() {
            Verdict::Forbidden { by: names(&forbids) }
        } else if let Some(why) = votes().find_map(|votes| votes.error.clone()) {
            Verdict::Erring { by: names(&policies(&|votes| &votes.erring, true)), why }
        } else if !free.is_empty() {
            let each_states_one = free.iter().all(|policy| policy.ttl_s.is_some());
            let longest = free.iter().filter_map(|policy| policy.ttl_s).max();
            Verdict::Allowed { by: names(&free), ttl_s: longest.filter(|_| each_states_one) }
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

/// The id of a policy's conditions: its place in the set, so that nobody has to look for it.
fn id(index: usize) -> PolicyId {
    PolicyId::new(index.to_string())
}

fn index(id: &PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.parse().ok()
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
    fn erring(error: Unaskable) -> Self {
        Self { error: Some(error.to_string().into()), ..Self::default() }
    }

    fn add(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Permit => self.permits.push(index),
            Effect::Forbid => self.forbids.push(index),
        }
    }
}

impl Compiled {
    fn of(index: usize, policy: &Policy, named: &mut Named) -> Result<Self, InvalidSet> {
        let conditions =
            if policy.cedar.has_non_scope_constraint() { Some(Conditions::of(index, policy)?) } else { None };
        Ok(Self {
            actions: Actions::of(&policy.cedar),
            principal: named.principal(&policy.cedar),
            resource: named.resource(&policy.cedar),
            conditions,
            effect: policy.cedar.effect(),
        })
    }

    /// Whether it applies to every question, and has no condition.
    const fn asks_nothing(&self) -> bool {
        matches!((&self.actions, &self.principal, &self.resource), (Actions::Any, Scope::Any, Scope::Any))
            && self.conditions.is_none()
    }
}

impl Conditions {
    /// The policy without its scope, which was decided when it comes to its conditions.
    fn of(index: usize, policy: &Policy) -> Result<Self, InvalidSet> {
        let refused = |error: &dyn std::fmt::Display| policy.invalid(format!("it cannot be compiled: {error}"));
        let mut json = policy.cedar.to_json().map_err(|error| refused(&error))?;
        let needs = Needs::of(&json);
        for part in ["principal", "action", "resource"] {
            json[part] = serde_json::json!({ "op": "All" });
        }
        Ok(Self { policy: Cedar::from_json(Some(id(index)), json).map_err(|error| refused(&error))?, needs })
    }
}

#[cfg(test)]
mod tests;
