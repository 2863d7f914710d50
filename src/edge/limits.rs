//! Limits at the edge: a call reserves what it will take before it is sent, out of what the authority let this edge hold.
//!
//! Warm, that is a look into memory. Otherwise one question is under way at a time, for all who wait: however many requests
//! come at once, the authority is asked a few times. Without an answer nothing is let through uncounted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::edge::channel::Channel;
use crate::edge::random;
use crate::id::ProcessId;
use crate::policy::limit::{Ask, Ledger, LedgerLimits, Limit, Limits, Moment, Need, Reservation, Short, Spent};
use crate::token::Value;
use crate::wire::{ASKS_MAX, LimitsReply, LimitsRequest};

/// The path of limits below the issuer's URL.
pub const LIMITS_PATH: &str = "/v1/edge/limits";
/// How long the authority may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// The pause after a question that was not answered.
const PAUSE: Duration = Duration::from_millis(50);
/// How often what is idle is given back, and what is over forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often a request asks again because others took what came.
const ROUNDS_MAX: usize = 16;

/// What this edge holds of limits.
pub struct Shares {
    ledger: Mutex<Ledger>,
    clock: Arc<dyn Clock>,
    channel: Arc<Channel>,
    process: ProcessId,
    /// There is something to ask.
    wake: Notify,
    /// How many questions got no answer; told at the end of each, answered or not.
    failed: watch::Sender<u64>,
}

/// Why a request does not go on. The need is the one that stands in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlimited {
    /// The limit is used up.
    Over(Need),
    /// No window has room for that much.
    TooMuch(Need),
    /// Nobody can say how much is left: the authority does not answer, or does not know the limit as this edge does.
    Unknown(Need),
    /// The edge counts as much as it can.
    Full,
}

/// What a request may take of limits. Dropped unspent, it is free again.
pub struct Reserved {
    limits: Arc<Shares>,
    reservation: Option<Reservation>,
}

/// What a request took of limits. Dropped, it stays taken.
pub struct Taken {
    limits: Arc<Shares>,
    spent: Option<Spent>,
}

