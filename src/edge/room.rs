//! Room for bodies that are read in full. Each alone is bounded by a limit of its own; here all of them are, together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// So many bytes of bodies may be held at one time.
pub(super) struct Room {
    left: AtomicUsize,
}

/// What a body takes of it, as far as that has come; free again when this is dropped.
pub(super) struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

/// A body that was read in full, and its room for as long as it is held.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) taken: Taken,
}

/// All of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Room {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes_max) })
    }

    /// Nothing yet. By what has come, never by what was announced: an announcement costs its sender nothing.
    pub(super) fn enter(self: &Arc<Self>) -> Taken {
        Taken { room: self.clone(), bytes: 0 }
    }
}

impl Taken {
    /// Takes room for `bytes` more, or for none of them.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let less = |left: usize| left.checked_sub(bytes);
        self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_never_more_than_there_is_and_comes_back() {
        let room = Room::new(10);
        let (mut first, mut second) = (room.enter(), room.enter());
        assert_eq!(first.more(4), Ok(()));
        assert_eq!(second.more(6), Ok(()));
        assert_eq!(first.more(1), Err(NoRoom));
        drop(second);
        assert_eq!(first.more(6), Ok(()));
        assert_eq!(room.enter().more(1), Err(NoRoom));
        drop(first);
        assert_eq!(room.enter().more(10), Ok(()));
    }
}
