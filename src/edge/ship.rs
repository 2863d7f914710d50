//! Hands the journal to the authority, each record once: a place of this edge's chain is stored there once, whatever is repeated.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::audit::{Checkpoint, Head, Source};
use crate::clock::Clock;
use crate::edge::channel::{Channel, ChannelError};
use crate::edge::journal::{Journal, JournalError};
use crate::wire::refusal::AUDIT_CONFLICT;
use crate::wire::{AuditReceipt, AuditShipment};

/// The path of the audit intake below the issuer's URL.
pub const AUDIT_PATH: &str = "/v1/edge/audit";

/// The limits of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShipLimits {
    /// The most records in one shipment.
    pub records_max: usize,
    /// About the most bytes in one shipment.
    pub bytes_max: usize,
    /// How long the authority may take.
    pub timeout: Duration,
    /// How long records gather before they are shipped together, unless there is a full shipment.
    pub gather: Duration,
    /// The longest pause after a failure.
    pub pause_max: Duration,
}

impl Default for ShipLimits {
    fn default() -> Self {
        Self {
            records_max: 4_000,
            bytes_max: 2 << 20,
            timeout: Duration::from_secs(10),
            gather: Duration::from_millis(500),
            pause_max: Duration::from_secs(5),
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How often it is looked meanwhile whether there is a full shipment.
const GATHER_STEPS: u32 = 10;

/// Why shipping has ended for good. The journal keeps every record; once it is full, the edge refuses every call.
#[derive(Debug, thiserror::Error)]
pub enum ShipStopped {
    /// The authority has other records in the same places.
    #[error(
        "the authority refuses the audit records of this edge ({0}): another edge uses its name, or its state was restored \
         from a copy; nothing was deleted"
    )]
    Conflict(Box<str>),
    /// The journal is damaged, closed, or not what the authority has.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

enum Shipped {
    /// There was nothing.
    Nothing,
    /// All there was.
    All,
    /// As much as fits into a shipment.
    Full,
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Channel(ChannelError),
    #[error(transparent)]
    Disk(JournalError),
    #[error(transparent)]
    Stopped(ShipStopped),
}

/// Ships one edge's journal.
pub struct Shipper {
    channel: Arc<Channel>,
    journal: Journal,
    source: Source,
    clock: Arc<dyn Clock>,
    limits: ShipLimits,
}

/// Where the authority's copy of this edge's chain ends: for [`Journal::open`], which continues from there if it lost its own.
pub async fn stored_head(channel: &Channel, timeout: Duration) -> Result<Head, ChannelError> {
    let nothing = AuditShipment { records: Vec::new(), checkpoint: None };
    let receipt: AuditReceipt = channel.call(AUDIT_PATH, &nothing, timeout).await?;
    Ok(receipt.head)
}

impl Shipper {
    /// Ships `journal`, the chain of `source`.
    pub fn new(
        channel: Arc<Channel>,
        journal: Journal,
        source: Source,
        clock: Arc<dyn Clock>,
        limits: ShipLimits,
    ) -> Self {
        Self { channel, journal, source, clock, limits }
    }

    /// Ships until it is dropped, or until there is no point in going on.
    pub async fn run(self) -> ShipStopped {
        let mut heads = self.journal.heads();
        let mut pause = PAUSE_MIN;
        loop {
            heads.mark_unchanged();
            match self.ship_next().await {
                Ok(Shipped::Full) => pause = PAUSE_MIN,
                Ok(shipped) => {
                    pause = PAUSE_MIN;
                    if matches!(shipped, Shipped::Nothing) && heads.changed().await.is_err() {
                        return ShipStopped::Journal(JournalError::Stopped);
                    }
                    self.gather().await;
                }
                Err(error @ (ShipError::Channel(_) | ShipError::Disk(_))) => {
                    tracing::warn!(%error, unshipped_bytes = self.journal.unshipped_bytes(), "audit records wait for the authority");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.limits.pause_max);
                }
                Err(ShipError::Stopped(stopped)) => {
                    tracing::error!(error = %stopped, "shipping audit records has stopped");
                    return stopped;
                }
            }
        }
    }

    /// Waits for others to be shipped with, until there is a full shipment.
    async fn gather(&self) {
        for _ in 0..GATHER_STEPS {
            if self.journal.unshipped_bytes() >= self.limits.bytes_max as u64 {
                return;
            }
            tokio::time::sleep(self.limits.gather / GATHER_STEPS).await;
        }
    }

    /// Ships what there is, once: for an edge that is about to end.
    pub async fn flush(&self) -> Result<(), ShipStopped> {
        loop {
            match self.ship_next().await {
                Ok(Shipped::All | Shipped::Full) => {}
                // Unshipped records wait in the journal for the next start.
                Ok(Shipped::Nothing) | Err(ShipError::Channel(_) | ShipError::Disk(_)) => return Ok(()),
                Err(ShipError::Stopped(stopped)) => return Err(stopped),
            }
        }
    }

    async fn ship_next(&self) -> Result<Shipped, ShipError> {
        let ShipLimits { records_max, bytes_max, timeout, .. } = self.limits;
        let batch = self.journal.next_batch(records_max, bytes_max).await?;
        let Some(head) = batch.head().cloned() else { return Ok(Shipped::Nothing) };
        let checkpoint = Checkpoint::sign(self.source.clone(), head.clone(), self.clock.now(), self.channel.key());
        let shipment = AuditShipment::text_of(batch.texts().iter().map(|text| &**text), &checkpoint);
        let shipment = shipment.map_err(|error| ShipError::Channel(ChannelError::Form(error)))?;
        let receipt: AuditReceipt = self.channel.call_with(AUDIT_PATH, shipment.into(), timeout).await?;
        if receipt.head.seq < head.seq {
            let detail = format!("it says that it has {} of {} records", receipt.head.seq, head.seq);
            return Err(ShipError::Stopped(ShipStopped::Conflict(detail.into())));
        }
        // What it has beyond this shipment came by one whose answer was lost.
        self.journal.shipped(receipt.head).await?;
        Ok(if batch.is_full(records_max, bytes_max) { Shipped::Full } else { Shipped::All })
    }
}

impl From<ChannelError> for ShipError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Refused { status: StatusCode::CONFLICT, refusal } if &*refusal.code == AUDIT_CONFLICT => {
                Self::Stopped(ShipStopped::Conflict(refusal.detail))
            }
            error => Self::Channel(error),
        }
    }
}

impl From<JournalError> for ShipError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Busy
            | JournalError::Late(_)
            | JournalError::Full(_)
            | JournalError::TooLong
            | JournalError::Write(_)
            | JournalError::Read(_) => Self::Disk(error),
            JournalError::Stopped | JournalError::Damaged(_) | JournalError::Diverged(_) => {
                Self::Stopped(ShipStopped::Journal(error))
            }
        }
    }
}
