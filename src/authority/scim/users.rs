//! Users of a directory. `active: false` and a deletion end everything that was issued for a user, and keep it so.

use serde_json::{Value, json};

use super::{ATTEMPTS, Edit, Provisioner, ScimError, Stored, Versions, of};
use crate::authority::{Authority, random};
use crate::clock::Timestamp;
use crate::id::ResourceId;
use crate::identity::scim::{Fault, GROUP, Patch, Refused, Resource, USER, accepted, address};
use crate::revocation::Target;
use crate::store::{DirectoryUser, Find, Membership, StoreError, UserChange};

impl Authority {
    /// Adds a user. Without `active` the user may be acted for.
    pub async fn scim_add_user(&self, by: &Provisioner, sent: &Resource) -> Result<Stored, ScimError> {
        let attributes = accepted(&USER, sent)?;
        let user =
            by.user(None, ResourceId::from_bytes(random().map_err(ScimError::Authority)?), attributes, self.now())?;
        let stored = self.put_user(by, None, user).await?;
        // The id was drawn just now: nobody else can have written it.
        stored.ok_or(ScimError::Busy)
    }

    /// A user.
    pub async fn scim_user(&self, by: &Provisioner, id: ResourceId) -> Result<Stored, ScimError> {
        let user = self.user_of(by, id).await?.ok_or(ScimError::NotFound)?;
        self.shown_user(&user).await
    }

    /// Changes a user.
    pub async fn scim_change_user(
        &self,
        by: &Provisioner,
        id: ResourceId,
        edit: &Edit,
        versions: &Versions,
    ) -> Result<Stored, ScimError> {
        for _ in 0..ATTEMPTS {
            let before = self.user_of(by, id).await?.ok_or(ScimError::NotFound)?;
            versions.check(before.version)?;
            let attributes = match edit {
                Edit::Replace(sent) => keep_inactive(&before, accepted(&USER, sent)?),
                Edit::Patch(sent) => Patch::read(&USER, sent)?.applied(attributes(&before)?)?,
            };
            let user = by.user(Some(&before), id, attributes, self.now())?;
            if let Some(stored) = self.put_user(by, Some(&before), user).await? {
                return Ok(stored);
            }
        }
        Err(ScimError::Busy)
    }

    /// Deletes a user. The name stays blocked until there is a user of that name again.
    pub async fn scim_delete_user(
        &self,
        by: &Provisioner,
        id: ResourceId,
        versions: &Versions,
    ) -> Result<Option<u64>, ScimError> {
        for _ in 0..ATTEMPTS {
            let Some(user) = self.user_of(by, id).await? else { return Err(self.deleted_before(by, id).await?) };
            versions.check(user.version)?;
            let subject = by.subject(&user.name)?;
            let event = by.event("directory.user.remove", &subject, id, json!({}));
            let blocks = [(user.name.clone(), user.name_key.clone(), Target::Subject(by.tenant.clone(), subject))];
            let user = DirectoryUser { version: user.version + 1, ..user };
            let change = UserChange { user: &user, addresses: &[], removed: true, blocks: &blocks, lifts: None };
            if let Some(ended) = self.store.change_user(&change, self.forget_after(), self.now(), &event).await? {
                return Ok(self.settled(ended).await?);
            }
        }
        Err(ScimError::Busy)
    }

    /// Writes a user over `before`; `None` if that stands no longer.
    async fn put_user(
        &self,
        by: &Provisioner,
        before: Option<&DirectoryUser>,
        user: DirectoryUser,
    ) -> Result<Option<Stored>, ScimError> {
        let subject = by.subject(&user.name)?;
        let mut blocks = Vec::new();
        let target = |name: &str| Ok::<_, ScimError>(Target::Subject(by.tenant.clone(), by.subject(name)?));
        if let Some(before) = before.filter(|before| before.name != user.name) {
            blocks.push((before.name.clone(), before.name_key.clone(), target(&before.name)?));
        }
        if !user.active {
            blocks.push((user.name.clone(), user.name_key.clone(), target(&user.name)?));
        }
        let addresses = addresses(&attributes(&user)?);
        let lifts = user.active.then_some(&*user.name_key);
        let change = UserChange { user: &user, addresses: &addresses, removed: false, blocks: &blocks, lifts };
        let action = if before.is_none() { "directory.user.add" } else { "directory.user.change" };
        let event = by.event(action, &subject, user.id, json!({ "active": user.active }));
        let ended = self.store.change_user(&change, self.forget_after(), self.now(), &event).await;
        let Some(ended) = ended? else { return Ok(None) };
        let ended = self.settled(ended).await?;
        // Read again: the groups are not in the row.
        let stored = match self.user_of(by, user.id).await? {
            Some(user) => self.shown_user(&user).await?,
            None => Stored { resource: self.user_resource(&user, &[])?, version: user.version, ended: None },
        };
        Ok(Some(Stored { ended, ..stored }))
    }

