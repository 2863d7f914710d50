//! Operators who sign in with an identity provider, and their sessions.
//!
//! No secret ever stands in a URL: the browser carries a code that is worth nothing without the verifier of the program that
//! began, and that program fetches the session's secret itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::Actor;
use crate::authority::installation::Caller;
use crate::authority::issue::IssueError;
use crate::authority::{Authority, AuthorityError, change, change_with, fresh_secret, http, random};
use crate::clock::Timestamp;
use crate::id::{OperatorName, SessionId};
use crate::identity::{Answer, Attempt, SignIn};
use crate::key::sha256;
use crate::secret::{Secret, equal_in_constant_time};
use crate::store::{OperatorSession, SessionCode};
use crate::vault::{Binding, Sealed};

/// How every session's secret begins, so that scanners find a leaked one.
pub const SESSION_SECRET_PREFIX: &str = "writ-session-";
/// How long the person may take at the provider.
pub const BEGUN_FOR: Duration = Duration::from_secs(600);
/// How long the program may take to redeem its code.
const CODE_FOR: Duration = Duration::from_secs(60);
/// How often it is noted that a session is used.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// What the browser keeps of a sign-in, sealed.
const BINDING: Binding<'static> = Binding { tenant: "-", record: "sign-in", field: "begun", version: 1 };

/// Who wants somebody to sign in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignInFor {
    /// SHA-256 of the verifier that redeems the code (RFC 7636, S256).
    pub challenge: [u8; 32],
    /// The port on the browser's own machine where a program waits; none where a person carries the code.
    pub port: Option<u16>,
    /// What that program gets back with the code.
    pub state: Option<String>,
}

/// A sign-in under way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begun {
    /// For whom.
    pub wanted: SignInFor,
    state: String,
    nonce: String,
    verifier: String,
    until: Timestamp,
}

/// Where the browser goes, and what it keeps.
#[derive(Debug)]
pub struct SignInBegun {
    /// The provider's URL.
    pub url: String,
    /// What must come back with the provider's answer.
    pub cookie: String,
}

fn fresh_text() -> Result<String, AuthorityError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

impl Authority {
    fn provider_of_operators(&self) -> Result<&SignIn, AuthorityError> {
        self.sign_in.as_ref().ok_or(AuthorityError::NoSignIn)
    }

    fn callback(&self) -> String {
        format!("{}{}", self.issuer(), http::CALLBACK_PATH)
    }

    /// Begins a sign-in. Nothing is stored.
    pub async fn begin_sign_in(&self, wanted: SignInFor) -> Result<SignInBegun, AuthorityError> {
        let attempt = Attempt { state: fresh_text()?, nonce: fresh_text()?, verifier: fresh_text()? };
        let url = self.provider_of_operators()?.authorization_url(&self.callback(), &attempt).await?;
        let Attempt { state, nonce, verifier } = attempt;
        let begun = Begun { wanted, state, nonce, verifier, until: self.now().after(BEGUN_FOR) };
        // Expect safety: a structure of texts and numbers serialises.
        let text = zeroize::Zeroizing::new(serde_json::to_vec(&begun).expect("a sign-in serialises"));
        let Sealed { kek, wrapped_key, ciphertext } = self.keyring.seal(&BINDING, &text)?;
        Ok(SignInBegun { url, cookie: format!("{kek}.{wrapped_key}.{ciphertext}") })
    }

    /// The sign-in that the browser's cookie and the provider's `state` are about: both, or somebody else's answer could be
    /// planted.
    pub fn begun_sign_in(&self, cookie: &str, state: &str) -> Result<Begun, AuthorityError> {
        let refused = || AuthorityError::SignIn("this browser began no such sign-in: begin again".into());
        let mut parts = cookie.splitn(3, '.');
        let mut part = || parts.next().map(Into::into).ok_or_else(refused);
        let sealed = Sealed { kek: part()?, wrapped_key: part()?, ciphertext: part()? };
        let opened = self.keyring.open(&BINDING, &sealed).map_err(|_| refused())?;
        let begun: Begun = serde_json::from_slice(opened.expose()).map_err(|_| refused())?;
        if !equal_in_constant_time(begun.state.as_bytes(), state.as_bytes()) {
            return Err(refused());
        }
        if begun.until < self.now() {
            return Err(AuthorityError::SignIn("the sign-in took longer than ten minutes: begin again".into()));
        }
        Ok(begun)
    }

