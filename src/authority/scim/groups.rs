//! Groups of a directory. Whoever leaves one loses what the grants to it gave.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{ATTEMPTS, Edit, Provisioner, ScimError, Stored, Versions, of};
use crate::authority::{Authority, random};
use crate::id::{Group, ResourceId};
use crate::identity::scim::{Fault, GROUP, Patch, Refused, Resource, USER, accepted};
use crate::store::{DirectoryGroup, Find, GroupChange, Membership};

/// A group that a client described.
struct Described {
    name: Group,
    external_id: Option<Box<str>>,
    members: HashSet<ResourceId>,
}

impl Authority {
    /// Adds a group.
    pub async fn scim_add_group(&self, by: &Provisioner, sent: &Resource) -> Result<Stored, ScimError> {
        let described = described(&accepted(&GROUP, sent)?)?;
        let now = self.now();
        let group = DirectoryGroup {
            provider: by.provider.clone(),
            id: ResourceId::from_bytes(random().map_err(ScimError::Authority)?),
            position: 0,
            name: described.name,
            external_id: described.external_id,
            version: 1,
            created: now,
            updated: now,
            ended: None,
        };
        let joining: Vec<_> = described.members.into_iter().collect();
        let stored = self.put_group(by, &group, &joining, &[]).await?;
        // The id was drawn just now: nobody else can have written it.
        stored.ok_or(ScimError::Busy)
    }

    /// A group.
    pub async fn scim_group(&self, by: &Provisioner, id: ResourceId, members: bool) -> Result<Stored, ScimError> {
        let group = self.group_of(by, id).await?.ok_or(ScimError::NotFound)?;
        let memberships = if members { self.members_of(&group).await? } else { Vec::new() };
        let version = group.version;
        Ok(Stored { resource: self.group_resource(&group, &memberships), version, ended: None })
    }

    /// Changes a group.
    pub async fn scim_change_group(
        &self,
        by: &Provisioner,
        id: ResourceId,
        edit: &Edit,
        versions: &Versions,
    ) -> Result<Stored, ScimError> {
        for _ in 0..ATTEMPTS {
            let before = self.group_of(by, id).await?.ok_or(ScimError::NotFound)?;
            versions.check(before.version)?;
            let memberships = self.members_of(&before).await?;
            let sent = match edit {
                Edit::Replace(sent) => accepted(&GROUP, sent)?,
                Edit::Patch(sent) => Patch::read(&GROUP, sent)?.applied(self.group_resource(&before, &memberships))?,
            };
            let Described { name, external_id, members } = described(&sent)?;
            let old: HashSet<_> = memberships.iter().map(|membership| membership.user).collect();
            let joining: Vec<_> = members.difference(&old).copied().collect();
            let leaving: Vec<_> = old.difference(&members).copied().collect();
            let group =
                DirectoryGroup { name, external_id, version: before.version + 1, updated: self.now(), ..before };
            if let Some(stored) = self.put_group(by, &group, &joining, &leaving).await? {
                return Ok(stored);
            }
        }
        Err(ScimError::Busy)
    }

    /// Deletes a group: all its members leave.
    pub async fn scim_delete_group(
        &self,
        by: &Provisioner,
        id: ResourceId,
        versions: &Versions,
    ) -> Result<Option<u64>, ScimError> {
        for _ in 0..ATTEMPTS {
            let Some(group) = self.group_of(by, id).await? else { return Err(self.deleted_before(by, id).await?) };
            versions.check(group.version)?;
            let event = by.event("directory.group.remove", &group.name, id, json!({}));
            let group = DirectoryGroup { version: group.version + 1, ..group };
            let roles = self.role_groups(by);
            let change = GroupChange { removed: true, ..by.group_change(&group, &roles) };
            if let Some(ended) = self.store.change_group(&change, self.forget_after(), self.now(), &event).await? {
                return Ok(self.settled(ended).await?);
            }
        }
        Err(ScimError::Busy)
    }

