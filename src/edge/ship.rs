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
    /// How long records gather before they are shipped together.
    pub gather: Duration,
    /// The longest pause after a failure.
    pub pause_max: Duration,
}

impl Default for ShipLimits {
    fn default() -> Self {
        Self {
            records_max: 500,
            bytes_max: 1 << 20,
            timeout: Duration::from_secs(10),
            gather: Duration::from_millis(500),
            pause_max: Duration::from_secs(5),
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(50);

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
    All,
    More,
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
                Ok(Shipped::More) => pause = PAUSE_MIN,
                Ok(Shipped::All) => {
                    pause = PAUSE_MIN;
                    if heads.changed().await.is_err() {
                        return ShipStopped::Journal(JournalError::Stopped);
                    }
                    tokio::time::sleep(self.limits.gather).await;
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

    /// Ships what there is, once: for an edge that is about to end.
    pub async fn flush(&self) -> Result<(), ShipStopped> {
        loop {
            match self.ship_next().await {
                Ok(Shipped::More) => {}
                // Unshipped records wait in the journal for the next start.
                Ok(Shipped::All) | Err(ShipError::Channel(_) | ShipError::Disk(_)) => return Ok(()),
                Err(ShipError::Stopped(stopped)) => return Err(stopped),
            }
        }
    }

    async fn ship_next(&self) -> Result<Shipped, ShipError> {
        let records = self.journal.next_batch(self.limits.records_max, self.limits.bytes_max).await?;
        let Some(head) = records.last().map(|record| record.head()) else { return Ok(Shipped::All) };
        let checkpoint = Checkpoint::sign(self.source.clone(), head.clone(), self.clock.now(), self.channel.key());
        let shipment = AuditShipment { records, checkpoint: Some(checkpoint) };
        let receipt: AuditReceipt = self.channel.call(AUDIT_PATH, &shipment, self.limits.timeout).await?;
        if receipt.head.seq < head.seq {
            let detail = format!("it says that it has {} of {} records", receipt.head.seq, head.seq);
            return Err(ShipError::Stopped(ShipStopped::Conflict(detail.into())));
        }
        // What it has beyond this shipment came by one whose answer was lost.
        self.journal.shipped(receipt.head).await?;
        Ok(Shipped::More)
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
