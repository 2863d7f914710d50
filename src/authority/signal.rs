//! Kill signals: what somebody who may say so says is over is ended once, with one audit record, and a receipt.

use serde_json::{Map, Value};

use crate::audit::{Actor, Change};
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, change};
use crate::clock::Timestamp;
use crate::id::{ProviderName, TenantName};
use crate::identity::{Ended, IdentityError, Logout};
use crate::revocation::{Entry, Target};
use crate::store::NewRevocation;

/// What is said to be over, and by whom.
#[derive(Debug)]
pub(super) struct Signal {
    /// Who says so. That it may was checked before.
    pub(super) by: Actor,
    /// By which signal, for the audit log: `backchannel_logout`.
    pub(super) how: &'static str,
    /// Whose users are meant.
    pub(super) tenant: TenantName,
    /// What is over. It need not be known here.
    pub(super) ended: Ended,
    /// Further facts for the audit log. Nothing personal beyond the user's name.
    pub(super) detail: Map<String, Value>,
    /// The message that said so.
    pub(super) message: Message,
}

/// A message that counts once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// Names it in the whole installation: a digest.
    pub(super) id: [u8; 32],
    /// Until when it could come again.
    pub(super) until: Timestamp,
}

/// What came of a signal.
#[derive(Debug)]
pub(super) enum Signalled {
    /// No edge serves it now.
    Ended(ReceiptText),
    /// The message came before; no edge serves what it ended then. Nothing was ended again.
    Before,
}

impl Authority {
    /// Ends what a signal says is over, and returns once no edge serves it.
    ///
    /// The entry, its audit record and the used name of the message are one transaction. A message that comes again because
    /// its first answer was lost waits for the receipt of what it ended.
    pub(super) async fn signalled(&self, signal: Signal) -> Result<Signalled, AuthorityError> {
        let Signal { by, how, tenant, ended, detail, message } = signal;
        let (target, suspends) = match ended {
            Ended::Session(session) => (Target::Session(tenant.clone(), session), false),
            Ended::Logins(user) => (Target::Subject(tenant.clone(), user), false),
            Ended::User(user) => (Target::Subject(tenant.clone(), user), true),
        };
        let event = said(by, "revocation.add", &target, &tenant, how, detail);
        let revocation =
            NewRevocation { target, forget_after: self.forget_after(), at: self.now(), idempotency_key: None };
        let once = Some((&message.id, message.until));
        let entry = if suspends {
            self.store.suspend_user(&revocation, once, &event).await?
        } else {
            self.store.end_logins(&revocation, once, &event).await?
        };
        match entry {
            Some(entry) => self.receipt_for(&entry).await.map(Signalled::Ended),
            None => self.ended_before(&revocation.target).await.map(|()| Signalled::Before),
        }
    }

    /// Records a signal that ends nothing; a message that came before is not recorded again.
    pub(super) async fn record_signal(
        &self,
        by: Actor,
        how: &'static str,
        tenant: &TenantName,
        detail: Map<String, Value>,
        message: Message,
    ) -> Result<(), AuthorityError> {
        let event = said(by, "signal.record", how, tenant, how, detail);
        self.store.record_said((&message.id, message.until), self.now(), &event).await?;
        Ok(())
    }

    /// Waits until no edge serves what the latest entry for `target` ended: that proves every earlier one. What has left the
    /// log is over.
    async fn ended_before(&self, target: &Target) -> Result<(), AuthorityError> {
        let latest: Vec<Entry> = self.store.latest_revocations(std::slice::from_ref(target)).await?;
        match latest.first() {
            Some(entry) => self.receipt_for(entry).await.map(drop),
            None => Ok(()),
        }
    }

    /// Ends what a provider's logout token says has ended; `None` if no provider has that name. A token that came before is
    /// refused, and changes nothing.
    pub async fn logout(&self, provider: &ProviderName, token: &str) -> Option<Result<ReceiptText, AuthorityError>> {
        let logout = self.providers.logout(provider, token, self.now()).await?;
        Some(self.logged_out(logout).await)
    }

    async fn logged_out(&self, logout: Result<Logout, IdentityError>) -> Result<ReceiptText, AuthorityError> {
        let Logout { provider, tenant, ended, id, until } = logout?;
        let signal = Signal {
            by: Actor::Provider(provider),
            how: "backchannel_logout",
            tenant,
            ended,
            detail: Map::new(),
            message: Message { id, until },
        };
        match self.signalled(signal).await? {
            Signalled::Ended(receipt) => Ok(receipt),
            Signalled::Before => Err(IdentityError::seen_before().into()),
        }
    }
}

fn said(
    by: Actor,
    action: &str,
    object: impl ToString,
    tenant: &TenantName,
    how: &'static str,
    mut detail: Map<String, Value>,
) -> Change {
    detail.insert("signal".into(), how.into());
    Change { detail, ..change(by, action, object, Some(tenant)) }
}
