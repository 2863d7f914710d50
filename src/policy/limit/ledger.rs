//! What an edge holds of each count, and what it may still spend of that.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{Allotted, Ask, Bucket, Need};
use crate::clock::{Monotonic, Timestamp};

/// What the edge holds. Whoever spends has reserved before, and whoever reserves finds it here: nothing is counted twice,
/// and nothing is spent that is not held.
#[derive(Debug)]
pub struct Ledger {
    limits: LedgerLimits,
    counts: HashMap<Bucket, Count>,
    /// The counts to ask for, in the order in which they came; each once.
    wanting: VecDeque<Bucket>,
    holdings: u64,
}

/// How a ledger behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// The most counts that are held at once.
    pub counts_max: usize,
    /// How long an answer says that nothing is left.
    pub fresh: Duration,
    /// After how long without a request what is not spent is given back.
    pub idle: Duration,
    /// After how long without a request a count is forgotten of which nothing is left to spend.
    pub forget: Duration,
    /// How long after its window a count is still of use: for requests that came before the turn.
    pub turn: Duration,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            counts_max: 65_536,
            fresh: Duration::from_secs(1),
            idle: Duration::from_secs(2),
            forget: Duration::from_secs(60),
            turn: Duration::from_secs(30),
        }
    }
}

/// What a request may spend. Only [`Ledger::reserve`] makes one; it is spent or released, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is reserved is spent or released"]
pub struct Reservation(pub(super) Vec<Need>);

/// What a request has spent. Only [`Ledger::spend`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent(pub(super) Vec<Need>);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock: which window.
    pub now: Timestamp,
    /// The monotonic clock: how long ago.
    pub at: Monotonic,
}

/// Why a reservation is not made. The index says which need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// More has to be asked for: see [`Ledger::asks`].
    Wait,
    /// The limit is used up.
    Over(usize),
    /// No window has room for that much.
    TooMuch(usize),
    /// The authority knows no such limit, or not as this edge does.
    Unknown(usize),
    /// The edge holds as many counts as it may.
    Full,
}

#[derive(Debug)]
struct Count {
    holding: u64,
    ends: Timestamp,
    max: i64,
    /// At least `spent` and `reserved` together.
    held: i64,
    spent: i64,
    reserved: i64,
    /// What those who wait need beyond what is held.
    missing: i64,
    /// Grows whenever what is missing is asked for, or given up.
    round: u64,
    queued: bool,
    asking: bool,
    answer: Option<Answered>,
    touched: Monotonic,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    at: Monotonic,
    /// `None`: there is no such limit.
    said: Option<Said>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    /// What other edges hold.
    others: i64,
    /// What nobody holds.
    left: i64,
}

impl Ledger {
    /// An edge that holds nothing yet.
    pub fn new(limits: LedgerLimits) -> Self {
        Self { limits, counts: HashMap::new(), wanting: VecDeque::new(), holdings: 0 }
    }

    /// Sets aside what a request needs: all of it, or nothing.
    pub fn reserve(&mut self, mut needs: Vec<Need>, moment: Moment) -> Result<Reservation, (Vec<Need>, Short)> {
        if let Err(short) = self.open_all(&needs, moment) {
            return Err((needs, short));
        }
        for n in 0..needs.len() {
            let need = &mut needs[n];
            let Some(count) = self.counts.get_mut(&need.bucket).filter(|count| need.amount <= count.free()) else {
                self.give_back(&needs[..n]);
                let short = self.short(&mut needs, moment);
                return Err((needs, short));
            };
            count.reserved += need.amount;
            need.holding = count.holding;
        }
        for need in &needs {
            self.look_ahead(&need.bucket);
        }
        Ok(Reservation(needs))
    }

    /// Makes sure that each count was asked for, so that [`used`](Self::used) knows it. Whether it has room is not said.
    pub fn known(&mut self, needs: &[Need], moment: Moment) -> Result<(), Short> {
        let (mut waits, fresh) = (false, self.limits.fresh);
        for (n, need) in needs.iter().enumerate() {
            let count = self.open(need, moment).ok_or(Short::Full)?;
            match count.answer.map(|answer| answer.said.is_some()) {
                Some(true) => {}
                Some(false) if count.is_fresh(moment.at, fresh) => return Err(Short::Unknown(n)),
                Some(false) | None => {
                    // What the request will need comes with the same answer.
                    count.missing = count.missing.max(need.amount.min(need.max).saturating_sub(count.free()));
                    self.want(&need.bucket);
                    waits = true;
                }
            }
        }
        if waits { Err(Short::Wait) } else { Ok(()) }
    }

