//! Root keys: which one signs, which ones count, how one follows another.
//!
//! A new key is published to every edge before it signs; an old one counts until the last writ it signed has expired.
//! A compromised one counts no longer as soon as its edges have heard, or their leases have run out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::receipt::{Ended, ReceiptText};
use crate::authority::{Authority, AuthorityError, change_with, random};
use crate::catalog::Service;
use crate::clock::Timestamp;
use crate::id::{AudienceName, OperatorName, ServiceName, TenantName};
use crate::key::{KeyPair, PublicKey};
use crate::policy::Grant;
use crate::policy::limit::Limits;
use crate::policy::rules::{Offered, RuleBook};
use crate::revocation::receipt::Reached;
use crate::secret::Secret;
use crate::store::{CredentialKey, CredentialRecord, RootKeyRecord, Store, StoreError, StoredPolicies};
use crate::token::RootKeys;
use crate::token::verify::RootKey;
use crate::vault::{Binding, Keyring, VaultError};
use crate::wire::{OfferedPolicies, OfferedService, Settings, TenantLimits};

/// The longest overlap of two root keys, in seconds: one week.
pub const OVERLAP_S_MAX: u64 = 604_800;

/// Everything that edges are told besides the log, and the private halves of the root keys. One version of it.
pub struct Published {
    /// The catalog's version.
    pub version: u64,
    roots: Vec<Root>,
    services: Vec<OfferedService>,
    /// The stored policy sets.
    pub(super) policies: Vec<StoredPolicies>,
    /// The same, ready to decide.
    pub(super) rules: RuleBook,
    limits: Vec<TenantLimits>,
}

/// A root key pair.
struct Root {
    id: u32,
    pair: KeyPair,
    created: Timestamp,
    signs_from: Timestamp,
    until: Option<Timestamp>,
}

/// A root key as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRoot {
    /// The id that stands in tokens.
    pub id: u32,
    /// The key.
    pub key: PublicKey,
    /// When it was created.
    pub created: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// The last moment its tokens count, once it is retired.
    pub until: Option<Timestamp>,
}

/// A fresh root key, sealed.
pub(super) fn fresh_root(
    keyring: &Keyring,
    id: u32,
    now: Timestamp,
    signs_from: Timestamp,
) -> Result<RootKeyRecord, AuthorityError> {
    let seed = Secret::new(random::<32>()?);
    let record = root_record(id);
    Ok(RootKeyRecord {
        id,
        key: KeyPair::from_seed(seed.expose()).public(),
        seed: keyring.seal(&root_binding(&record), seed.expose())?,
        created: now,
        signs_from,
        until: None,
    })
}

/// The record name that a root key's seed is bound to.
pub(super) fn root_record(id: u32) -> String {
    format!("root-key/{id}")
}

const fn root_binding(record: &str) -> Binding<'_> {
    Binding { tenant: "-", record, field: "seed", version: 1 }
}

/// The record name that a credential's secret is bound to. The name cannot hold a slash, so no two keys share one.
pub(super) fn credential_record(key: &CredentialKey) -> String {
    match &key.subject {
        None => format!("credential/{}/shared", key.name),
        Some(subject) => format!("credential/{}/user/{subject}", key.name),
    }
}

/// What a credential's secret is bound to. `record` is its [`credential_record`].
pub(super) fn credential_binding<'a>(credential: &'a CredentialRecord, record: &'a str) -> Binding<'a> {
    Binding { tenant: credential.key.tenant.as_str(), record, field: "secret", version: credential.version }
}

/// The 32 bytes of an opened seed.
pub(super) fn seed_bytes(seed: &Secret<Vec<u8>>) -> Result<zeroize::Zeroizing<[u8; 32]>, AuthorityError> {
    let bytes: [u8; 32] = seed.expose().as_slice().try_into().map_err(|_| VaultError::DoesNotOpen)?;
    Ok(zeroize::Zeroizing::new(bytes))
}

