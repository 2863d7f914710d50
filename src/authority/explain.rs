//! What a revocation would do, before it is done. Changes nothing, and is not recorded.

use crate::authority::revoke::Named;
use crate::authority::{Authority, AuthorityError};
use crate::id::{BlockId, ServiceName};
use crate::revocation::Target;
use crate::store::Reach;

/// What a revocation would do.
#[derive(Debug)]
pub struct Explanation {
    /// What would be revoked.
    pub target: Target,
    /// The live writs that are known, and whose they are.
    pub reach: Reach,
    /// Where in the chain of the token that was shown the block stands: 0 for its authority block.
    pub position: Option<usize>,
    /// What would happen besides.
    pub also: Vec<&'static str>,
    /// What would not die, or cannot be counted.
    pub but: Vec<&'static str>,
}

const OFFLINE: &str = "hops are made offline: how many hang below, only their holders know, and all of them die";

impl Authority {
    /// What revoking would do.
    pub async fn explain(&self, what: &Named) -> Result<Explanation, AuthorityError> {
        let (target, _) = self.target(what).await?;
        let services = self.services_with(&target).await?;
        let mut reach = self.store.reach(&target, &services, self.now()).await?;
        let position = self.position_in(what, &target).await?;
        // A token that is authentic was shown: it is known from now on.
        reach.known |= position.is_some();
        let (also, but) = consequences(&target, position, &reach);
        Ok(Explanation { target, reach, position, also, but })
    }

    /// The services that take a credential, where that is the target.
    async fn services_with(&self, target: &Target) -> Result<Vec<ServiceName>, AuthorityError> {
        let Target::Credential(tenant, name) = target else { return Ok(Vec::new()) };
        let services = self.refreshed().await?.services_of(tenant).into_iter();
        Ok(services
            .filter(|service| service.credential() == Some(name))
            .map(|service| service.name().clone())
            .collect())
    }

    async fn position_in(&self, what: &Named, target: &Target) -> Result<Option<usize>, AuthorityError> {
        let (Named::Token { token, .. }, Target::Block(block)) = (what, target) else { return Ok(None) };
        let ids: Vec<BlockId> = self.witness(token).await?.block_ids().collect();
        Ok(ids.iter().position(|id| id == block))
    }
}

/// What else would happen, and what would not.
fn consequences(target: &Target, position: Option<usize>, reach: &Reach) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut also, mut but) = (Vec::new(), Vec::new());
    let again = "what is issued after the entry lives";
    match target {
        Target::Block(_) => {
            also.push(OFFLINE);
            match position {
                Some(0) => {}
                Some(_) => but.push("the blocks above it live, and so does what hangs beside it"),
                None if reach.writs == 0 => {
                    but.push("if it is a hop, the writ above it lives, and so does what hangs beside it");
                }
                None => {}
            }
        }
        Target::Holder(_) => {
            also.push("every chain with this key anywhere dies, offline hops to it and what hangs below included");
            but.push("the hops above it live, and so does what hangs beside it");
            but.push("the agent that has this key stays registered: disable it, or it is issued writs that are dead");
        }
        Target::Subject(..) => {
            also.push("the user is suspended: nothing is issued for them until `writ user reactivate`");
            also.push(OFFLINE);
        }
        Target::Session(..) | Target::Acting(..) | Target::Agent(..) | Target::Tenant(_) => {
            also.push(OFFLINE);
            but.push(again);
        }
        Target::Grant(_) => {
            also.push(OFFLINE);
            but.push("the grant stays, and what is issued after the entry lives: `writ grant remove` ends both");
        }
        Target::Service(..) => {
            also.push("open streams to the service are cut");
            but.push("the writs live on at their other services");
            but.push(again);
        }
        Target::Credential(..) => {
            also.push("every stored version is lent no more, and edges drop what they were lent");
            but.push("no writ dies: once a new version is stored, these writs use it");
        }
        Target::Everything => {
            also.push("nothing is issued and nothing is lent until another operator lifts the stop");
            also.push(OFFLINE);
        }
    }
    if reach.unknown > 0 {
        but.push("some writs were issued by an older version of writ, which did not keep holder, session and services");
    }
    (also, but)
}
