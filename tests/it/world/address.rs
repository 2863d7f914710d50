//! Where a server of a test listens.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    // Below the ports that the system gives away by itself, and each once: nobody takes it before the process that is told it.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 160).unwrap() * 100;
    loop {
        let port = 16_000 + (first + TAKEN.fetch_add(1, Ordering::Relaxed)) % 16_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}