impl Shares {
    /// Asks over `channel`; `None` without randomness.
    pub fn new(channel: Arc<Channel>, clock: Arc<dyn Clock>) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            ledger: Mutex::new(Ledger::new(LedgerLimits::default())),
            clock,
            channel,
            process: ProcessId::from_bytes(random().ok()?),
            wake: Notify::new(),
            failed: watch::Sender::default(),
        }))
    }

    /// Returns once what is used of each of these counts is known.
    pub async fn known(&self, needs: &[Need]) -> Result<(), Unlimited> {
        let mut failed = self.failed.subscribe();
        for _ in 0..ROUNDS_MAX {
            let seen = *failed.borrow_and_update();
            let Err(short) = self.locked().known(needs, self.moment()) else { return Ok(()) };
            self.wait(needs, short, seen, &mut failed).await?;
        }
        Err(unknown(needs))
    }

    /// Reserves what a request needs: all of it, or nothing.
    pub async fn reserve(self: &Arc<Self>, mut needs: Vec<Need>) -> Result<Reserved, Unlimited> {
        let mut failed = self.failed.subscribe();
        for _ in 0..ROUNDS_MAX {
            let seen = *failed.borrow_and_update();
            let (reserved, wants) = {
                let mut ledger = self.locked();
                (ledger.reserve(needs, self.moment()), ledger.wants())
            };
            match reserved {
                Ok(reservation) => {
                    if wants {
                        self.wake.notify_one();
                    }
                    return Ok(Reserved { limits: self.clone(), reservation: Some(reservation) });
                }
                Err((again, short)) => {
                    needs = again;
                    self.wait(&needs, short, seen, &mut failed).await?;
                }
            }
        }
        Err(unknown(&needs))
    }

    /// What is used of each limit that counts a request, as far as this edge knows: for policies. Of several counts of one limit,
    /// the fullest.
    pub fn used(&self, limits: &Limits, needs: &[Need]) -> Vec<(Box<str>, Value)> {
        let ledger = self.locked();
        let of = |limit: &Limit| {
            let of_limit = needs.iter().filter(|need| need.bucket.limit == *limit.name());
            let used = of_limit.filter_map(|need| ledger.used(&need.bucket)).max()?;
            Some((limit.name().as_str().into(), limit.value_of(used)))
        };
        limits.iter().filter_map(of).collect()
    }

    /// Asks and gives back for as long as the edge runs.
    pub async fn run(self: Arc<Self>) {
        let mut seq = 0;
        let mut failing = false;
        let mut tidied = self.clock.monotonic();
        loop {
            let woken = tokio::time::timeout(TIDY_EVERY, self.wake.notified()).await;
            if woken.is_err() || self.clock.monotonic().since(tidied) >= TIDY_EVERY {
                tidied = self.clock.monotonic();
                self.locked().tidy(self.moment());
            }
            loop {
                let asks = {
                    let mut ledger = self.locked();
                    if !ledger.wants() {
                        break;
                    }
                    ledger.asks(self.moment(), ASKS_MAX)
                };
                seq += 1;
                let answered = asks.is_empty() || self.ask(&asks, seq, &mut failing).await;
                self.failed.send_modify(|failed| *failed += u64::from(!answered));
                if !answered {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Gives back what is not spent. Call it once nothing is served any more; what is not given back counts until its
    /// window ends.
    pub async fn leave(&self) {
        // Later than any message before: no run asks that often.
        let mut seq = u64::from(u32::MAX);
        loop {
            let asks = self.locked().leave(ASKS_MAX);
            seq += 1;
            if asks.is_empty() || !self.ask(&asks, seq, &mut true).await {
                return;
            }
        }
    }

    async fn ask(&self, asks: &[Ask], seq: u64, failing: &mut bool) -> bool {
        let request = LimitsRequest { process: self.process, seq, asks: asks.to_vec() };
        let answer = self.channel.call::<_, LimitsReply>(LIMITS_PATH, &request, ANSWER).await;
        match answer {
            Ok(reply) => {
                *failing = false;
                self.locked().answered(asks, &reply.answers, self.moment());
                true
            }
            Err(error) => {
                if !std::mem::replace(failing, true) {
                    tracing::warn!(%error, "limits cannot be asked for; what is held here is used up");
                }
                self.locked().failed(asks);
                false
            }
        }
    }

    /// Waits for the end of the next question, if waiting can help. `seen`: how many had failed before the ledger was looked at.
    async fn wait(
        &self,
        needs: &[Need],
        short: Short,
        seen: u64,
        failed: &mut watch::Receiver<u64>,
    ) -> Result<(), Unlimited> {
        match short {
            Short::Wait => {}
            Short::Over(n) => return Err(Unlimited::Over(needs[n].clone())),
            Short::TooMuch(n) => return Err(Unlimited::TooMuch(needs[n].clone())),
            Short::Unknown(n) => return Err(Unlimited::Unknown(needs[n].clone())),
            Short::Full => return Err(Unlimited::Full),
        }
        self.wake.notify_one();
        // Twice the time of one question: one may be under way that knows nothing of this request.
        let ended = tokio::time::timeout(2 * ANSWER, failed.changed()).await;
        if !matches!(ended, Ok(Ok(()))) || *failed.borrow() != seen {
            return Err(unknown(needs));
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), at: self.clock.monotonic() }
    }

    fn locked(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(needs: &[Need]) -> Unlimited {
    needs.first().cloned().map_or(Unlimited::Full, Unlimited::Unknown)
}

impl Reserved {
    /// The request is about to be sent.
    pub fn take(mut self) -> Taken {
        let spent = self.reservation.take().map(|reservation| self.limits.locked().spend(reservation));
        Taken { limits: self.limits.clone(), spent }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.limits.locked().release(reservation);
        }
    }
}

impl Taken {
    /// It is certain that nothing of the request was sent.
    pub fn give_back(mut self) {
        if let Some(spent) = self.spent.take() {
            self.limits.locked().refund(spent);
        }
    }
}
