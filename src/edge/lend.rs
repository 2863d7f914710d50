//! Credentials on loan: asked for when a permitted call needs one, kept in memory for a moment, never on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;

use crate::clock::{Clock, Monotonic};
use crate::edge::channel::{Channel, ChannelError};
use crate::id::{RequestId, ServiceName, Subject, TenantName};
use crate::revocation::{Borrowed, Loan};
use crate::token::{Chain, ShownToken};
use crate::vault::Lent;
use crate::wire::refusal::{NO_CREDENTIAL, WRIT_REFUSED};
use crate::wire::{LendReply, LendRequest};

/// The limits of lending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LendLimits {
    /// How long the authority may take.
    pub timeout: Duration,
    /// The longest a credential is kept, whatever the authority allows.
    pub keep_max: Duration,
    /// How many are kept at once.
    pub count_max: usize,
}

impl Default for LendLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), keep_max: Duration::from_secs(60), count_max: 10_000 }
    }
}

/// Why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LendError {
    /// The authority can't be asked, or gave no answer that can be believed. A 503.
    #[error("the authority cannot be asked for the credential: try again")]
    Unavailable,
    /// The edge asks for more different credentials at once than it may hold. A 503.
    #[error("the edge holds as many credentials as it may: try again")]
    Full,
    /// Nobody stored a credential of this service for whom the writ speaks. A 403.
    #[error("the authority has no credential of this service for this writ")]
    NoCredential,
    /// The authority does not take this writ for a live one. A 401.
    #[error("the authority does not lend for this writ: {0}")]
    Refused(Box<str>),
}

/// A credential on loan. Only a [`Lender`] makes one.
#[derive(Debug)]
pub struct OnLoan {
    loan: Loan,
    lent: Lent,
}

impl OnLoan {
    /// The credential. To be used for a request only after [`Knowledge::clear`](crate::edge::knowledge::Knowledge::clear).
    pub const fn lent(&self) -> &Lent {
        &self.lent
    }
}

impl Borrowed for OnLoan {
    fn loan(&self) -> &Loan {
        &self.loan
    }
}

/// Asks for credentials, each one once however many requests wait for it.
pub struct Lender {
    channel: Arc<Channel>,
    clock: Arc<dyn Clock>,
    limits: LendLimits,
    desk: Arc<Mutex<Desk>>,
}

/// Whose credential it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantName,
    service: ServiceName,
    subject: Option<Subject>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Grows when everything is dropped: an answer to a question from before is not kept.
    generation: u64,
    kept: HashMap<Key, Kept>,
    asked: HashMap<Key, watch::Receiver<Option<Answered>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    lent: Arc<OnLoan>,
    until: Monotonic,
}

type Answered = Result<Arc<OnLoan>, LendError>;

/// The path of lending below the issuer's URL.
pub const LEND_PATH: &str = "/v1/edge/lend";
/// How often a question is asked again because everything was dropped while it was under way.
const ROUNDS_MAX: usize = 3;

impl Lender {
    /// Asks over `channel`.
    pub fn new(channel: Arc<Channel>, clock: Arc<dyn Clock>, limits: LendLimits) -> Self {
        Self { channel, clock, limits, desk: Arc::default() }
    }

    /// The credential of `service` for whom `chain` speaks: the one that is kept, or a fresh one.
    ///
    /// Touch it only once the permit is cleared: being lent says nothing about revocation.
    pub async fn lend(
        &self,
        token: &ShownToken,
        chain: &Chain,
        service: &ServiceName,
        request: RequestId,
    ) -> Result<Arc<OnLoan>, LendError> {
        let authority = chain.authority();
        let key =
            Key { tenant: authority.tenant.clone(), service: service.clone(), subject: authority.subject.clone() };
        let question = || LendRequest { token: token.text().to_owned(), service: service.clone(), request };
        let asked = {
            let mut desk = locked(&self.desk);
            if let Some(lent) = desk.kept(&key, self.clock.monotonic()) {
                return Ok(lent);
            }
            match desk.asked.get(&key) {
                Some(asked) => Joined::Others(asked.clone()),
                None => Joined::Own(self.ask(&mut desk, &key, question())?),
            }
        };
        match asked {
            Joined::Own(asked) => answered(asked).await,
            Joined::Others(asked) => match answered(asked).await {
                // Refused for somebody else's writ: says nothing about this one.
                Err(LendError::Refused(_)) => self.flight(key).fetch(question()).await,
                answer => answer,
            },
        }
    }

