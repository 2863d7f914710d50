//! Creating an installation, opening it, and moving it under another key-encryption key.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::watch;

use crate::audit::Actor;
use crate::authority::fence::Fencing;
use crate::authority::fresh::Fresh;
use crate::authority::keys::Published;
use crate::authority::log::RevocationLog;
use crate::authority::presence::Presence;
use crate::authority::receipt::Growth;
use crate::authority::registry::Registry;
use crate::authority::seen::Seen;
use crate::authority::sign_in::SESSION_SECRET_PREFIX;
use crate::authority::witness::WitnessLimits;
use crate::authority::{Authority, AuthorityError, change, change_with, fresh_secret, keys, random};
use crate::clock::{Clock, Timestamp};
use crate::config::authority::{AuthorityTerms, Issuer};
use crate::id::OperatorName;
use crate::identity::saml::SamlProviders;
use crate::identity::{Providers, SetupError, SignIn};
use crate::key::{KeyPair, sha256};
use crate::policy::Role;
use crate::secret::Secret;
use crate::store::{Installation, Operator, OperatorRemoval, OperatorSession, RootKeyRecord, Store, StoreError};
use crate::telemetry::metrics::AuthorityMetrics;
use crate::token::Limits;
use crate::vault::{Binding, Keyring, Sealed, VaultError};

/// How every operator secret begins, so that scanners find a leaked one.
pub const OPERATOR_SECRET_PREFIX: &str = "writ-operator-";

const KEK_CHECK: &[u8] = b"writ: the key-encryption key is the right one";
const REWRAP_BATCH: u32 = 256;

/// Why no installation was created.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one.
    #[error("this store holds an installation already: start it with `writ serve`, or name another store")]
    Exists,
    /// Anything below.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Why an authority does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store is empty.
    #[error("this store holds no installation: create one with `writ init`")]
    Missing,
    /// The key-encryption key is not the installation's.
    #[error(
        "the key-encryption key is not the one this installation was sealed under: configure that one in `vault.kek_files`"
    )]
    WrongKek(#[source] VaultError),
    /// The settings name another issuer than the installation has.
    #[error("`authority.issuer` is `{configured}`, but this installation was created as `{installed}`: use that one")]
    OtherIssuer {
        /// What the settings say.
        configured: String,
        /// What stands in every writ.
        installed: String,
    },
    /// An identity provider can't be used.
    #[error(transparent)]
    Identity(#[from] SetupError),
    /// Anything below.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl From<StoreError> for InitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Self::Exists,
            other => Self::Authority(other.into()),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Authority(error.into())
    }
}

/// What the sealed values of the installation itself are bound to.
const fn binding<'a>(record: &'a str, field: &'a str) -> Binding<'a> {
    Binding { tenant: "-", record, field, version: 1 }
}

fn seal_check(keyring: &Keyring) -> Result<Sealed, VaultError> {
    keyring.seal(&binding("installation", "kek-check"), KEK_CHECK)
}

/// An operator who is given a name and a secret.
fn fresh_operator(
    name: OperatorName,
    role: Role,
    person: Option<OperatorName>,
    secret: &Secret<String>,
    created: Timestamp,
) -> Result<Operator, AuthorityError> {
    if name.is_signed_in() || person.as_ref().is_some_and(|person| !person.is_signed_in()) {
        let message =
            "`name` is a name without `:`, and `person` the name of somebody who signs in, `<provider>:<user>`";
        return Err(AuthorityError::Malformed(message.into()));
    }
    Ok(Operator { name, role, person, secret_sha256: sha256(secret.expose().as_bytes()), created })
}

/// Who calls as an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name.
    pub name: OperatorName,
    /// What it may do.
    pub role: Role,
    /// The session it calls by; none for a secret of its own.
    pub session: Option<Box<OperatorSession>>,
}

