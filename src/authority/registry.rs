//! This process's copy of the edges' registry, and whether it is still true.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::authority::{Authority, AuthorityError};
use crate::key::PublicKey;
use crate::store::{Edge, Heads, Registered, StoreError};

/// The registry as it was last read.
#[derive(Default)]
pub(super) struct Registry(ArcSwapOption<Registered>);

impl Registry {
    /// The edge with this key, as far as this process knows.
    fn lately(&self, key: &PublicKey) -> Option<Edge> {
        find(self.0.load().as_deref()?, key)
    }
}

fn find(registered: &Registered, key: &PublicKey) -> Option<Edge> {
    registered.edges.iter().find(|edge| edge.key == *key).cloned()
}

/// Whether what was registered then is what is registered at `heads`.
fn is_as_of(registered: &Registered, heads: &Heads) -> bool {
    (registered.server, registered.version) == (heads.server, heads.edge_version)
}

impl Authority {
    /// The edge with this key.
    pub async fn edge(&self, key: &PublicKey) -> Result<Edge, AuthorityError> {
        let heads = self.heads.read().await?;
        self.edge_at(key, &heads).await
    }

    /// An edge that was registered lately, or is now: enough to hear it out, not to tell it anything.
    pub async fn edge_lately(&self, key: &PublicKey) -> Result<Edge, AuthorityError> {
        match self.registry.lately(key) {
            Some(edge) => Ok(edge),
            None => self.edge(key).await,
        }
    }

    /// The edge with this key, as of heads that were just read.
    pub(super) async fn edge_at(&self, key: &PublicKey, heads: &Heads) -> Result<Edge, AuthorityError> {
        let known = self.registry.0.load_full().filter(|known| is_as_of(known, heads));
        let registered = match known {
            Some(known) => known,
            None => {
                let read = Arc::new(self.store.registered().await?);
                if read.server != heads.server {
                    return Err(StoreError::Unavailable("two servers answered for one".into()).into());
                }
                self.registry.0.store(Some(Arc::clone(&read)));
                read
            }
        };
        find(&registered, key).ok_or(AuthorityError::UnknownEdge)
    }
}