impl Published {
    /// Reads the catalog, the root keys, the policies and the limits. What `known` has of the policies is not compiled again.
    pub(super) async fn load(
        store: &dyn Store,
        keyring: &Keyring,
        known: Option<&Self>,
    ) -> Result<Self, AuthorityError> {
        // The catalog first: what is newer than the version it names is sent again with the next one, what is older would
        // not be.
        let catalog = store.catalog().await?;
        let roots = store.root_keys().await?.iter().map(|root| Root::open(keyring, root)).collect::<Result<_, _>>()?;
        let of = |(tenant, limits)| TenantLimits { tenant, limits };
        let limits = store.limit_sets().await?.into_iter().map(of).collect();
        let mut services = Vec::with_capacity(catalog.services.len());
        for (tenant, _, json) in catalog.services {
            let service = serde_json::from_str(&json).map_err(|_| StoreError::Corrupt { table: "services" })?;
            services.push(OfferedService { tenant, service });
        }
        let policies = store.policies().await?;
        let offered = policies.iter().map(|stored| Offered {
            tenant: &stored.tenant,
            version: stored.version,
            outdates: stored.outdates,
            json: &stored.document,
        });
        let rules =
            known.map_or_else(|| RuleBook::default().next(offered.clone()), |known| known.rules.next(offered.clone()));
        Ok(Self { version: catalog.version, roots, services, policies, rules, limits })
    }

    /// What an edge of `audience` is told.
    pub(super) fn settings(&self, issuer: &str, audience: &AudienceName, now: Timestamp) -> Settings {
        Settings {
            version: self.version,
            issuer: issuer.into(),
            audience: audience.clone(),
            root_keys: self.trusted(now),
            services: self.services.clone(),
            policies: self.policies.iter().map(offered_policies).collect(),
            limits: self.limits.clone(),
        }
    }

    /// The service of this tenant.
    pub(super) fn service(&self, tenant: &TenantName, name: &ServiceName) -> Option<&Service> {
        let found = self.services.iter().find(|offered| offered.tenant == *tenant && offered.service.name() == name);
        found.map(|offered| &offered.service)
    }

    /// A tenant's limits; `None` without any.
    pub(super) fn limits(&self, tenant: &TenantName) -> Option<&Limits> {
        self.limits.iter().find(|known| known.tenant == *tenant).map(|known| &known.limits)
    }

    /// A tenant's services.
    pub(super) fn services_of(&self, tenant: &TenantName) -> Vec<Service> {
        let own = self.services.iter().filter(|offered| offered.tenant == *tenant);
        own.map(|offered| offered.service.clone()).collect()
    }

    /// The keys that count at `now`. One that has ended is left out, so that no edge's slow clock keeps it.
    pub(super) fn trusted(&self, now: Timestamp) -> RootKeys {
        let counts = |root: &&Root| root.until.is_none_or(|until| until > now);
        RootKeys { keys: self.roots.iter().filter(counts).map(Root::trusted).collect() }
    }

    /// Every key there ever was, none with an end: for tokens that are shown only to be revoked.
    pub(super) fn ever(&self) -> RootKeys {
        RootKeys { keys: self.roots.iter().map(|root| RootKey { until: None, ..root.trusted() }).collect() }
    }

    /// The key that signs at `now`, with its id.
    pub(super) fn signer(&self, now: Timestamp) -> Result<(&KeyPair, u32), AuthorityError> {
        let longest = now.after(Duration::from_secs(u64::from(Grant::TTL_S_MAX)));
        self.roots
            .iter()
            .filter(|root| root.signs_from <= now && root.until.is_none_or(|until| until >= longest))
            .max_by_key(|root| (root.signs_from, root.id))
            .map(|root| (&root.pair, root.id))
            .ok_or(AuthorityError::NoRootKey)
    }

    /// Every key, by id.
    pub(super) fn roots(&self) -> Vec<PublicRoot> {
        let public = |root: &Root| PublicRoot {
            id: root.id,
            key: root.pair.public(),
            created: root.created,
            signs_from: root.signs_from,
            until: root.until,
        };
        self.roots.iter().map(public).collect()
    }
}

fn offered_policies(stored: &StoredPolicies) -> OfferedPolicies {
    OfferedPolicies {
        tenant: stored.tenant.clone(),
        version: stored.version,
        outdates: stored.outdates,
        document: stored.document.clone(),
    }
}

impl Root {
    fn open(keyring: &Keyring, record: &RootKeyRecord) -> Result<Self, AuthorityError> {
        let name = root_record(record.id);
        let pair = KeyPair::from_seed(&*seed_bytes(&keyring.open(&root_binding(&name), &record.seed)?)?);
        if pair.public() != record.key {
            return Err(VaultError::DoesNotOpen.into());
        }
        let RootKeyRecord { id, created, signs_from, until, .. } = *record;
        Ok(Self { id, pair, created, signs_from, until })
    }