    /// Finishes a sign-in: the code that the program redeems, which is returned this once.
    ///
    /// The revocation log's head is read before the provider is asked, and what ended the user after it: an end that commits
    /// before the second read is seen, one that commits later has a larger number than the session's epoch.
    pub async fn finish_sign_in(&self, begun: &Begun, answer: &Answer) -> Result<Secret<String>, AuthorityError> {
        let sign_in = self.provider_of_operators()?;
        let epoch = self.store.heads().await?.revocation_seq;
        let Begun { wanted, state, nonce, verifier, .. } = begun;
        let attempt = Attempt { state: state.clone(), nonce: nonce.clone(), verifier: verifier.clone() };
        let user = sign_in.redeem(&self.callback(), &attempt, answer, self.now()).await?;
        let groups = self.check_login(&user, None).await.map_err(|error| match error {
            IssueError::Authority(error) => error,
            refused => AuthorityError::SignIn(refused.to_string()),
        })?;
        let role = sign_in.terms.role(&groups).ok_or_else(|| {
            AuthorityError::SignIn(format!(
                "`{}` is in no group that may sign in here: `sign_in` in the settings lists them",
                user.subject()
            ))
        })?;
        let now = self.now();
        let session = OperatorSession {
            id: SessionId::from_bytes(random()?),
            name: OperatorName::signed_in(user.provider(), user.subject()),
            role,
            groups,
            provider: user.provider().clone(),
            tenant: user.tenant().clone(),
            subject: user.subject().clone(),
            session: user.session().cloned(),
            epoch,
            created: now,
            used: now,
            expires: now.after(sign_in.terms.session),
        };
        let code = fresh_secret("")?;
        let kept = SessionCode {
            sha256: sha256(code.expose().as_bytes()),
            challenge: wanted.challenge,
            until: now.after(CODE_FOR),
        };
        self.store.offer_session(&session, &kept).await?;
        Ok(code)
    }

    /// Redeems a code: the session, and its secret, which is returned this once. A code counts once, whatever comes with it.
    pub async fn redeem_sign_in(
        &self,
        code: &str,
        verifier: &str,
    ) -> Result<(OperatorSession, Secret<String>), AuthorityError> {
        let refused = || AuthorityError::SignIn("the code is wrong, used or over: sign in again".into());
        let tick = self.clock.monotonic();
        if self.seen.codes.too_many(tick) {
            return Err(AuthorityError::TooManyFailures);
        }
        let (now, code) = (self.now(), sha256(code.as_bytes()));
        let offered = self.store.offered_session(&code, &sha256(verifier.as_bytes()), now).await?;
        let Some(offered) = offered else {
            self.seen.codes.add(tick);
            return Err(refused());
        };
        let session = OperatorSession { used: now, ..offered };
        let secret = fresh_secret(SESSION_SECRET_PREFIX)?;
        let detail = json!({
            "session": session.id,
            "role": session.role,
            "provider": session.provider,
            "provider_session": session.session,
            "expires": session.expires,
        });
        let actor = Actor::Operator(session.name.clone());
        let event = change_with(actor, "operator.sign_in", &session.name, Some(&session.tenant), detail);
        let hash = sha256(secret.expose().as_bytes());
        if !self.store.begin_session(&session, &code, &hash, &event).await? {
            return Err(refused());
        }
        Ok((session, secret))
    }

    /// Who has the session with this secret, if it counts.
    pub(super) async fn signed_in(&self, secret: &str) -> Result<Option<Caller>, AuthorityError> {
        let Some(sign_in) = &self.sign_in else { return Ok(None) };
        let now = self.now();
        let found = self.store.session_by_secret(&sha256(secret.as_bytes()), sign_in.terms.idle, now).await?;
        // A session of a provider whose word counts no longer does not count either.
        let Some(session) = found.filter(|session| session.provider == sign_in.terms.provider) else {
            return Ok(None);
        };
        if now.since(session.used) >= NOTE_EVERY {
            self.store.note_session_used(session.id, now).await?;
        }
        Ok(Some(Caller { name: session.name.clone(), role: session.role, session: Some(Box::new(session)) }))
    }

    /// Ends the caller's own session.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), AuthorityError> {
        let id = caller.session.as_ref().ok_or(AuthorityError::NoSession)?.id;
        let event = change_with(
            Actor::Operator(caller.name.clone()),
            "operator.sign_out",
            &caller.name,
            None,
            json!({ "session": id }),
        );
        Ok(self.store.end_session(id, self.now(), &event).await?)
    }

    /// The sessions that are not over. Those that the provider, or an operator, ended otherwise are among them.
    pub async fn sessions(&self) -> Result<Vec<OperatorSession>, AuthorityError> {
        Ok(self.store.sessions(self.now()).await?)
    }

    /// Ends a session: its secret counts no longer.
    pub async fn end_session(&self, by: &OperatorName, id: SessionId) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "operator_session.end", id, None);
        Ok(self.store.end_session(id, self.now(), &event).await?)
    }
}
