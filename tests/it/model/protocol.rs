//! States and steps. Time is counted in ticks: a lease is two, the drift allowance one.

use stateright::{Model, Property};

/// The property's name.
pub(super) const NO_USE_AFTER_A_RECEIPT: &str = "no use after a receipt";

const LEASE: u8 = 2;
const DRIFT: u8 = 1;
/// Long enough for a lease before the entry, the bound after it, and a use.
const END: u8 = 6;

/// The replica that a failover leaves with the old primary. The other one is with the new one, whose log is never behind.
const LEFT_BEHIND: usize = 0;

/// A rule of the protocol that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A lease counts from when its answer came.
    LeaseCountsFromTheAnswer,
    /// The head that an answer tells was read at some time before the request was sent.
    HeadReadBeforeTheRequest,
    /// The edge asks again, which acknowledges, while a request that it should have cut still runs.
    AcknowledgedBeforeTheCut,
    /// Admitted once, a request is not checked again before its credential is used.
    NoSecondCheck,
    /// The second check comes before the request can be found by a cut.
    RegisteredAfterTheCheck,
    /// A write does not look at the lease.
    NoLookAtTheLease,
    /// A lease is renewed though entries up to its head are missing.
    RenewedWithoutTheEntry,
    /// The authority waits for the lease alone.
    NoDriftAllowance,
    /// Whoever takes over an unfinished receipt counts from before the commit.
    ReceiptWithoutWaiting,
    /// A replica grants whole leases without knowing whether its database is still the one that takes writes.
    LeaseWithoutAFence,
}

impl Protocol {
    /// How many feed requests the edge sends in a run. With a failover two, one before it and one after: a third would ask
    /// more states than a test has time for.
    const fn requests(&self) -> u8 {
        if self.failover { 2 } else { 3 }
    }
}

impl Flaw {
    pub(super) const WITHOUT_FAILOVER: [Self; 9] = [
        Self::LeaseCountsFromTheAnswer,
        Self::HeadReadBeforeTheRequest,
        Self::AcknowledgedBeforeTheCut,
        Self::NoSecondCheck,
        Self::RegisteredAfterTheCheck,
        Self::NoLookAtTheLease,
        Self::RenewedWithoutTheEntry,
        Self::NoDriftAllowance,
        Self::ReceiptWithoutWaiting,
    ];
}

