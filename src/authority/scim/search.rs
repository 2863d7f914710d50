//! Searches in a directory: by an index where the filter allows it, otherwise through all of it, within a limit.

use super::{Provisioner, ScimError};
use crate::authority::Authority;
use crate::identity::scim::{Fault, Filter, GROUP, Model, Narrow, Projection, Refused, Resource, Sort, USER};
use crate::store::Find;

/// The most results at once.
pub const RESULTS_MAX: u32 = 200;
/// How many users or groups a filter without an index is held against.
const LOOKED_AT_MAX: usize = 50_000;
/// How many rows are read at once.
const ROWS: u32 = 500;
/// How many members the groups of one answer have together; with more the answer has fewer groups.
const MEMBERS_MAX: usize = 20_000;

/// What is looked for.
#[derive(Debug)]
pub struct Search {
    /// Only what fits this.
    pub filter: Option<String>,
    /// How many to leave out.
    pub skip: u64,
    /// How many to answer at most.
    pub count: u32,
    /// Which attributes.
    pub projection: Projection,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many there are.
    pub total: u64,
    /// Those that were asked for, in the order of their creation.
    pub resources: Vec<Resource>,
    /// How many members they have together.
    members: usize,
}

impl Found {
    /// Whether another one belongs in the answer.
    fn wants(&self, skip: u64, count: u32) -> bool {
        self.total >= skip && self.resources.len() < count as usize && self.members < MEMBERS_MAX
    }
}

impl Authority {
    /// Searches among resources of one model, or among all of them: users, then groups.
    pub async fn scim_search(
        &self,
        by: &Provisioner,
        models: &[&'static Model],
        search: &Search,
    ) -> Result<Found, ScimError> {
        let parsed = |model: &&'static Model| match &search.filter {
            None => Ok(None),
            Some(text) => Filter::parse(model, text).map(Some),
        };
        let filters: Vec<_> = models.iter().map(parsed).collect();
        // Among all of them, a filter is wrong only if no model understands it.
        if filters.iter().all(Result::is_err) {
            filters.into_iter().next().transpose()?;
            return Ok(Found::default());
        }
        let mut all = Found::default();
        for (model, filter) in models.iter().zip(filters) {
            let Ok(filter) = filter else { continue };
            let count = search.count.saturating_sub(u32::try_from(all.resources.len()).unwrap_or(u32::MAX));
            let skip = search.skip.saturating_sub(all.total);
            let found = match model.sort {
                Sort::User => self.find_users(by, filter.as_ref(), skip, count, &search.projection).await?,
                Sort::Group => self.find_groups(by, filter.as_ref(), skip, count, &search.projection).await?,
            };
            all.total += found.total;
            let shown = |resource| search.projection.of(model, resource);
            all.resources.extend(found.resources.into_iter().map(shown));
        }
        Ok(all)
    }

    async fn find_users(
        &self,
        by: &Provisioner,
        filter: Option<&Filter>,
        skip: u64,
        count: u32,
        projection: &Projection,
    ) -> Result<Found, ScimError> {
        let with_groups = projection.wants(&USER, "groups") || filter.is_some_and(|filter| filter.looks_at("groups"));
        let key = filter.and_then(name_key);
        let (mut found, mut pages) = (Found::default(), Pages::new(filter, key.as_deref(), skip, count));
        while let Some((find, limit)) = pages.next()? {
            let users = self.store.directory_users(&by.provider, &find, limit).await?;
            let memberships = match (users.first(), users.last()) {
                (Some(first), Some(last)) if with_groups => {
                    self.store.memberships_of_users(&by.provider, first.position, last.position).await?
                }
                _ => Vec::new(),
            };
            pages.read(users.len(), users.last().map(|user| user.position));
            for user in &users {
                let resource = self.user_resource(user, &memberships)?;
                if filter.is_none_or(|filter| filter.fits(&resource)) {
                    if filter.is_none() || found.wants(skip, count) {
                        found.resources.push(resource);
                    }
                    found.total += 1;
                }
            }
        }
        if filter.is_none() {
            found.total = self.store.directory_size(&by.provider).await?.0;
        }
        Ok(found)
    }

    async fn find_groups(
        &self,
        by: &Provisioner,
        filter: Option<&Filter>,
        skip: u64,
        count: u32,
        projection: &Projection,
    ) -> Result<Found, ScimError> {
        let for_filter = filter.is_some_and(|filter| filter.looks_at("members"));
        let wanted = projection.wants(&GROUP, "members");
        let key = filter.and_then(name_key);
        let (mut found, mut pages) = (Found::default(), Pages::new(filter, key.as_deref(), skip, count));
        while let Some((find, limit)) = pages.next()? {
            let groups = self.store.directory_groups(&by.provider, &find, limit).await?;
            pages.read(groups.len(), groups.last().map(|group| group.position));
            for group in &groups {
                let mut memberships = if for_filter { self.members_of(group).await? } else { Vec::new() };
                let mut resource = self.group_resource(group, &memberships);
                if filter.is_some_and(|filter| !filter.fits(&resource)) {
                    continue;
                }
                let shown = if filter.is_none() { found.members < MEMBERS_MAX } else { found.wants(skip, count) };
                if shown {
                    if wanted && !for_filter {
                        memberships = self.members_of(group).await?;
                        resource = self.group_resource(group, &memberships);
                    }
                    found.members += memberships.len();
                    found.resources.push(resource);
                }
                found.total += 1;
            }
        }
        if filter.is_none() {
            found.total = self.store.directory_size(&by.provider).await?.1;
        }
        Ok(found)
    }
}

/// What is read next: one page without a filter, what an index finds, or everything in parts.
struct Pages<'a> {
    next: Option<(Find<'a>, u32)>,
    scanning: bool,
    looked_at: usize,
}

/// The name that the filter leaves, as the index has it.
fn name_key(filter: &Filter) -> Option<String> {
    match filter.narrow() {
        Some(Narrow::Name(name)) => Some(name.to_lowercase()),
        _ => None,
    }
}

impl<'a> Pages<'a> {
    fn new(filter: Option<&'a Filter>, key: Option<&'a str>, skip: u64, count: u32) -> Self {
        let scanning = filter.is_some_and(|filter| filter.narrow().is_none());
        let next = match filter.map(Filter::narrow) {
            None => (count > 0).then_some((Find::Skip(skip), count)),
            Some(Some(Narrow::Id(id))) => id.parse().ok().map(|id| (Find::Id(id), 1)),
            Some(Some(Narrow::ExternalId(id))) => Some((Find::ExternalId(id), ROWS)),
            Some(Some(Narrow::Name(_))) => key.map(|key| (Find::Name(key), ROWS)),
            Some(None) => Some((Find::After(0), ROWS)),
        };
        Self { next, scanning, looked_at: 0 }
    }

    fn next(&mut self) -> Result<Option<(Find<'a>, u32)>, Refused> {
        if self.looked_at > LOOKED_AT_MAX {
            let detail = "the filter has no index to use and the directory is too large to look through: filter by `userName`, \
                          `externalId`, `id`, or `displayName` of a group";
            return Err(Refused::new(Fault::TooMany, detail));
        }
        Ok(self.next.take())
    }

    fn read(&mut self, rows: usize, last: Option<u64>) {
        self.looked_at += rows;
        if let Some(last) = last.filter(|_| self.scanning && rows >= ROWS as usize) {
            self.next = Some((Find::After(last), ROWS));
        }
    }
}
