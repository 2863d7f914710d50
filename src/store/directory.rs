//! The directory: users and groups as identity providers provision them, and whom that keeps from being issued anything.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Group, ProviderName, ResourceId, ScimTokenId, TenantName};
use crate::revocation::{Entry, Target};
use crate::store::StoreError;

/// How many users who leave a group end by themselves. Of more, the grants to the group end for all.
pub const LEAVERS_MAX: usize = 64;
/// How many users' writs end by themselves when a group that policies ask for changes. Of more, the tenant's end.
pub const ENDS_MAX: usize = 1024;

/// The secret of a client that provisions a provider's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimToken {
    /// Names it.
    pub id: ScimTokenId,
    /// Whose directory.
    pub provider: ProviderName,
    /// SHA-256 of the secret (256 random bits, so a plain hash suffices).
    pub secret_sha256: [u8; 32],
    /// When it was added.
    pub created: Timestamp,
}

/// A user of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUser {
    /// Whose directory.
    pub provider: ProviderName,
    /// Names the user for the client.
    pub id: ResourceId,
    /// Its place in lists: given by the store.
    pub position: u64,
    /// What the provider's tokens call the user, without the provider's prefix.
    pub name: Box<str>,
    /// The same for comparison; unique in the directory.
    pub name_key: Box<str>,
    /// `userName`.
    pub user_name: Box<str>,
    /// The same in lower case; unique in the directory.
    pub user_name_key: Box<str>,
    /// `externalId`.
    pub external_id: Option<Box<str>>,
    /// Whether the user may be acted for: what the client said last of it.
    pub active: bool,
    /// What else the client said: the text of a JSON object.
    pub attributes: Box<str>,
    /// 1, 2, 3: grows with every change.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

/// A group of a directory, without its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGroup {
    /// Whose directory.
    pub provider: ProviderName,
    /// Names the group for the client.
    pub id: ResourceId,
    /// Its place in lists: given by the store.
    pub position: u64,
    /// `displayName`: the name that grants use. Several groups may share it.
    pub name: Group,
    /// `externalId`.
    pub external_id: Option<Box<str>>,
    /// 1, 2, 3: grows with every change.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// The last entry of the revocation log that a change of it made.
    pub ended: Option<u64>,
}

impl DirectoryGroup {
    /// The name for comparison: SCIM knows no case in it.
    pub fn name_key(&self) -> String {
        self.name.as_str().to_lowercase()
    }
}

/// That a user is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: ResourceId,
    /// Its name.
    pub group_name: Box<str>,
    /// The user.
    pub user: ResourceId,
}

/// What is looked for in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find<'a> {
    /// The one with this id.
    Id(ResourceId),
    /// Those with this `userName`, or this group name, in lower case.
    Name(&'a str),
    /// Those with this `externalId`.
    ExternalId(&'a str),
    /// Those behind this place in lists.
    After(u64),
    /// All but so many, in the order of lists.
    Skip(u64),
}

/// What a user of a provider is by its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserStanding {
    /// Whether the user is inactive or deleted, or the name is another one's, spelled otherwise.
    pub blocked: bool,
    /// The groups that the user is in.
    pub groups: Vec<Group>,
}

/// How a user is to stand.
#[derive(Clone, Debug)]
pub struct UserChange<'a> {
    /// The user, with the new version: 1 adds it; otherwise the version before must stand.
    pub user: &'a DirectoryUser,
    /// Addresses by which the user can be found: `email:…`, `phone:…`.
    pub addresses: &'a [Box<str>],
    /// Whether the user is removed, whatever else is said here.
    pub removed: bool,
    /// The names that get nothing from now on, each with its key, and what ends with it.
    pub blocks: &'a [(Box<str>, Box<str>, Target)],
    /// The key of a name that is blocked no longer. Nothing lives again.
    pub lifts: Option<&'a str>,
}

/// How a group is to stand.
#[derive(Clone, Debug)]
pub struct GroupChange<'a> {
    /// The group, with the new version: 1 adds it; otherwise the version before must stand.
    pub group: &'a DirectoryGroup,
    /// The tenant whose grants it can carry.
    pub tenant: &'a TenantName,
    /// What stands before the names of the provider's users.
    pub user_prefix: &'a str,
    /// Whether the group is removed, whatever else is said here.
    pub removed: bool,
    /// Users who come in.
    pub joining: &'a [ResourceId],
    /// Users who leave.
    pub leaving: &'a [ResourceId],
    /// Groups by which users of the provider are operators.
    pub roles: &'a [Group],
}

