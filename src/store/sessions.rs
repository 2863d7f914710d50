//! Sessions of operators who signed in with an identity provider.

use std::time::Duration;

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Group, OperatorName, ProviderName, SessionId, Subject, TenantName};
use crate::policy::Role;
use crate::store::StoreError;

/// A session, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSession {
    /// Names it.
    pub id: SessionId,
    /// Whose it is.
    pub name: OperatorName,
    /// What they may do.
    pub role: Role,
    /// The groups they were in when it began.
    pub groups: Vec<Group>,
    /// Who vouched for them.
    pub provider: ProviderName,
    /// The tenant whose users that provider knows.
    pub tenant: TenantName,
    /// The user there.
    pub subject: Subject,
    /// The provider's own session, if it named one.
    pub session: Option<Subject>,
    /// The revocation log's head before the provider was asked: what ended the user or that session later ends this one.
    pub epoch: u64,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub used: Timestamp,
    /// The last moment that it counts.
    pub expires: Timestamp,
}

/// What a session is redeemed for.
#[derive(Clone, Debug)]
pub struct SessionCode {
    /// SHA-256 of the code.
    pub sha256: [u8; 32],
    /// SHA-256 of the verifier that must come with it.
    pub challenge: [u8; 32],
    /// The last moment that it can be redeemed.
    pub until: Timestamp,
}

/// Somebody who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPerson {
    /// The name.
    pub name: OperatorName,
    /// The role they had last.
    pub role: Role,
    /// Since when they have it: the first sign-in with it after one with another.
    pub since: Timestamp,
}

/// Sessions.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Keeps a session that counts once its code is redeemed, and drops those that are over. Leaves no audit record.
    async fn offer_session(&self, session: &OperatorSession, code: &SessionCode) -> Result<(), StoreError>;

    /// The session that a code is for, if the verifier fits and it is in time at `at`. A code that is shown with another verifier
    /// counts no longer.
    async fn offered_session(
        &self,
        code_sha256: &[u8; 32],
        challenge: &[u8; 32],
        at: Timestamp,
    ) -> Result<Option<OperatorSession>, StoreError>;

    /// Redeems a code: the session counts, by its secret. False, and nothing changed, if it was redeemed before.
    async fn begin_session(
        &self,
        session: &OperatorSession,
        code_sha256: &[u8; 32],
        secret_sha256: &[u8; 32],
        event: &Change,
    ) -> Result<bool, StoreError>;

    /// The session with this secret, if it counts at `at`: it is not over, was used within `idle`, and neither the user nor the
    /// provider's session was ended since its epoch, nor is the user suspended. Sees everything that was committed before the call.
    async fn session_by_secret(
        &self,
        secret_sha256: &[u8; 32],
        idle: Duration,
        at: Timestamp,
    ) -> Result<Option<OperatorSession>, StoreError>;

    /// Notes that a session was used. Leaves no audit record.
    async fn note_session_used(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// The sessions that are not over at `at`, by name, the latest first. Those that something else ended are among them.
    async fn sessions(&self, at: Timestamp) -> Result<Vec<OperatorSession>, StoreError>;

    /// Ends a session. `NotFound` if there is none of that id.
    async fn end_session(&self, id: SessionId, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// Everybody who ever signed in, by name.
    async fn operator_people(&self) -> Result<Vec<OperatorPerson>, StoreError>;
}
