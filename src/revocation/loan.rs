//! What a request makes use of beyond its writ: a service, and a version of its credential.

use std::sync::Arc;

use crate::id::{CredentialName, ServiceName, Subject};
use crate::revocation::Target;
use crate::token::Chain;

/// Which version of a credential is on loan, as far as a revocation must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The credential, of the tenant of the writ it was lent for.
    pub credential: CredentialName,
    /// The revocation log's head when this version was stored: a later entry for the credential kills the loan.
    pub epoch: u64,
}

/// A credential that can be used only after its loan was looked at.
pub trait Borrowed {
    /// The loan it is.
    fn loan(&self) -> &Loan;
}

impl<T: Borrowed> Borrowed for Arc<T> {
    fn loan(&self) -> &Loan {
        (**self).loan()
    }
}

/// One use of a service, with all that a revocation can end it by.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The writ.
    pub chain: &'a Chain,
    /// The service, of the writ's tenant.
    pub service: &'a ServiceName,
    /// The credential it is used with, if it takes one.
    pub loan: Option<&'a Loan>,
}

impl Use<'_> {
    /// Everything by which a revocation can end it.
    pub fn targets(&self) -> Vec<Target> {
        let authority = self.chain.authority();
        let tenant = &authority.tenant;
        let mut targets: Vec<Target> = self.chain.block_ids().map(Target::Block).collect();
        targets.extend(self.chain.holders().map(Target::Holder));
        targets.extend(authority.subject.iter().map(|subject| Target::Subject(tenant.clone(), subject.clone())));
        let acting = |subject: &Subject| Target::Acting(tenant.clone(), authority.agent.clone(), subject.clone());
        targets.extend(authority.subject.iter().map(acting));
        targets.extend(authority.session.iter().map(|session| Target::Session(tenant.clone(), session.clone())));
        targets.push(Target::Agent(tenant.clone(), authority.agent.clone()));
        targets.extend(authority.grants.iter().map(|grant| Target::Grant(*grant)));
        targets.push(Target::Service(tenant.clone(), self.service.clone()));
        targets.extend(self.loan.map(|loan| Target::Credential(tenant.clone(), loan.credential.clone())));
        targets.extend([Target::Tenant(tenant.clone()), Target::Everything]);
        targets
    }
}