    /// Nothing was sent: what was reserved is free again.
    pub fn release(&mut self, reservation: Reservation) -> Vec<Need> {
        self.give_back(&reservation.0);
        reservation.0
    }

    /// The request is about to be sent: what was reserved is used.
    pub fn spend(&mut self, reservation: Reservation) -> Spent {
        for need in &reservation.0 {
            if let Some(count) = self.of(need) {
                count.reserved -= need.amount;
                count.spent += need.amount;
            }
        }
        Spent(reservation.0)
    }

    /// It is certain that nothing was sent: what was spent is free again.
    pub fn refund(&mut self, spent: Spent) {
        for need in &spent.0 {
            if let Some(count) = self.of(need) {
                count.spent -= need.amount;
            }
        }
    }

    /// What is used of a count as far as this edge knows: what it spent or reserved itself, and what others held when it
    /// last asked. `None` before it has asked.
    pub fn used(&self, bucket: &Bucket) -> Option<i64> {
        let count = self.counts.get(bucket)?;
        Some(count.answer?.said?.others.saturating_add(count.taken()))
    }

    /// How many counts are held.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Asking the authority.
impl Ledger {
    /// Whether there is something to ask.
    pub fn wants(&self) -> bool {
        !self.wanting.is_empty()
    }

    /// The next questions. Each is to be followed by [`answered`](Self::answered) or [`failed`](Self::failed).
    pub fn asks(&mut self, moment: Moment, at_most: usize) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < at_most
            && let Some(bucket) = self.wanting.pop_front()
        {
            let Some(count) = self.counts.get_mut(&bucket) else { continue };
            count.queued = false;
            if count.asking || count.is_over(moment.now, self.limits.turn) {
                continue;
            }
            asks.push(match count.is_idle(moment.at, self.limits.idle) {
                true if count.free() == 0 => continue,
                true => count.give_up(bucket),
                false => count.ask(bucket),
            });
        }
        asks
    }

    /// Takes in the answers, one for each question.
    pub fn answered(&mut self, asks: &[Ask], answers: &[Option<Allotted>], moment: Moment) {
        for (n, ask) in asks.iter().enumerate() {
            let Some(count) = self.counts.get_mut(&ask.bucket).filter(|count| count.holding == ask.holding) else {
                continue;
            };
            count.asking = false;
            let said = answers.get(n).copied().flatten().map(|Allotted { held, used, max }| {
                // Never less than what is spent or reserved, whoever answers.
                count.held = held.max(count.held);
                count.max = max;
                Said { others: used.saturating_sub(held).max(0), left: max.saturating_sub(used).max(0) }
            });
            count.answer = Some(Answered { at: moment.at, said });
            if count.missing > 0 {
                self.want(&ask.bucket);
            }
        }
    }

    /// No answer came. The authority may hold more for this edge than it knows of: the next question says how things are.
    pub fn failed(&mut self, asks: &[Ask]) {
        for ask in asks {
            if let Some(count) = self.counts.get_mut(&ask.bucket).filter(|count| count.holding == ask.holding) {
                count.asking = false;
                count.missing = 0;
                count.round += 1;
            }
        }
    }

    /// Gives back all that is not spent or reserved: the edge stops. Up to `at_most` questions; none once there is nothing left.
    pub fn leave(&mut self, at_most: usize) -> Vec<Ask> {
        let left = self.counts.iter_mut().filter(|(_, count)| count.free() > 0 && !count.asking);
        left.take(at_most).map(|(bucket, count)| count.give_up(bucket.clone())).collect()
    }

    /// Gives back what nobody has needed for a while, and forgets what is over. To be called every second or so.
    pub fn tidy(&mut self, moment: Moment) {
        let LedgerLimits { idle, forget, turn, .. } = self.limits;
        self.counts.retain(|_, count| {
            // What it has spent stays used: should it be needed again, it is opened as another holding.
            let unneeded = count.is_idle(moment.at, forget) && count.reserved == 0 && count.free() == 0;
            count.asking || !(unneeded || count.is_over(moment.now, turn))
        });
        let idle: Vec<Bucket> = self
            .counts
            .iter()
            .filter(|(_, count)| count.free() > 0 && count.is_idle(moment.at, idle))
            .map(|(bucket, _)| bucket.clone())
            .collect();
        for bucket in &idle {
            self.want(bucket);
        }
    }

    fn open_all(&mut self, needs: &[Need], moment: Moment) -> Result<(), Short> {
        for (n, need) in needs.iter().enumerate() {
            if need.amount > need.max {
                return Err(Short::TooMuch(n));
            }
            self.open(need, moment).ok_or(Short::Full)?;
        }
        Ok(())
    }

    fn give_back(&mut self, needs: &[Need]) {
        for need in needs {
            if let Some(count) = self.of(need) {
                count.reserved -= need.amount;
            }
        }
    }

