//! Global Token Revocation (draft-parecki-oauth-global-token-revocation): a provider says that everything of a user is to end, as
//! Okta's Universal Logout does. `spec/scim.md`.

use serde_json::Map;

use crate::audit::Actor;
use crate::authority::scim::tokens::SECRET_PREFIX;
use crate::authority::signal::{Message, Signal};
use crate::authority::{Authority, AuthorityError, random};
use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::id::{ProviderName, Subject};
use crate::identity::scim::address;
use crate::identity::subject_id::{SubjectId, Whom};
use crate::identity::{Ended, RevocationCaller};
use crate::key::sha256;
use crate::store::StoreError;
use crate::token::strict_json::Object;

/// How many users with one address are ended at once. An address of more is no user's.
const USERS_MAX: u32 = 16;
/// For how long a request that nobody can send again is remembered.
const NO_TIME: Timestamp = Timestamp::from_secs(0);

impl Authority {
    /// Where provider `name` sends its requests.
    pub fn revocation_endpoint(&self, name: &ProviderName) -> String {
        format!("{}/v1/identity/{name}/global-token-revocation", self.issuer())
    }

    /// Ends every writ and every login of the user whom `body` names, and returns once no edge serves what ended. Suspends nobody:
    /// the user can log in again. `bearer` is the provider's signed token, or the secret of its SCIM client.
    ///
    /// Who is not that provider learns nothing, not even whether there is such a user.
    pub async fn revoke_globally(&self, name: &ProviderName, bearer: &str, body: &[u8]) -> Result<(), AuthorityError> {
        let terms = self.terms.providers.iter().find(|terms| terms.name == *name).ok_or(AuthorityError::NoProvider)?;
        let caller = self.revocation_caller(name, bearer).await?;
        let malformed =
            |error: &dyn std::fmt::Display| AuthorityError::Malformed(format!("the body does not fit: {error}"));
        let object = Object::parse(body).and_then(|body| body.object("sub_id"));
        let object = object.ok_or_else(|| malformed(&"it needs `sub_id`, an object"))?;
        let subject = SubjectId::read(&object).map_err(|error| malformed(&error))?;
        let users = self.users_meant(terms, &subject).await?;
        if users.is_empty() {
            return Err(StoreError::NotFound("user").into());
        }
        for (user, n) in users.into_iter().zip(0_u8..) {
            let signal = Signal {
                by: Actor::Provider(name.clone()),
                how: "global_token_revocation",
                tenant: terms.tenant.clone(),
                ended: Ended::Logins(user),
                detail: Map::new(),
                // One name for each user: what was not reached the first time is by a repetition.
                message: Message { id: sha256(&[&caller.id[..], &[n]].concat()), until: caller.until },
            };
            // One that came before has its receipt: whoever repeats the request because the answer was lost is answered the same.
            self.signalled(signal).await?;
        }
        Ok(())
    }

    async fn revocation_caller(&self, name: &ProviderName, bearer: &str) -> Result<RevocationCaller, AuthorityError> {
        if bearer.starts_with(SECRET_PREFIX) {
            let client = self.scim_client(bearer).await?;
            if client.provider() != name {
                return Err(AuthorityError::NoRevocationCaller);
            }
            return Ok(RevocationCaller { id: random()?, until: NO_TIME });
        }
        let audience = [&*self.revocation_endpoint(name), self.issuer()];
        let caller = self.providers.revocation_caller(name, bearer, audience, self.now()).await;
        Ok(caller.ok_or(AuthorityError::NoProvider)??)
    }

    /// The users whom an identifier names: by the name that tokens have, or by an address in the directory.
    async fn users_meant(&self, terms: &ProviderTerms, subject: &SubjectId) -> Result<Vec<Subject>, AuthorityError> {
        let addresses = match subject {
            // `acct:` is an address of the user (RFC 7565), which the directory has as an e-mail address if at all.
            SubjectId::Account(uri) => {
                vec![address::email(uri.strip_prefix("acct:").unwrap_or(uri))]
            }
            other => match other.whom(terms) {
                Whom::User(user) => return Ok(vec![user]),
                Whom::Addressed(addresses) => addresses,
                // Everything of a user is meant here: a session says too little.
                Whom::Session(_) | Whom::Nobody => return Ok(Vec::new()),
            },
        };
        let mut users = Vec::new();
        for found in addresses {
            for name in self.store.users_at(&terms.name, &found, USERS_MAX).await? {
                let user = format!("{}{name}", terms.user_prefix).parse();
                users.extend(user.ok().filter(|user| !users.contains(user)));
            }
        }
        users.truncate(USERS_MAX as usize);
        Ok(users)
    }
}
