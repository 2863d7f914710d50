//! One file of the journal: whole lines, one record each, named for the first.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::audit::Record;
use crate::clock::Timestamp;

/// A segment on disk, as far as it was written in full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    /// The last record; one less than the first while there is none.
    pub(super) last_seq: u64,
    pub(super) bytes: u64,
    /// Until when a proof in it could be replayed: it is kept as long, to refill the replay cache after a restart.
    pub(super) proofs_until: Timestamp,
}

impl Segment {
    pub(super) const fn empty(first_seq: u64) -> Self {
        Self {
            first_seq,
            last_seq: first_seq.saturating_sub(1),
            bytes: 0,
            proofs_until: Timestamp::from_millis(i64::MIN),
        }
    }

    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        path(dir, self.first_seq)
    }
}

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl";

pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{first_seq:020}{SUFFIX}"))
}

/// The first places of the segments in `dir`, in order. Other files are none of ours.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        found.extend(digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes `dir`, readable by its owner alone.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// Makes the names in `dir` outlive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a small file so that a reader sees the old or the new contents, and nothing else.
pub(super) fn replace(dir: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}

/// The end of the segment that is written to.
pub(super) trait Tail: Send {
    /// Writes all of `bytes` at the end, or fails with some of them written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts off what is beyond `bytes`.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
    /// Waits until the disk has it.
    fn sync(&mut self) -> io::Result<()>;
}

impl Tail for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Where segments are written: the file system, or one that a test makes fail.
pub(super) enum Disk {
    Real,
    #[cfg(test)]
    Faulty(std::sync::Arc<super::tests::Faults>),
}

impl Disk {
    /// Opens the segment at `path` for appending, and creates it if need be.
    pub(super) fn tail(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(match self {
            Self::Real => Box::new(file),
            #[cfg(test)]
            Self::Faulty(faults) => Box::new(super::tests::FaultyTail::new(file, faults.clone())),
        })
    }
}

/// The records of a segment, one after the other.
pub(super) struct Lines {
    reader: BufReader<io::Take<File>>,
    at: u64,
    line: Vec<u8>,
}

/// What stands at a place of a segment.
pub(super) enum Line {
    /// A record, and the place behind it.
    Record(Record, u64),
    /// Bytes that are no whole record, from here.
    Torn(u64),
}

impl Lines {
    /// Reads the segment at `path` from byte `from` up to byte `to`.
    pub(super) fn open(path: &Path, from: u64, to: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let reader = BufReader::with_capacity(1 << 16, file.take(to.saturating_sub(from)));
        Ok(Self { reader, at: from, line: Vec::new() })
    }

    /// The text of the record that came last.
    pub(super) fn text(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let start = self.at;
        self.at += read as u64;
        let record = self.line.strip_suffix(b"\n").and_then(|text| serde_json::from_slice(text).ok());
        Ok(Some(record.map_or(Line::Torn(start), |record| Line::Record(record, self.at))))
    }
}
