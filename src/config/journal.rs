//! The settings of an edge's audit journal.

use std::time::Duration;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::config::edge::within;

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalFile {
    #[serde(default)]
    durability: DurabilityWord,
    queue_records_max: Option<u64>,
    segment_bytes: Option<u64>,
    unshipped_bytes_max: Option<u64>,
    write_timeout_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DurabilityWord {
    #[default]
    Process,
    Disk,
}

/// How an edge's journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// When a record counts as written.
    pub durability: Durability,
    /// How many decisions may wait for the disk.
    pub queue_records_max: usize,
    /// The size at which a new segment begins.
    pub segment_bytes: u64,
    /// How much may be kept that no authority has taken; beyond it, every call is refused.
    pub unshipped_bytes_max: u64,
    /// The longest that a decision waits for the disk.
    pub write_timeout: Duration,
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the kernel has it: outlives a killed process, not a power cut.
    Process,
    /// Once the disk has it: outlives a power cut. One `fdatasync` for all that wait together.
    Disk,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            queue_records_max: 4096,
            segment_bytes: 64 << 20,
            unshipped_bytes_max: 1 << 30,
            write_timeout: Duration::from_secs(5),
        }
    }
}

impl JournalFile {
    pub(super) fn checked(&self) -> Result<JournalSettings, ConfigError> {
        let default = JournalSettings::default();
        let queue_records_max = within(
            "journal.queue_records_max",
            "must be between 1 and 1000000",
            self.queue_records_max,
            default.queue_records_max as u64,
            1,
            1_000_000,
        )?;
        Ok(JournalSettings {
            durability: match self.durability {
                DurabilityWord::Process => Durability::Process,
                DurabilityWord::Disk => Durability::Disk,
            },
            queue_records_max: usize::try_from(queue_records_max).unwrap_or(usize::MAX),
            segment_bytes: within(
                "journal.segment_bytes",
                "must be between 65536 and 1073741824",
                self.segment_bytes,
                default.segment_bytes,
                1 << 16,
                1 << 30,
            )?,
            unshipped_bytes_max: within(
                "journal.unshipped_bytes_max",
                "must be between 1048576 and 1099511627776",
                self.unshipped_bytes_max,
                default.unshipped_bytes_max,
                1 << 20,
                1 << 40,
            )?,
            write_timeout: Duration::from_secs(within(
                "journal.write_timeout_s",
                "must be between 1 and 60",
                self.write_timeout_s,
                default.write_timeout.as_secs(),
                1,
                60,
            )?),
        })
    }
}
