//! From host names to addresses: one lookup of a name at a time, however many wait for it.
//!
//! The system's own lookup takes a thread of a pool until it ends, also when nobody waits for it any more. Were there one for
//! each connection, a name that nobody answers for would take all of them, and no other name would be found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

/// From a host name to addresses.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Every address of `host`, in the order of preference.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of this machine.
#[derive(Clone, Debug, Default)]
pub struct SystemResolver(Lookups);

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let looked_up = host.to_owned();
        let lookup = async move { Ok(tokio::net::lookup_host((looked_up, port)).await?.collect()) };
        self.0.join((host.into(), port), lookup).await
    }
}

type Name = (Box<str>, u16);
/// Of many who wait, each gets a copy: an error's kind and what it says.
type Found = Result<Vec<SocketAddr>, (io::ErrorKind, Box<str>)>;
type Answer = watch::Receiver<Option<Found>>;

/// The lookups that are under way.
#[derive(Clone, Debug, Default)]
struct Lookups(Arc<Mutex<HashMap<Name, Answer>>>);

impl Lookups {
    /// What `lookup` finds, or the one of this name that is under way already.
    async fn join(
        &self,
        name: Name,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.under_way(name, lookup);
        let found = answer.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        // Without an answer its runtime has ended.
        let found = found.unwrap_or_else(|| Err((io::ErrorKind::Interrupted, "the lookup was given up".into())));
        found.map_err(|(kind, why)| io::Error::new(kind, String::from(why)))
    }

    fn under_way(
        &self,
        name: Name,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    ) -> Answer {
        let (tell, answer) = watch::channel(None);
        match self.locked().entry(name.clone()) {
            Entry::Occupied(under_way) => return under_way.get().clone(),
            Entry::Vacant(free) => {
                free.insert(answer.clone());
            }
        }
        let ends = Ends { lookups: self.clone(), name };
        // A task of its own: whoever asked first may give up while others wait, or come.
        tokio::spawn(async move {
            let found = lookup.await.map_err(|error| (error.kind(), error.to_string().into()));
            // Before it is told: whoever asks after the answer gets a fresh one.
            drop(ends);
            tell.send_replace(Some(found));
        });
        answer
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Name, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lookup off the list, however its task ends.
struct Ends {
    lookups: Lookups,
    name: Name,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.lookups.locked().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_is_looked_up_once_however_many_give_up() {
        let (lookups, begun, go) = (Lookups::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let at: SocketAddr = "10.0.0.1:443".parse().unwrap();
        let ask = |name: &str| {
            let (begun, go) = (begun.clone(), go.clone());
            let lookup = async move {
                begun.fetch_add(1, Ordering::SeqCst);
                drop(go.acquire().await);
                Ok(vec![at])
            };
            let (lookups, name) = (lookups.clone(), (name.into(), 443));
            async move { lookups.join(name, lookup).await }
        };
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(1), ask("hangs.example")).await.is_err());
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        let waiting = tokio::spawn(ask("hangs.example"));
        let other = tokio::spawn(ask("other.example"));
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        go.add_permits(2);
        assert_eq!(waiting.await.unwrap().unwrap(), [at]);
        assert_eq!(other.await.unwrap().unwrap(), [at]);
        assert_eq!(ask("hangs.example").await.unwrap(), [at], "and afresh once that has ended");
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn everybody_who_waits_is_told_why_a_name_is_not_found() {
        let lookups = Lookups::default();
        let ask = || {
            let fails = async { Err(io::Error::new(io::ErrorKind::NotFound, "no such name")) };
            lookups.join(("gone.example".into(), 443), fails)
        };
        let (first, second) = tokio::join!(ask(), ask());
        for told in [first, second] {
            assert_eq!(told.unwrap_err().to_string(), "no such name");
        }
    }
}