impl Authority {
    /// Creates the installation with its keys and its first operator, whose secret is returned this once.
    pub async fn init(
        store: &dyn Store,
        keyring: &Keyring,
        clock: &dyn Clock,
        issuer: &Issuer,
        operator: OperatorName,
    ) -> Result<Secret<String>, InitError> {
        // Before keys are drawn; the store refuses a second one all the same.
        if store.installation().await?.is_some() {
            return Err(InitError::Exists);
        }
        let now = clock.now();
        let seed = Secret::new(random()?);
        let installation = Installation {
            issuer: issuer.as_str().into(),
            kek_check: seal_check(keyring).map_err(AuthorityError::from)?,
            authority_key: KeyPair::from_seed(seed.expose()).public(),
            authority_seed: keyring
                .seal(&binding("installation", "authority-seed"), seed.expose())
                .map_err(AuthorityError::from)?,
            created: now,
        };
        let root = keys::fresh_root(keyring, 1, now, now)?;
        let secret = fresh_secret(OPERATOR_SECRET_PREFIX)?;
        let event = change_with(
            Actor::Authority,
            "installation.create",
            issuer,
            None,
            json!({ "operator": operator, "root_key": root.key, "authority_key": installation.authority_key }),
        );
        let operator = fresh_operator(operator, Role::Admin, None, &secret, now)?;
        store.install(&installation, &root, &operator, now, &event).await?;
        Ok(secret)
    }

    /// Opens an installation: its keys are decrypted and its revocation log is read.
    pub async fn open(
        store: Arc<dyn Store>,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        terms: AuthorityTerms,
        issuer: Option<&Issuer>,
    ) -> Result<Arc<Self>, OpenError> {
        let installation = store.installation().await?.ok_or(OpenError::Missing)?;
        if let Some(issuer) = issuer.filter(|issuer| issuer.as_str() != &*installation.issuer) {
            return Err(OpenError::OtherIssuer {
                configured: issuer.to_string(),
                installed: installation.issuer.to_string(),
            });
        }
        keyring.open(&binding("installation", "kek-check"), &installation.kek_check).map_err(OpenError::WrongKek)?;
        let seed = keyring
            .open(&binding("installation", "authority-seed"), &installation.authority_seed)
            .map_err(AuthorityError::from)?;
        let key = KeyPair::from_seed(&*keys::seed_bytes(&seed)?);
        if key.public() != installation.authority_key {
            return Err(AuthorityError::from(VaultError::DoesNotOpen).into());
        }
        let providers = Providers::open(&terms.providers, &clock)?
            .with_saml(SamlProviders::open(&terms.saml)?)
            .with_workloads(&terms.workloads, &clock)?;
        let sign_in = match &terms.sign_in {
            Some(terms) => SignIn::open(terms, &providers, &clock)?,
            None => None,
        };
        let published = Published::load(&*store, &keyring, None).await?;
        let fencing = Fencing::default();
        // One that is cut off from its standbys may answer later: until then no lease is granted.
        let _ = tokio::time::timeout(terms.lease, fencing.prove(&*store, &*clock)).await;
        let log = RevocationLog::load(&*store, clock.now(), published.version).await?;
        let read_heads = Arc::clone(&store);
        let heads = Fresh::new(move || {
            let store = Arc::clone(&read_heads);
            async move { store.heads().await }
        });
        Ok(Arc::new(Self {
            heads,
            registry: Registry::default(),
            appending: tokio::sync::Mutex::default(),
            started: tokio::time::Instant::now(),
            published: ArcSwap::from_pointee(published),
            log,
            presence: Presence::default(),
            growth: Growth::default(),
            metrics: AuthorityMetrics::default(),
            fencing,
            replica: hex::encode(random::<8>()?).into(),
            seen: Seen::default(),
            providers,
            sign_in,
            witnesses: WitnessLimits::default(),
            stopping: watch::Sender::new(false),
            limits: Limits::default(),
            store,
            keyring,
            clock,
            terms,
            installation,
            key,
        }))
    }