/// The protocol, whole or with a flaw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) flaw: Option<Flaw>,
    /// Whether the database may fail over.
    pub(super) failover: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    now: u8,
    /// The entry stands in the log of the database that takes writes.
    committed: bool,
    /// What the old primary's log has, once there is a new one.
    failed_over: Option<OldLog>,
    replicas: Vec<Replica>,
    /// An acknowledgement reached a replica, and so all of them.
    acknowledged: bool,
    /// Who owes the receipt, and since when it counts.
    owed: Option<Owed>,
    receipt: bool,
    edge: Edge,
    /// Sent and not yet received; may stay here for ever.
    requests: Vec<Request>,
    answers: Vec<Answer>,
    used_after_receipt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OldLog {
    has_entry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owed {
    by: usize,
    since: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    /// Connected to the old primary, if there is a new one.
    on_old: bool,
    /// A request that came.
    reading: Option<Request>,
    /// When the last commit began that a standby has confirmed.
    fenced_at: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Edge {
    clock: u8,
    /// Ticks until its clock may lose the next one.
    steady_for: u8,
    knows: bool,
    lease_until: u8,
    sent: u8,
    /// The request whose answer it waits for.
    waiting: Option<Request>,
    /// An answer that it acts on: what it killed is not gone yet.
    settling: Option<Answer>,
    call: Option<Call>,
}

/// A call of the writ that will be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    /// It passed the first check.
    Admitted,
    /// A cut would find it.
    Registered { doomed: bool },
    /// It passed the second check, and uses the credential: once, or in a stream for long.
    Cleared { doomed: bool },
    /// The flaw: it passed the second check, and no cut would find it.
    ClearedUnseen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    n: u8,
    /// By the edge's clock.
    at: u8,
    knows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Answer {
    to: Request,
    has_entry: bool,
    length: u8,
}

/// A step of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Tick { edge_loses_it: bool },
    Commit { by: usize },
    GiveReceipt,
    TakeOver { by: usize },
    FailOver,
    Reattach { replica: usize },
    Fence { replica: usize },
    Crash { replica: usize },
    Ask,
    GiveUpAsking,
    Arrive { request: usize, replica: usize },
    ReadAndAnswer { replica: usize },
    Learn { answer: usize },
    Settle,
    CrashEdge,
    Admit,
    Register,
    Clear,
    Use,
    EndCall,
}

impl Edge {
    fn leased(&self) -> bool {
        self.clock < self.lease_until
    }
}

impl Call {
    const fn is_doomed(self) -> bool {
        matches!(self, Self::Registered { doomed: true } | Self::Cleared { doomed: true })
    }

    /// After a cut: what it finds is to end.
    const fn cut(self) -> Self {
        match self {
            Self::Registered { .. } => Self::Registered { doomed: true },
            Self::Cleared { .. } => Self::Cleared { doomed: true },
            unseen => unseen,
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            committed: false,
            failed_over: None,
            // Without a failover all replicas read one log: what one does, another could have done.
            replicas: vec![Replica::default(); if self.failover { 2 } else { 1 }],
            acknowledged: false,
            owed: None,
            receipt: false,
            edge: Edge {
                clock: 0,
                steady_for: 0,
                knows: false,
                lease_until: 0,
                sent: 0,
                waiting: None,
                settling: None,
                call: None,
            },
            requests: Vec::new(),
            answers: Vec::new(),
            used_after_receipt: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.used_after_receipt {
            return;
        }
        if state.now < END {
            steps.push(Step::Tick { edge_loses_it: false });
            if !self.failover && state.edge.steady_for == 0 {
                steps.push(Step::Tick { edge_loses_it: true });
            }
        }
        self.steps_of_the_authority(state, steps);
        self.steps_of_the_edge(state, steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick { edge_loses_it } => state.tick(edge_loses_it),
            Step::Commit { .. }
            | Step::GiveReceipt
            | Step::TakeOver { .. }
            | Step::FailOver
            | Step::Reattach { .. }
            | Step::Fence { .. }
            | Step::Crash { .. }
            | Step::Arrive { .. }
            | Step::ReadAndAnswer { .. } => self.at_the_authority(&mut state, step),
            Step::Ask | Step::GiveUpAsking | Step::Learn { .. } | Step::Settle | Step::CrashEdge => {
                self.in_the_follower(&mut state, step);
            }
            Step::Admit | Step::Register | Step::Clear | Step::Use | Step::EndCall => self.in_a_call(&mut state, step),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_USE_AFTER_A_RECEIPT, |_, state: &State| !state.used_after_receipt),
            Property::sometimes("a receipt by acknowledgement", |_, state: &State| {
                state.receipt && state.acknowledged && state.edge.leased()
            }),
            Property::sometimes("a receipt by the end of the lease", |_, state: &State| {
                state.receipt && !state.acknowledged
            }),
            Property::sometimes("a use that was allowed after the commit", |_, state: &State| {
                state.committed && !state.edge.knows && matches!(state.edge.call, Some(Call::Cleared { doomed: false }))
            }),
            Property::sometimes("a call that is cut", |_, state: &State| state.edge.call.is_some_and(Call::is_doomed)),
        ]
    }
}

impl State {
    fn tick(&mut self, edge_loses_it: bool) {
        self.now += 1;
        if edge_loses_it {
            // At most the allowance in any window as long as the bound.
            self.edge.steady_for = LEASE + DRIFT;
        } else {
            self.edge.clock += 1;
            self.edge.steady_for = self.edge.steady_for.saturating_sub(1);
        }
    }

    /// The head as a replica reads it now: whether it has the entry.
    fn head_at(&self, replica: usize) -> bool {
        match self.failed_over {
            Some(old) if self.replicas[replica].on_old => old.has_entry,
            _ => self.committed,
        }
    }

    fn takes_writes(&self, replica: usize) -> bool {
        self.failed_over.is_none() || !self.replicas[replica].on_old
    }

    /// Nobody waits for these answers, and these requests acknowledge nothing. Fewer states, the same behaviour.
    fn forget_what_changes_nothing(&mut self) {
        self.answers.clear();
        self.requests.retain(|request| request.knows);
        for replica in &mut self.replicas {
            replica.reading = None;
        }
    }

    fn use_credential(&mut self) {
        self.used_after_receipt |= self.receipt;
    }
}

impl Protocol {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn steps_of_the_authority(&self, state: &State, steps: &mut Vec<Step>) {
        if self.failover && state.failed_over.is_none() {
            steps.push(Step::FailOver);
        }
        for replica in 0..state.replicas.len() {
            let it = &state.replicas[replica];
            if !state.committed && state.takes_writes(replica) {
                steps.push(Step::Commit { by: replica });
            }
            if state.committed && state.owed.is_none() && !state.receipt && state.takes_writes(replica) {
                steps.push(Step::TakeOver { by: replica });
            }
            if state.failed_over.is_some() && it.on_old {
                steps.push(Step::Reattach { replica });
            }
            if self.failover && replica == LEFT_BEHIND && state.takes_writes(replica) && it.fenced_at < state.now {
                steps.push(Step::Fence { replica });
            }
            if !self.failover && state.owed.is_some_and(|owed| owed.by == replica) && !state.receipt {
                steps.push(Step::Crash { replica });
            }
            match it.reading {
                Some(_) => steps.push(Step::ReadAndAnswer { replica }),
                None => steps.extend((0..state.requests.len()).map(|request| Step::Arrive { request, replica })),
            }
        }
        let waited = if self.has(Flaw::NoDriftAllowance) { LEASE } else { LEASE + DRIFT };
        if let Some(owed) = state.owed
            && !state.receipt
            && (state.acknowledged || state.now - owed.since >= waited)
        {
            steps.push(Step::GiveReceipt);
        }
    }

    fn steps_of_the_edge(&self, state: &State, steps: &mut Vec<Step>) {
        let edge = &state.edge;
        match (edge.waiting, edge.settling) {
            (None, None) if edge.sent < self.requests() => steps.push(Step::Ask),
            (Some(waiting), _) => {
                steps.push(Step::GiveUpAsking);
                let mine = state.answers.iter().enumerate().filter(|(_, answer)| answer.to == waiting);
                steps.extend(mine.map(|(answer, _)| Step::Learn { answer }));
            }
            (None, Some(_)) => {
                let gone = !edge.call.is_some_and(Call::is_doomed);
                if gone || self.has(Flaw::AcknowledgedBeforeTheCut) {
                    steps.push(Step::Settle);
                }
            }
            (None, None) => {}
        }
        // What happens inside the edge is explored without a failover.
        if !self.failover && (edge.lease_until > 0 || edge.knows) {
            steps.push(Step::CrashEdge);
        }
        match edge.call {
            None if edge.leased() && !edge.knows => steps.push(Step::Admit),
            None => {}
            Some(Call::Admitted) => steps.extend([Step::Register, Step::EndCall]),
            Some(Call::Registered { .. }) => steps.extend([Step::Clear, Step::EndCall]),
            Some(Call::Cleared { .. } | Call::ClearedUnseen) => {
                if edge.leased() || self.has(Flaw::NoLookAtTheLease) || self.has(Flaw::NoSecondCheck) {
                    steps.push(Step::Use);
                }
                steps.push(Step::EndCall);
            }
        }
    }

    fn at_the_authority(&self, state: &mut State, step: Step) {
        match step {
            Step::Commit { by } => {
                state.committed = true;
                state.owed = Some(Owed { by, since: state.now });
            }
            Step::GiveReceipt => state.receipt = true,
            Step::TakeOver { by } => {
                let since = if self.has(Flaw::ReceiptWithoutWaiting) { 0 } else { state.now };
                state.owed = Some(Owed { by, since });
            }
            Step::FailOver => {
                state.failed_over = Some(OldLog { has_entry: state.committed });
                state.replicas[LEFT_BEHIND].on_old = true;
            }
            Step::Reattach { replica } => state.replicas[replica].on_old = false,
            // Begun and confirmed in one step: a commit that takes longer counts from its beginning, so it only proves less.
            Step::Fence { replica } => state.replicas[replica].fenced_at = state.now,
            Step::Crash { replica } => {
                state.owed = None;
                state.replicas[replica].reading = None;
            }
            Step::Arrive { request, replica } => {
                let request = state.requests.remove(request);
                state.acknowledged |= request.knows;
                state.replicas[replica].reading = Some(request);
            }
            Step::ReadAndAnswer { replica } => self.answer(state, replica),
            _ => {}
        }
    }

    fn answer(&self, state: &mut State, replica: usize) {
        let Some(to) = state.replicas[replica].reading.take() else { return };
        let head = state.head_at(replica) && !self.has(Flaw::HeadReadBeforeTheRequest);
        let fenced_for = if self.failover && replica == LEFT_BEHIND && !self.has(Flaw::LeaseWithoutAFence) {
            state.now - state.replicas[replica].fenced_at
        } else {
            0
        };
        state.answers.push(Answer { to, has_entry: head, length: LEASE.saturating_sub(fenced_for) });
        state.answers.sort_unstable();
    }

    fn in_the_follower(&self, state: &mut State, step: Step) {
        let edge = &mut state.edge;
        match step {
            Step::Ask => {
                let request = Request { n: edge.sent, at: edge.clock, knows: edge.knows };
                edge.sent += 1;
                edge.waiting = Some(request);
                state.requests.push(request);
                state.requests.sort_unstable();
            }
            Step::GiveUpAsking => {
                edge.waiting = None;
                state.forget_what_changes_nothing();
            }
            Step::Learn { answer } => {
                let answer = state.answers.remove(answer);
                edge.waiting = None;
                edge.settling = Some(answer);
                if answer.has_entry && !self.has(Flaw::RenewedWithoutTheEntry) {
                    edge.knows = true;
                    edge.call = edge.call.map(Call::cut);
                }
            }
            Step::Settle => {
                let Some(answer) = edge.settling.take() else { return };
                let from = if self.has(Flaw::LeaseCountsFromTheAnswer) { edge.clock } else { answer.to.at };
                edge.lease_until = edge.lease_until.max(from + answer.length);
            }
            Step::CrashEdge => {
                (edge.knows, edge.lease_until) = (false, 0);
                (edge.waiting, edge.settling, edge.call) = (None, None, None);
                state.forget_what_changes_nothing();
            }
            _ => {}
        }
    }

    fn in_a_call(&self, state: &mut State, step: Step) {
        let edge = &mut state.edge;
        match (step, edge.call) {
            (Step::Admit, _) if self.failover => edge.call = Some(Call::Cleared { doomed: false }),
            (Step::Admit, _) => edge.call = Some(Call::Admitted),
            (Step::Register, _) if self.has(Flaw::RegisteredAfterTheCheck) => {
                edge.call = (edge.leased() && !edge.knows).then_some(Call::ClearedUnseen);
            }
            (Step::Register, _) => edge.call = Some(Call::Registered { doomed: false }),
            (Step::Clear, Some(Call::Registered { doomed })) => {
                let live = edge.leased() && !edge.knows && !doomed;
                edge.call = (live || self.has(Flaw::NoSecondCheck)).then_some(Call::Cleared { doomed });
            }
            (Step::Use, _) => state.use_credential(),
            (Step::EndCall, _) => edge.call = None,
            _ => {}
        }
    }
}