    fn trusted(&self) -> RootKey {
        RootKey { id: self.id, key: self.pair.public(), until: self.until }
    }
}

impl Authority {
    /// Every root key, retired ones included.
    pub async fn root_keys(&self) -> Result<Vec<PublicRoot>, AuthorityError> {
        Ok(self.refreshed().await?.roots())
    }

    /// What is published, read again if the store has a newer version.
    pub(super) async fn refreshed(&self) -> Result<Arc<Published>, AuthorityError> {
        self.published_since(self.heads.read().await?.catalog_version).await
    }

    /// What is published, read again if it is not of `version`, which the store has just answered.
    pub(super) async fn published_since(&self, version: u64) -> Result<Arc<Published>, AuthorityError> {
        if version != self.published.load().version {
            self.reload().await?;
        }
        Ok(self.published.load_full())
    }

    /// Reads again what is published, and tells the edges that wait.
    pub(super) async fn reload(&self) -> Result<(), AuthorityError> {
        let fresh = Arc::new(Published::load(&*self.store, &self.keyring, Some(&self.published.load())).await?);
        // Two reloads may overtake each other: the newer version stays.
        self.published.rcu(|known| if known.version > fresh.version { Arc::clone(known) } else { Arc::clone(&fresh) });
        self.log.settings_changed(self.published.load().version);
        Ok(())
    }

    /// Adds a root key that signs from `overlap` from now on, and ends the others once what they sign until then has expired.
    pub async fn rotate_root_key(&self, by: &OperatorName, overlap: Duration) -> Result<PublicRoot, AuthorityError> {
        let min = (2 * self.terms.lease.as_millis()).div_ceil(1000).max(1);
        let min = u64::try_from(min).unwrap_or(OVERLAP_S_MAX);
        if !(min..=OVERLAP_S_MAX).contains(&overlap.as_secs()) {
            return Err(AuthorityError::Overlap { min, max: OVERLAP_S_MAX });
        }
        let now = self.now();
        let added = self.add_root_key(by, now, now.after(overlap)).await?;
        let last = added.signs_from.after(Duration::from_secs(u64::from(Grant::TTL_S_MAX)));
        for old in self.store.root_keys().await?.iter().filter(|root| root.id != added.id && root.until.is_none()) {
            let event = change_with(
                Actor::Operator(by.clone()),
                "root_key.retire",
                root_record(old.id),
                None,
                json!({ "until": last, "successor": added.id }),
            );
            self.store.retire_root_key(old.id, last, now, &event).await?;
        }
        self.reload().await?;
        Ok(added)
    }

    /// Ends a root key now, because its private half may be known to others. Returns when no edge trusts it any more.
    pub async fn retire_root_key(&self, by: &OperatorName, id: u32) -> Result<ReceiptText, AuthorityError> {
        let now = self.now();
        let roots = self.store.root_keys().await?;
        if !roots.iter().any(|root| root.id == id) {
            return Err(StoreError::NotFound("root key").into());
        }
        let event = change_with(
            Actor::Operator(by.clone()),
            "root_key.retire",
            root_record(id),
            None,
            json!({ "until": now, "compromised": true }),
        );
        self.store.retire_root_key(id, now, now, &event).await?;
        self.reload().await?;
        if matches!(self.published.load().signer(now), Err(AuthorityError::NoRootKey)) {
            self.add_root_key(by, now, now).await?;
            self.reload().await?;
        }
        let version = self.published.load().version;
        let reached = Reached::Settings(version);
        let ended = Ended { reached, target: root_record(id), committed: now, since: self.clock.monotonic() };
        self.receipt_for_settings(&ended).await
    }

    async fn add_root_key(
        &self,
        by: &OperatorName,
        now: Timestamp,
        signs_from: Timestamp,
    ) -> Result<PublicRoot, AuthorityError> {
        let id = self.store.root_keys().await?.iter().map(|root| root.id).max().unwrap_or(0).saturating_add(1);
        let root = fresh_root(&self.keyring, id, now, signs_from)?;
        let detail = json!({ "key": root.key, "signs_from": signs_from });
        let event = change_with(Actor::Operator(by.clone()), "root_key.add", root_record(id), None, detail);
        self.store.add_root_key(&root, now, &event).await?;
        Ok(PublicRoot { id, key: root.key, created: now, signs_from, until: None })
    }
}
