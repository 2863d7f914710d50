//! Durable state. One method is one transaction, or a part of one that is all or nothing, and every write carries its audit event.
//!
//! Two back ends, one conformance suite (`tests/it/store`). A sentence in a method's documentation is a test there.
//! The operations stand in `sql`, once; `sqlite` and `postgres` run statements.

use std::sync::Arc;

use async_trait::async_trait;

pub mod agent_keys;
pub mod agents;
pub mod approvals;
pub mod audit;
pub mod catalog;
pub mod credentials;
pub mod directory;
pub mod edges;
pub mod enrolment;
pub mod installation;
pub mod limits;
pub mod policy;
pub mod reach;
pub mod receipts;
pub mod relying;
pub mod revocations;
pub mod sessions;
pub mod stops;
pub mod url;
pub mod users;
pub mod witnessed;
pub mod workloads;

mod database;
mod hint;
mod migrations;
mod postgres;
mod sql;
mod sqlite;

use database::Database;
use hint::Hint;
use sql::SqlStore;
use url::Place;

pub use agent_keys::{AgentKeys, KeyBefore, KeyRotation, Rotated};
pub use agents::{Agent, AgentStatus, Agents, IssueContext, IssuedWrit, Recorded, SingleUse};
pub use approvals::{
    ApprovalQuota, ApprovalRecord, ApprovalSummary, Approvals, ApproverLogin, AskedSummary, Decided, KeptAsked, Listed,
    NewApproval, Put, Redemption, Ruling,
};
pub use audit::{AuditLog, AuditQuery};
pub use catalog::{CatalogStore, StoredCatalog};
pub use credentials::{CredentialKey, CredentialRecord, Credentials};
pub use directory::{
    Directories, DirectoryGroup, DirectoryUser, Ended, Find, GroupChange, Membership, ScimToken, UserChange,
    UserStanding,
};
pub use edges::{Edge, Edges, JoinTicket, Registered};
pub use enrolment::{EnrolmentCode, EnrolmentGrant, EnrolmentNames, Enrolments};
pub use installation::{Installation, Installations, Operator, OperatorRemoval, RootKeyRecord};
pub use limits::{CountedSoFar, Drawing, LimitCounts, LimitSets};
pub use policy::{NewPolicies, Policies, StoredPolicies};
pub use reach::{Reach, Reaching};
pub use receipts::{Acknowledged, Call, Owed, OwedEdge, Receipts, Standing};
pub use relying::{RelyingService, RelyingServices};
pub use revocations::{Heads, NewRevocation, Revocations, ServerId};
pub use sessions::{OperatorPerson, OperatorSession, SessionCode, Sessions};
pub use stops::{Lift, Stop, Stops, SuspendedUser};
pub use url::StoreUrl;
pub use users::Users;
pub use witnessed::{WitnessedRevocation, Witnesses};
pub use workloads::{AgentWorkload, Workloads};

/// Everything an authority keeps.
pub trait Store:
    Health
    + Installations
    + Agents
    + AgentKeys
    + Approvals
    + Workloads
    + Enrolments
    + CatalogStore
    + Policies
    + Credentials
    + Revocations
    + Witnesses
    + Stops
    + Sessions
    + RelyingServices
    + Reaching
    + Receipts
    + LimitSets
    + LimitCounts
    + Edges
    + AuditLog
    + Users
    + Directories
    + 'static
{
}

impl Store for SqlStore {}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Safe to retry: nothing was written.
    #[error("the database is unreachable: check `store.url` and that it runs")]
    Unavailable(#[source] BoxError),
    /// A thing of that name or key exists.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// No such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Something that it was checked with has changed meanwhile: nothing was written. Check and try again.
    #[error("another change came first: try again")]
    Overtaken,
    /// A stored row does not parse. A bug or tampering; never the caller's fault.
    #[error("corrupt row in {table}")]
    Corrupt {
        /// Where.
        table: &'static str,
    },
    /// The schema was written by a newer version of writ.
    #[error("the database was migrated by a newer writ: run that version, or restore a backup")]
    TooNew,
    /// The schema is older than this version of writ, and the role in `store.url` may not change it.
    #[error("the database has an older schema: run `writ migrate` with the URL of the role that owns it")]
    TooOld,
    /// The connection broke during the commit, and nothing could be asked afterwards: written, or not.
    #[error("the database went away during the commit: look whether it happened before you repeat it")]
    Unknown(#[source] BoxError),
    /// Anything else the database said.
    #[error("the database refused: {0}")]
    Failed(#[source] BoxError),
}

/// An error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens the store at `url`. Brings its schema up to date where the role may, and refuses one of another version.
pub async fn open(url: &StoreUrl) -> Result<Arc<dyn Store>, StoreError> {
    let hint = Arc::new(Hint::new());
    let database: Box<dyn Database> = match url.place() {
        Place::Sqlite(path) => Box::new(sqlite::Sqlite::open(path).await?),
        Place::Postgres(url) => Box::new(postgres::Postgres::open(url, Arc::clone(&hint)).await?),
    };
    Ok(Arc::new(SqlStore::new(database, hint)))
}

/// Brings the schema at `url` up to date, as the role that owns it (on Postgres: it may create the schema and roles).
///
/// For an authority whose own role may not: [`open`] then only checks the version.
pub async fn migrate(url: &StoreUrl) -> Result<(), StoreError> {
    match url.place() {
        Place::Sqlite(path) => sqlite::Sqlite::open(path).await.map(drop),
        Place::Postgres(url) => postgres::migrate(url).await,
    }
}

/// Whether the store can serve.
#[async_trait]
pub trait Health: Send + Sync {
    /// Answers when a trivial query does.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Proves that this database is still the one that commits: [`Fence::Confirmed`] once its standbys have confirmed a
    /// commit that began after this call. A database that was replaced by one of them never answers.
    async fn fence(&self) -> Result<Fence, StoreError>;
}

/// What is known of a database's standbys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// A commit that began after the call was confirmed by the standbys that this server has to wait for.
    Confirmed(ServerId),
    /// It waits for no standby, so nothing can tell whether another one has taken over.
    Alone(ServerId),
}