    /// Writes a group; `None` if the version before stands no longer.
    async fn put_group(
        &self,
        by: &Provisioner,
        group: &DirectoryGroup,
        joining: &[ResourceId],
        leaving: &[ResourceId],
    ) -> Result<Option<Stored>, ScimError> {
        if self.store.known_users(&by.provider, joining).await?.iter().collect::<HashSet<_>>().len() < joining.len() {
            return Err(Refused::new(Fault::InvalidValue, "`members` names a user that there is not").into());
        }
        let action = if group.version == 1 { "directory.group.add" } else { "directory.group.change" };
        let detail = json!({ "joining": joining.len(), "leaving": leaving.len() });
        let event = by.event(action, &group.name, group.id, detail);
        let roles = self.role_groups(by);
        let change = GroupChange { joining, leaving, ..by.group_change(group, &roles) };
        let ended = self.store.change_group(&change, self.forget_after(), self.now(), &event).await;
        let Some(ended) = ended? else { return Ok(None) };
        let ended = self.settled(ended).await?;
        let group = self.group_of(by, group.id).await?.unwrap_or_else(|| group.clone());
        let memberships = self.members_of(&group).await?;
        Ok(Some(Stored { resource: self.group_resource(&group, &memberships), version: group.version, ended }))
    }

    /// The groups by which users of the provider are operators.
    fn role_groups(&self, by: &Provisioner) -> Vec<Group> {
        let sign_in = self.sign_in.as_ref().filter(|sign_in| sign_in.terms.provider == by.provider);
        sign_in.into_iter().flat_map(|sign_in| &sign_in.terms.roles).map(|(_, group)| group.clone()).collect()
    }

    async fn group_of(&self, by: &Provisioner, id: ResourceId) -> Result<Option<DirectoryGroup>, ScimError> {
        Ok(self.store.directory_groups(&by.provider, &Find::Id(id), 1).await?.into_iter().next())
    }

    pub(super) async fn members_of(&self, group: &DirectoryGroup) -> Result<Vec<Membership>, ScimError> {
        Ok(self.store.memberships_of_groups(&group.provider, group.position, group.position).await?)
    }

    /// A group as clients see it.
    pub(super) fn group_resource(&self, group: &DirectoryGroup, memberships: &[Membership]) -> Resource {
        let mut resource = Resource::from_iter([("displayName".to_owned(), json!(group.name))]);
        if let Some(external_id) = &group.external_id {
            resource.insert("externalId".into(), json!(external_id));
        }
        self.described(&GROUP, group.id, group.version, (group.created, group.updated), &mut resource);
        let member = |membership: &Membership| {
            let location = self.location(&USER, membership.user);
            json!({ "value": membership.user, "$ref": location, "type": "User" })
        };
        let id = group.id;
        let members: Vec<_> = of(memberships, move |membership| membership.group == id).map(member).collect();
        if !members.is_empty() {
            resource.insert("members".into(), Value::Array(members));
        }
        resource
    }
}

impl Provisioner {
    fn group_change<'a>(&'a self, group: &'a DirectoryGroup, roles: &'a [Group]) -> GroupChange<'a> {
        let (tenant, user_prefix) = (&self.tenant, &*self.user_prefix);
        GroupChange { group, tenant, user_prefix, removed: false, joining: &[], leaving: &[], roles }
    }
}

fn described(sent: &Resource) -> Result<Described, Refused> {
    let invalid = |detail: &str| Refused::new(Fault::InvalidValue, detail);
    let text = |name: &str| sent.get(name).and_then(Value::as_str);
    let name = text("displayName").and_then(|name| name.parse().ok());
    let members = sent.get("members").and_then(Value::as_array).into_iter().flatten();
    let member = |member: &Value| {
        let is_user =
            member.get("type").is_none_or(|kind| kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("user")));
        let id = member["value"].as_str().and_then(|id| id.parse().ok()).filter(|_| is_user);
        id.ok_or_else(|| invalid("`members` must name users by their `id`; groups in groups are not supported"))
    };
    Ok(Described {
        name: name.ok_or_else(|| invalid("`displayName` must be 1 to 255 bytes without control characters"))?,
        external_id: text("externalId").map(Into::into),
        members: members.map(member).collect::<Result<_, _>>()?,
    })
}
