//! What of the revocation log ends a recorded call: from its records alone, so that anybody who has them can compare.

use crate::audit::event::{Decision, Outcome};
use crate::id::Subject;
use crate::revocation::{Entry, Target};

/// A call that used a credential: its decision and its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Injected<'a> {
    decision: &'a Decision,
    outcome: &'a Outcome,
}

impl<'a> Injected<'a> {
    /// `None` if the credential was not used.
    pub fn of(decision: &'a Decision, outcome: &'a Outcome) -> Option<Self> {
        (decision.request == outcome.request && outcome.injected_at_seq.is_some()).then_some(Self { decision, outcome })
    }

    /// Whether the edge says that it knew `entry` when it used the credential.
    pub fn knew(self, entry: &Entry) -> bool {
        self.outcome.injected_at_seq.is_some_and(|known| known >= entry.seq)
    }

    /// Everything by which a revocation could have ended it.
    pub fn targets(self) -> Vec<Target> {
        let Some(who) = &self.decision.who else { return Vec::new() };
        let tenant = &who.tenant;
        let mut targets: Vec<Target> = who.blocks.iter().copied().map(Target::Block).collect();
        targets.extend(who.holders.iter().copied().map(Target::Holder));
        targets.extend(who.subject.iter().map(|subject| Target::Subject(tenant.clone(), subject.clone())));
        let acting = |subject: &Subject| Target::Acting(tenant.clone(), who.agent.clone(), subject.clone());
        targets.extend(who.subject.iter().map(acting));
        targets.extend(who.session.iter().map(|session| Target::Session(tenant.clone(), session.clone())));
        targets.push(Target::Agent(tenant.clone(), who.agent.clone()));
        targets.extend(who.grants.iter().copied().map(Target::Grant));
        targets.extend(self.decision.what.iter().map(|what| Target::Service(tenant.clone(), what.service.clone())));
        let credential = |name: &crate::id::CredentialName| Target::Credential(tenant.clone(), name.clone());
        targets.extend(self.decision.credential.iter().map(credential));
        targets.extend([Target::Tenant(tenant.clone()), Target::Everything]);
        targets
    }

    /// Whether `entry`, which is for one of its [targets](Self::targets), ends it: what came later than the entry lives on.
    pub fn ended_by(self, entry: &Entry) -> bool {
        let epoch = match entry.target {
            Target::Block(_) | Target::Holder(_) => return true,
            Target::Credential(..) => self.outcome.credential_epoch,
            _ => self.decision.who.as_ref().and_then(|who| who.epoch),
        };
        epoch.is_some_and(|epoch| epoch < entry.seq)
    }
}