/// What a change of a directory ended, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing.
    Nothing,
    /// The last entry of the log that it made.
    Now(Box<Entry>),
    /// What it would have ended was ended by this entry before.
    Before(u64),
}

/// Directories.
#[async_trait]
pub trait Directories: Send + Sync {
    /// Adds the secret of a client.
    async fn add_scim_token(&self, token: &ScimToken, event: &Change) -> Result<(), StoreError>;

    /// The secrets of all clients, by provider and age.
    async fn scim_tokens(&self) -> Result<Vec<ScimToken>, StoreError>;

    /// The client's secret with this hash, if any.
    async fn scim_token_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<ScimToken>, StoreError>;

    /// Removes the secret of a client. `NotFound` if there is none of that id.
    async fn remove_scim_token(&self, id: ScimTokenId, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// Changes a user, ends and blocks what the change says, in one transaction; what is blocked already is ended already, and
    /// gets no second entry. `None`, and nothing changed, if another version stands. A name that another user has is a conflict.
    ///
    /// The audit record names every target that ended.
    async fn change_user(
        &self,
        change: &UserChange<'_>,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Option<Ended>, StoreError>;

    /// Changes a group and its members, in one transaction. `None`, and nothing changed, if another version stands. Users who do
    /// not exist do not join.
    ///
    /// For a user who is in no group of the former name any more ends what the agents have for them that hold a grant to that
    /// name (`acting:`); of more than [`LEAVERS_MAX`] such ends, the grants end instead (`grant:`). Whoever leaves a name of `roles` loses
    /// every login (`subject:`), and with it the operator's session.
    ///
    /// Where the tenant's policies ask for a group, the writs end (`subject:`) of whoever leaves it, and, where a forbid asks, of
    /// whoever joins it: they say otherwise of the user. Of more than [`ENDS_MAX`] users, the tenant's end (`tenant:`).
    async fn change_group(
        &self,
        change: &GroupChange<'_>,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Option<Ended>, StoreError>;

    /// Users of a directory in the order of lists, at most `limit`.
    async fn directory_users(
        &self,
        provider: &ProviderName,
        find: &Find<'_>,
        limit: u32,
    ) -> Result<Vec<DirectoryUser>, StoreError>;

    /// Groups of a directory in the order of lists, at most `limit`.
    async fn directory_groups(
        &self,
        provider: &ProviderName,
        find: &Find<'_>,
        limit: u32,
    ) -> Result<Vec<DirectoryGroup>, StoreError>;

    /// How many users and how many groups a directory has.
    async fn directory_size(&self, provider: &ProviderName) -> Result<(u64, u64), StoreError>;

    /// The memberships of the users at `first` to `last` in lists, by group.
    async fn memberships_of_users(
        &self,
        provider: &ProviderName,
        first: u64,
        last: u64,
    ) -> Result<Vec<Membership>, StoreError>;

    /// The memberships in the groups at `first` to `last` in lists, by user.
    async fn memberships_of_groups(
        &self,
        provider: &ProviderName,
        first: u64,
        last: u64,
    ) -> Result<Vec<Membership>, StoreError>;

    /// What the user is whom the provider's tokens call `name`, `key` for comparison. Sees everything that was committed before
    /// the call.
    async fn standing(&self, provider: &ProviderName, name: &str, key: &str) -> Result<UserStanding, StoreError>;

    /// What the provider's tokens call the users with this address, at most `limit`.
    async fn users_at(&self, provider: &ProviderName, address: &str, limit: u32) -> Result<Vec<Box<str>>, StoreError>;

    /// Those of `users` that the directory has, in no order.
    async fn known_users(&self, provider: &ProviderName, users: &[ResourceId]) -> Result<Vec<ResourceId>, StoreError>;

    /// The entry by which a user or a group ended that was deleted.
    async fn gone(&self, provider: &ProviderName, id: ResourceId) -> Result<Option<u64>, StoreError>;
}
