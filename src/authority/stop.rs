//! What revocations keep from being issued, and who may allow it again: suspended users, and the stop of everything.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::{Authority, AuthorityError, change, change_with};
use crate::id::{OperatorName, Subject, TenantName};
use crate::policy::Role;
use crate::store::{Lift, Stop, SuspendedUser};

/// The stop, and who could lift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopStatus {
    /// The stop.
    pub stop: Stop,
    /// The operators who may lift it. With none, only the owner of the database can: `spec/store.md`.
    pub may_lift: Vec<OperatorName>,
}

impl Authority {
    /// A tenant's suspended users.
    pub async fn suspended_users(&self, tenant: &TenantName) -> Result<Vec<SuspendedUser>, AuthorityError> {
        Ok(self.store.suspended_users(tenant).await?)
    }

    /// Lets a user be issued writs again. The user's old writs stay dead.
    pub async fn reactivate_user(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        subject: &Subject,
    ) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "user.reactivate", subject, Some(tenant));
        Ok(self.store.reactivate_user(tenant, subject, self.now(), &event).await?)
    }

    /// Whether everything is stopped, and who could lift that.
    pub async fn stop_status(&self) -> Result<Option<StopStatus>, AuthorityError> {
        let Some(stop) = self.store.stop().await? else { return Ok(None) };
        let mut operators = self.store.operators().await?;
        operators.retain(|operator| {
            let same_person = operator.person.is_some() && operator.person == stop.person;
            operator.role == Role::Admin
                && operator.created <= stop.at
                && stop.by.as_ref() != Some(&operator.name)
                && !same_person
        });
        let mut people = self.store.operator_people().await?;
        people.retain(|person| {
            let same_person = stop.person.as_ref() == Some(&person.name);
            person.role == Role::Admin && person.since <= stop.at && !same_person
        });
        let names = operators.into_iter().map(|operator| operator.name);
        Ok(Some(StopStatus { may_lift: names.chain(people.into_iter().map(|person| person.name)).collect(), stop }))
    }

    /// Lifts the stop. Nothing that was revoked lives again: agents ask for new writs.
    pub async fn lift_stop(&self, by: &OperatorName) -> Result<(), AuthorityError> {
        let stop = self.store.stop().await?;
        let detail = json!({ "stop": stop.as_ref().map(|stop| stop.seq), "stopped_by": stop.and_then(|stop| stop.by) });
        let event = change_with(Actor::Operator(by.clone()), "stop.lift", "everything", None, detail);
        match self.store.lift_stop(by, self.now(), &event).await? {
            Lift::Lifted => Ok(()),
            Lift::SameOperator => Err(AuthorityError::SecondOperator),
            Lift::AddedSince => Err(AuthorityError::OperatorTooNew),
        }
    }
}