    /// How many credentials are kept.
    pub fn kept(&self) -> usize {
        locked(&self.desk).kept.len()
    }

    /// Drops every credential, and does not keep what is being asked for.
    pub(super) fn drop_all(&self) {
        let mut desk = locked(&self.desk);
        desk.generation += 1;
        desk.kept.clear();
    }

    /// Drops the credentials whose time is over.
    pub(super) fn purge(&self) {
        let now = self.clock.monotonic();
        locked(&self.desk).kept.retain(|_, kept| now < kept.until);
    }

    fn ask(
        &self,
        desk: &mut Desk,
        key: &Key,
        question: LendRequest,
    ) -> Result<watch::Receiver<Option<Answered>>, LendError> {
        if desk.asked.len() >= self.limits.count_max {
            return Err(LendError::Full);
        }
        let (tell, asked) = watch::channel(None);
        desk.asked.insert(key.clone(), asked.clone());
        let flight = self.flight(key.clone());
        // A task of its own: whoever asked first may go away while others still wait.
        tokio::spawn(async move {
            let landing = Landing { desk: flight.desk.clone(), key: flight.key.clone() };
            let answer = flight.fetch(question).await;
            drop(landing);
            tell.send_replace(Some(answer));
        });
        Ok(asked)
    }

    fn flight(&self, key: Key) -> Flight {
        Flight {
            channel: self.channel.clone(),
            clock: self.clock.clone(),
            limits: self.limits,
            desk: self.desk.clone(),
            key,
        }
    }
}

enum Joined {
    Own(watch::Receiver<Option<Answered>>),
    Others(watch::Receiver<Option<Answered>>),
}

async fn answered(mut asked: watch::Receiver<Option<Answered>>) -> Answered {
    match asked.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(LendError::Unavailable)),
        Err(_) => Err(LendError::Unavailable),
    }
}

/// One question under way.
struct Flight {
    channel: Arc<Channel>,
    clock: Arc<dyn Clock>,
    limits: LendLimits,
    desk: Arc<Mutex<Desk>>,
    key: Key,
}

/// Takes the question off the desk, however its task ends.
struct Landing {
    desk: Arc<Mutex<Desk>>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        locked(&self.desk).asked.remove(&self.key);
    }
}

impl Flight {
    async fn fetch(&self, question: LendRequest) -> Answered {
        for _ in 0..ROUNDS_MAX {
            let generation = locked(&self.desk).generation;
            let sent = self.clock.monotonic();
            let reply: LendReply =
                self.channel.call(LEND_PATH, &question, self.limits.timeout).await.map_err(refused)?;
            let until = sent.after(Duration::from_millis(reply.keep_ms).min(self.limits.keep_max));
            let (loan, lent) = reply.lent();
            let lent = Arc::new(OnLoan { loan, lent });
            let mut desk = locked(&self.desk);
            // Settings changed or a credential was revoked meanwhile: this may be the credential from before.
            if desk.generation == generation {
                let now = self.clock.monotonic();
                desk.keep(&self.key, Kept { lent: lent.clone(), until }, now, self.limits.count_max);
                return Ok(lent);
            }
        }
        Err(LendError::Unavailable)
    }
}

impl Desk {
    fn kept(&self, key: &Key, now: Monotonic) -> Option<Arc<OnLoan>> {
        self.kept.get(key).filter(|kept| now < kept.until).map(|kept| kept.lent.clone())
    }

    fn keep(&mut self, key: &Key, kept: Kept, now: Monotonic, count_max: usize) {
        if self.kept.len() >= count_max {
            self.kept.retain(|_, kept| now < kept.until);
        }
        // Full: whoever waited gets it, the next one asks again.
        if now < kept.until && self.kept.len() < count_max {
            self.kept.insert(key.clone(), kept);
        }
    }
}

fn refused(error: ChannelError) -> LendError {
    match error {
        ChannelError::Refused { status: StatusCode::FORBIDDEN, refusal } if &*refusal.code == NO_CREDENTIAL => {
            LendError::NoCredential
        }
        ChannelError::Refused { status: StatusCode::UNAUTHORIZED, refusal } if &*refusal.code == WRIT_REFUSED => {
            LendError::Refused(refusal.detail)
        }
        error => {
            tracing::warn!(%error, "no credential from the authority");
            LendError::Unavailable
        }
    }
}

fn locked(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