    /// The count of which a need was reserved. Without it the window is over.
    fn of(&mut self, need: &Need) -> Option<&mut Count> {
        self.counts.get_mut(&need.bucket).filter(|count| count.holding == need.holding)
    }

    /// The count of a need, opened if it is new.
    fn open(&mut self, need: &Need, moment: Moment) -> Option<&mut Count> {
        if !self.counts.contains_key(&need.bucket) {
            if self.counts.len() >= self.limits.counts_max {
                return None;
            }
            self.holdings += 1;
            self.counts.insert(need.bucket.clone(), Count::new(self.holdings, need, moment.at));
        }
        let count = self.counts.get_mut(&need.bucket)?;
        count.touched = moment.at;
        if count.max != need.max {
            // The bound was changed: what is not spent is given back, and asked for anew.
            count.max = need.max;
            count.answer = None;
            if !count.asking {
                count.held = count.taken();
            }
        }
        Some(count)
    }

    /// Why not all of `needs` can be had; what is missing is noted to be asked for, unless it is known that it can't be had.
    fn short(&mut self, needs: &mut [Need], moment: Moment) -> Short {
        for (n, need) in needs.iter().enumerate() {
            let Some(count) = self.counts.get(&need.bucket) else { continue };
            let fresh = count.answer.filter(|_| count.is_fresh(moment.at, self.limits.fresh));
            match fresh.map(|answer| answer.said) {
                Some(None) => return Short::Unknown(n),
                Some(Some(said)) if count.free().saturating_add(said.left) < need.amount => return Short::Over(n),
                Some(Some(_)) | None => {}
            }
        }
        for need in needs {
            let Some(count) = self.counts.get_mut(&need.bucket) else { continue };
            if count.free() < need.amount {
                // Whoever waits looks again after every answer: it is missing once for all that.
                if need.noted != count.round {
                    need.noted = count.round;
                    count.missing = count.missing.saturating_add(need.amount - count.free());
                }
                self.want(&need.bucket);
            }
        }
        Short::Wait
    }

    /// Asks for more before it is needed.
    fn look_ahead(&mut self, bucket: &Bucket) {
        let Some(count) = self.counts.get(bucket) else { return };
        let left = count.answer.and_then(|answer| answer.said).map_or(0, |said| said.left);
        // Less and less beforehand, the closer the bound is.
        if count.free() < (count.share() / 4).min(left / 16) {
            self.want(bucket);
        }
    }

    fn want(&mut self, bucket: &Bucket) {
        if let Some(count) = self.counts.get_mut(bucket).filter(|count| !count.queued && !count.asking) {
            count.queued = true;
            self.wanting.push_back(bucket.clone());
        }
    }
}

impl Count {
    const fn new(holding: u64, need: &Need, at: Monotonic) -> Self {
        Self {
            holding,
            ends: need.ends,
            max: need.max,
            held: 0,
            spent: 0,
            reserved: 0,
            missing: 0,
            round: 1,
            queued: false,
            asking: false,
            answer: None,
            touched: at,
        }
    }

    const fn taken(&self) -> i64 {
        self.spent.saturating_add(self.reserved)
    }

    /// What can be reserved.
    const fn free(&self) -> i64 {
        self.held - self.taken()
    }

    /// How much is asked for in advance.
    const fn share(&self) -> i64 {
        self.max / 16 + 1
    }

    fn is_fresh(&self, at: Monotonic, fresh: Duration) -> bool {
        self.answer.is_some_and(|answer| at.since(answer.at) < fresh)
    }

    fn is_over(&self, now: Timestamp, turn: Duration) -> bool {
        self.ends.after(turn) <= now
    }

    fn is_idle(&self, at: Monotonic, idle: Duration) -> bool {
        self.missing == 0 && at.since(self.touched) >= idle
    }

    /// Missing is what those who wait need beyond what is held; otherwise it is about time to have some more.
    fn ask(&mut self, bucket: Bucket) -> Ask {
        self.asking = true;
        self.round += 1;
        let missing = std::mem::take(&mut self.missing);
        let needed = self.held.saturating_add(missing).min(self.max).max(self.held);
        let from = if missing > 0 { needed } else { self.taken() };
        let wanted = from.saturating_add(self.share()).max(needed);
        Ask { bucket, holding: self.holding, keep: self.held, needed, wanted }
    }

    /// Before the question leaves: what is given back must not be spent meanwhile.
    fn give_up(&mut self, bucket: Bucket) -> Ask {
        self.asking = true;
        self.held = self.taken();
        Ask { bucket, holding: self.holding, keep: self.held, needed: self.held, wanted: self.held }
    }
}