    /// The operator with this secret, or with the session of this secret.
    pub async fn operator(&self, secret: &str) -> Result<Caller, AuthorityError> {
        let now = self.clock.monotonic();
        if self.seen.operators.too_many(now) {
            return Err(AuthorityError::TooManyFailures);
        }
        // Looked up by hash: how long that takes tells nothing about the secret.
        let found = match secret.starts_with(SESSION_SECRET_PREFIX) {
            true => self.signed_in(secret).await?,
            false => {
                let operator = self.store.operator_by_secret(&sha256(secret.as_bytes())).await?;
                operator.map(|operator| Caller { name: operator.name, role: operator.role, session: None })
            }
        };
        if found.is_none() {
            self.seen.operators.add(now);
        }
        found.ok_or(AuthorityError::Unauthenticated)
    }

    /// Adds an operator, whose secret is returned this once.
    pub async fn add_operator(
        &self,
        by: &OperatorName,
        name: OperatorName,
        role: Role,
        person: Option<OperatorName>,
    ) -> Result<Secret<String>, AuthorityError> {
        let (now, secret) = (self.now(), fresh_secret(OPERATOR_SECRET_PREFIX)?);
        let operator = fresh_operator(name, role, person, &secret, now)?;
        let detail = json!({ "role": role, "person": operator.person });
        let event = change_with(Actor::Operator(by.clone()), "operator.add", &operator.name, None, detail);
        self.store.add_operator(&operator, now, &event).await?;
        Ok(secret)
    }

    /// All operators by name.
    pub async fn operators(&self) -> Result<Vec<Operator>, AuthorityError> {
        Ok(self.store.operators().await?)
    }

    /// Removes an operator, whose secret counts no longer. The last admin stays.
    pub async fn remove_operator(&self, by: &OperatorName, name: &OperatorName) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "operator.remove", name, None);
        match self.store.remove_operator(name, self.now(), &event).await? {
            OperatorRemoval::Removed => Ok(()),
            OperatorRemoval::LastOne => Err(AuthorityError::LastOperator),
        }
    }

    /// Wraps everything that is sealed under an older key-encryption key anew under the active one, while serving.
    /// Answers how many secrets were wrapped anew. After it the older keys can leave the settings of every replica.
    pub async fn rewrap(&self, by: &OperatorName) -> Result<u64, AuthorityError> {
        let mut wrapped = self.rewrap_installation(by).await?;
        let active = self.keyring.active().to_string();
        loop {
            let mut batch = self.store.credentials_not_under(&active, REWRAP_BATCH).await?;
            for record in &mut batch {
                let own = record.clone();
                let name = keys::credential_record(&own.key);
                if let Some(sealed) = self.keyring.rewrap(&keys::credential_binding(&own, &name), &own.sealed)? {
                    record.sealed = sealed;
                }
            }
            if batch.is_empty() {
                return Ok(wrapped);
            }
            let event = change_with(
                Actor::Operator(by.clone()),
                "vault.rewrap",
                &active,
                None,
                json!({ "credentials": batch.len() }),
            );
            // One that changed meanwhile was sealed under the active key, so this ends.
            wrapped += u64::from(self.store.rewrap_credentials(&batch, self.now(), &event).await?);
        }
    }

    async fn rewrap_installation(&self, by: &OperatorName) -> Result<u64, AuthorityError> {
        let mut installation = self.store.installation().await?.ok_or(StoreError::NotFound("installation"))?;
        let mut roots: Vec<RootKeyRecord> = self.store.root_keys().await?;
        let mut wrapped = 0;
        let mut rewrap = |record: &str, field: &str, sealed: &mut Sealed| -> Result<(), VaultError> {
            if let Some(anew) = self.keyring.rewrap(&binding(record, field), sealed)? {
                *sealed = anew;
                wrapped += 1;
            }
            Ok(())
        };
        rewrap("installation", "kek-check", &mut installation.kek_check)?;
        rewrap("installation", "authority-seed", &mut installation.authority_seed)?;
        for root in &mut roots {
            rewrap(&keys::root_record(root.id), "seed", &mut root.seed)?;
        }
        if wrapped > 0 {
            let active = self.keyring.active().to_string();
            let event = change_with(
                Actor::Operator(by.clone()),
                "vault.rewrap",
                &active,
                None,
                json!({ "installation": wrapped }),
            );
            self.store.rewrap_installation(&installation, &roots, self.now(), &event).await?;
        }
        Ok(wrapped)
    }
}