    async fn user_of(&self, by: &Provisioner, id: ResourceId) -> Result<Option<DirectoryUser>, ScimError> {
        Ok(self.store.directory_users(&by.provider, &Find::Id(id), 1).await?.into_iter().next())
    }

    async fn shown_user(&self, user: &DirectoryUser) -> Result<Stored, ScimError> {
        let memberships = self.store.memberships_of_users(&user.provider, user.position, user.position).await?;
        Ok(Stored { resource: self.user_resource(user, &memberships)?, version: user.version, ended: None })
    }

    /// A user as clients see them.
    pub(super) fn user_resource(
        &self,
        user: &DirectoryUser,
        memberships: &[Membership],
    ) -> Result<Resource, ScimError> {
        let mut resource = attributes(user)?;
        self.described(&USER, user.id, user.version, (user.created, user.updated), &mut resource);
        let group = |membership: &Membership| {
            let location = self.location(&GROUP, membership.group);
            json!({ "value": membership.group, "$ref": location, "display": membership.group_name, "type": "direct" })
        };
        let id = user.id;
        let groups: Vec<_> = of(memberships, move |membership| membership.user == id).map(group).collect();
        if !groups.is_empty() {
            resource.insert("groups".into(), Value::Array(groups));
        }
        Ok(resource)
    }
}

impl Provisioner {
    /// The user that these attributes make, over `before`.
    fn user(
        &self,
        before: Option<&DirectoryUser>,
        id: ResourceId,
        attributes: Resource,
        now: Timestamp,
    ) -> Result<DirectoryUser, ScimError> {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str).map(Box::<str>::from);
        let required = |name: &str| {
            text(name).ok_or_else(|| {
                Refused::new(Fault::InvalidValue, format!("`{name}` is required: it says who the user is"))
            })
        };
        let (user_name, name) = (required("userName")?, required(self.user_by.attribute())?);
        self.subject(&name)?;
        let active = match attributes.get("active").and_then(Value::as_bool) {
            Some(active) => active,
            // Nobody comes back to life because something was left out.
            None => before.is_none_or(|before| before.active),
        };
        Ok(DirectoryUser {
            provider: self.provider.clone(),
            id,
            position: before.map_or(0, |before| before.position),
            name_key: self.user_by.key(&name),
            name,
            user_name_key: user_name.to_lowercase().into(),
            user_name,
            external_id: text("externalId"),
            active,
            version: before.map_or(1, |before| before.version + 1),
            created: before.map_or(now, |before| before.created),
            updated: now,
            attributes: Value::Object(attributes).to_string().into(),
        })
    }
}

/// A replacement that leaves out `active` asserts nothing of it (RFC 7644 section 3.5.1): who was inactive stays so.
fn keep_inactive(before: &DirectoryUser, mut sent: Resource) -> Resource {
    if !before.active {
        sent.entry("active").or_insert(Value::Bool(false));
    }
    sent
}

/// What the client said of a user.
pub(super) fn attributes(user: &DirectoryUser) -> Result<Resource, StoreError> {
    serde_json::from_str(&user.attributes).map_err(|_| StoreError::Corrupt { table: "directory_user" })
}

/// By what else the user can be named.
fn addresses(attributes: &Resource) -> Vec<Box<str>> {
    let values = |name: &str| {
        let values = attributes.get(name).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(|value| value["value"].as_str().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    let emails = values("emails").into_iter().map(|email| address::email(&email));
    let phones = values("phoneNumbers").into_iter().filter_map(|phone| address::phone(&phone));
    emails.chain(phones).collect()
}
