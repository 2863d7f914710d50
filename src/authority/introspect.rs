//! Introspection (RFC 7662): what a writ allows now, for a service that does not check writs itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::ServiceName;
use crate::revocation::{Target, Use};
use crate::store::RelyingService;
use crate::token::verify::{Expected, current};
use crate::token::{Capability, Chain, RawToken, verify};

/// The most capabilities that a scope lists. What narrows to more is told as a check.
const SCOPE_MAX: usize = 64;

/// A writ that is active, as of the answer.
#[derive(Debug)]
pub struct Active {
    /// The chain.
    pub chain: Arc<Chain>,
    /// What it allows.
    pub scope: Scope,
    /// When its authority block was minted, if that is known.
    pub issued: Option<Timestamp>,
}

impl Authority {
    /// The writ, if it is live and for the tenant and the deployment of the one who asks. Nothing tells apart why not.
    pub async fn introspect(&self, by: &RelyingService, token: &str) -> Result<Option<Active>, AuthorityError> {
        let now = self.now();
        let keys = self.refreshed().await?.trusted(now);
        let expected = Expected { issuer: self.issuer().into(), audience: by.audience.clone() };
        let verified = RawToken::parse(token, &self.limits)
            .and_then(|raw| verify(&raw, &keys, &self.limits))
            .and_then(|chain| current(&Arc::new(chain), &keys, &expected, now));
        let Ok(verified) = verified else { return Ok(None) };
        let chain = Arc::clone(verified.chain());
        if chain.authority().tenant != by.tenant || self.store.stop().await?.is_some() {
            return Ok(None);
        }
        let Some(ended) = self.ended_services(&chain).await? else { return Ok(None) };
        let issued = self.store.issued(chain.authority().id).await?.map(|writ| writ.issued);
        let scope = Scope::of(&chain, &ended);
        Ok(Some(Active { chain, scope, issued }))
    }

    /// The services at which a live chain was ended; `None` if it is dead, or was ended at all of them.
    async fn ended_services(&self, chain: &Chain) -> Result<Option<BTreeSet<ServiceName>>, AuthorityError> {
        let services: BTreeSet<_> = chain.authority().capabilities.iter().map(|one| one.service.clone()).collect();
        let uses = services.iter().map(|service| Use { chain, service, loan: None });
        let known = self.log_about(&uses.clone().flat_map(|used| used.targets()).collect()).await?;
        let mut ended = BTreeSet::new();
        for (service, used) in services.iter().zip(uses) {
            match known.revokes_use(used) {
                None => {}
                Some(Target::Service(..)) => drop(ended.insert(service.clone())),
                Some(_) => return Ok(None),
            }
        }
        Ok((ended.len() < services.len()).then_some(ended))
    }
}

/// What is left of a chain's capabilities, and the checks that capabilities cannot say.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// What it allows at most.
    pub capabilities: Vec<Capability>,
    /// What must hold besides, in Datalog. Where there is any, the capabilities alone say too much.
    pub checks: Vec<Box<str>>,
}

impl Scope {
    /// The scope of a chain, without the services at which it was ended.
    fn of(chain: &Chain, ended: &BTreeSet<ServiceName>) -> Self {
        let mut capabilities = chain.authority().capabilities.clone();
        capabilities.retain(|capability| !ended.contains(&capability.service));
        let mut scope = Self { capabilities, checks: Vec::new() };
        for check in chain.checks() {
            match check.capabilities().and_then(|narrower| common(&scope.capabilities, &narrower)) {
                Some(left) => scope.capabilities = left,
                None => scope.checks.push(check.source.clone()),
            }
        }
        scope
    }
}

/// What both lists allow, unless that is too much to list.
fn common(one: &[Capability], other: &[Capability]) -> Option<Vec<Capability>> {
    let mut left: Vec<Capability> = Vec::new();
    for meet in one.iter().flat_map(|a| other.iter().filter_map(|b| meet(a, b))) {
        if !left.contains(&meet) {
            left.push(meet);
        }
        if left.len() > SCOPE_MAX {
            return None;
        }
    }
    Some(left)
}

/// What both allow. Of two paths, one covers the other or nothing is below both.
fn meet(a: &Capability, b: &Capability) -> Option<Capability> {
    let narrower = |a: &crate::token::Path, b: &crate::token::Path| {
        if a.covers(b) {
            Some(b.clone())
        } else if b.covers(a) {
            Some(a.clone())
        } else {
            None
        }
    };
    if a.service != b.service {
        return None;
    }
    Some(Capability {
        service: a.service.clone(),
        action: narrower(&a.action, &b.action)?,
        resource: narrower(&a.resource, &b.resource)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Vec<Capability> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_two_lists_have_in_common_is_what_both_allow() {
        let one = parsed(&["notes:read:team", "notes:write:team/a", "mail:send:/"]);
        for (other, left) in [
            (vec!["notes:read:team/a"], vec!["notes:read:team/a"]),
            (vec!["notes:/:/"], vec!["notes:read:team", "notes:write:team/a"]),
            (vec!["notes:read/all:/"], vec!["notes:read/all:team"]),
            (vec!["notes:read:teams"], vec![]),
            (vec!["mail:send:x", "mail:send:y"], vec!["mail:send:x", "mail:send:y"]),
            (vec![], vec![]),
        ] {
            assert_eq!(common(&one, &parsed(&other)), Some(parsed(&left)), "{other:?}");
        }
        let many: Vec<String> = (0..100).map(|n| format!("mail:send:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(common(&one, &parsed(&many)), None);
    }
}
