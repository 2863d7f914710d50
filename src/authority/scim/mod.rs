//! SCIM: an identity provider says which users and groups there are, and who is no more. `spec/scim.md`.
//!
//! Whoever is said to be inactive, deleted, or out of a group, is answered for only once no edge serves what that ended.

use serde_json::{Map, Value, json};

use crate::audit::{Actor, Change};
use crate::authority::error::AuthorityError;
use crate::authority::issue::IssueError;
use crate::authority::{Authority, change_with};
use crate::clock::Timestamp;
use crate::config::identity::{DirectoryTerms, ScimUser};
use crate::id::{ProviderName, ResourceId, ScimTokenId, Subject, TenantName};
use crate::identity::scim::{Fault, Model, Refused, Resource};
use crate::store::{Ended, Membership, StoreError, UserStanding};

mod groups;
mod search;
pub mod tokens;
mod users;

pub use search::{Found, RESULTS_MAX, Search};

/// Where clients find the directory, below the issuer.
pub const BASE: &str = "/scim/v2";
/// How often a change is tried anew because another one came between.
const ATTEMPTS: usize = 8;

/// A client that provisions a provider's directory. Only [`Authority::scim_client`] makes one.
#[derive(Clone, Debug)]
pub struct Provisioner {
    provider: ProviderName,
    tenant: TenantName,
    user_prefix: Box<str>,
    user_by: ScimUser,
    token: ScimTokenId,
}

/// Why a SCIM request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// It is wrong.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No such resource.
    #[error("there is no such resource: it may have been deleted")]
    NotFound,
    /// Another one has that name.
    #[error("another user has that `userName`, or is called so by the provider's tokens")]
    Taken,
    /// The resource is another version than the client thinks.
    #[error("the resource was changed since: read it again")]
    Version,
    /// Others change the resource all the time.
    #[error("the resource is being changed by others all the time: try again")]
    Busy,
    /// Anything below.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl From<StoreError> for ScimError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Self::Taken,
            other => Self::Authority(other.into()),
        }
    }
}

/// A resource as it stands, with what came of a change.
#[derive(Debug)]
pub struct Stored {
    /// The resource, whole.
    pub resource: Resource,
    /// Which version of it.
    pub version: u64,
    /// The entry of the revocation log whose receipt was waited for, if the change ended anything.
    pub ended: Option<u64>,
}

/// On which versions of a resource a request is meant (RFC 9110 section 13.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// Whatever stands.
    #[default]
    Any,
    /// One of these.
    These(Vec<u64>),
}

impl Versions {
    fn check(&self, version: u64) -> Result<(), ScimError> {
        match self {
            Self::These(versions) if !versions.contains(&version) => Err(ScimError::Version),
            Self::Any | Self::These(_) => Ok(()),
        }
    }
}

/// What a client wants changed.
#[derive(Debug)]
pub enum Edit {
    /// The whole resource.
    Replace(Resource),
    /// Parts of it.
    Patch(Resource),
}

impl Provisioner {
    fn new(terms: DirectoryTerms<'_>, token: ScimTokenId) -> Self {
        Self {
            provider: terms.provider.clone(),
            tenant: terms.tenant.clone(),
            user_prefix: terms.user_prefix.into(),
            user_by: terms.scim_user,
            token,
        }
    }

    /// Whose directory it provisions.
    pub(super) const fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// An audited change by this client.
    fn event(&self, action: &str, object: impl ToString, id: ResourceId, more: Value) -> Change {
        let mut detail = Map::from_iter([
            ("signal".to_owned(), json!("scim")),
            ("id".to_owned(), json!(id)),
            ("token".to_owned(), json!(self.token)),
        ]);
        detail.extend(more.as_object().cloned().unwrap_or_default());
        change_with(Actor::Provider(self.provider.clone()), action, object, Some(&self.tenant), Value::Object(detail))
    }

    /// The user whom the provider's tokens call `name`.
    fn subject(&self, name: &str) -> Result<Subject, Refused> {
        format!("{}{name}", self.user_prefix).parse().map_err(|_| {
            let attribute = self.user_by.attribute();
            Refused::new(
                Fault::InvalidValue,
                format!("`{attribute}` must be 1 to 255 bytes without control characters"),
            )
        })
    }
}

impl ScimUser {
    pub(super) const fn attribute(self) -> &'static str {
        match self {
            Self::UserName => "userName",
            Self::ExternalId => "externalId",
        }
    }

    /// A name for comparison: `userName` knows no case (RFC 7643 section 4.1.1), `externalId` does.
    fn key(self, name: &str) -> Box<str> {
        match self {
            Self::UserName => name.to_lowercase().into(),
            Self::ExternalId => name.into(),
        }
    }
}

impl Authority {
    /// What a user of a provider is by its directory. A provider without one blocks nobody and adds no groups.
    pub(super) async fn standing(&self, provider: &ProviderName, user: &Subject) -> Result<UserStanding, IssueError> {
        let Some(terms) = self.terms.directory(provider) else { return Ok(UserStanding::default()) };
        // A name without the prefix is none that the provider gave.
        let Some(name) = user.as_str().strip_prefix(terms.user_prefix) else { return Ok(UserStanding::default()) };
        Ok(self.store.standing(provider, name, &terms.scim_user.key(name)).await?)
    }

    /// Waits for the receipt of what a change ended; answers its place in the log.
    async fn settled(&self, ended: Ended) -> Result<Option<u64>, AuthorityError> {
        match ended {
            Ended::Nothing => Ok(None),
            Ended::Now(entry) => self.receipt_for(&entry).await.map(|_| Some(entry.seq)),
            Ended::Before(seq) => match self.receipt(seq).await {
                Ok(Some(_)) => Ok(Some(seq)),
                Ok(None) => {
                    let source = StoreError::Unavailable("an edge has neither acknowledged nor lost its lease".into());
                    Err(AuthorityError::Unproven { seq, source })
                }
                // So long ago that it left the log: nothing of it can be alive.
                Err(AuthorityError::Store(StoreError::NotFound(_))) => Ok(Some(seq)),
                Err(error) => Err(error),
            },
        }
    }

    /// For whoever deletes what is deleted: the receipt of the first time is waited for.
    async fn deleted_before(&self, by: &Provisioner, id: ResourceId) -> Result<ScimError, ScimError> {
        if let Some(seq) = self.store.gone(&by.provider, id).await? {
            self.settled(Ended::Before(seq)).await?;
        }
        Ok(ScimError::NotFound)
    }

    fn location(&self, model: &Model, id: ResourceId) -> String {
        format!("{}{BASE}{}/{id}", self.issuer(), model.endpoint)
    }

    /// Adds what the server says of a resource.
    fn described(
        &self,
        model: &Model,
        id: ResourceId,
        version: u64,
        (created, updated): (Timestamp, Timestamp),
        resource: &mut Resource,
    ) {
        resource.insert("schemas".into(), model.schemas_of(resource));
        resource.insert("id".into(), json!(id));
        let meta = json!({
            "resourceType": model.name, "created": created.to_string(), "lastModified": updated.to_string(),
            "location": self.location(model, id), "version": etag(version),
        });
        resource.insert("meta".into(), meta);
    }
}

/// A version as an entity tag.
pub fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// What of the memberships concerns one resource.
fn of<'a>(
    memberships: &'a [Membership],
    is: impl Fn(&Membership) -> bool + 'a,
) -> impl Iterator<Item = &'a Membership> + 'a {
    memberships.iter().filter(move |membership| is(membership))
}
