//! The contract of `store`, sentence by sentence, on every back end.
//!
//! A case is written once and listed in its file's `for_every_backend!`. It gets a database of its own. What counts as
//! failure: another answer on one back end than on the other, or than the documentation of the method says.

use std::sync::Arc;

use writ::store::{Store, StoreUrl};

use crate::support::postgres;

mod agent_keys;
mod agents;
pub(crate) mod approvals;
mod audit;
mod catalog;
mod credentials;
mod directory;
mod edges;
mod faults;
mod installation;
mod limits;
pub(crate) mod make;
mod policy;
mod receipts;
mod restart;
mod revocations;
mod roles;
mod sessions;
mod sqlite;
mod stops;
mod tls;
mod users;
mod witnessed;
mod workloads;

/// A database of a test's own.
pub(crate) struct Database {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) url: StoreUrl,
    /// Deletes the files with the test.
    _dir: Option<tempfile::TempDir>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let dir = crate::canaries::folder();
        let url = StoreUrl::sqlite(dir.path().join("writ.db"));
        Self { store: writ::store::open(&url).await.unwrap(), url, _dir: Some(dir) }
    }

    pub(crate) async fn postgres() -> Self {
        let server = postgres::server().await;
        let url = server.url("postgres", &server.fresh().await);
        Self { store: writ::store::open(&url).await.unwrap(), url, _dir: None }
    }

    /// Runs a statement past the store, as the tables' owner.
    pub(crate) async fn sql(&self, sql: &str) {
        match self.url.to_string().strip_prefix("sqlite:") {
            Some(path) => assert_eq!(rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap(), 1),
            None => {
                let url = self.url.to_string();
                let (_, database) = url.rsplit_once('/').unwrap();
                postgres::server().await.sql(database, &format!("SET search_path = writ; {sql}")).await;
            }
        }
    }

    /// The store as another process sees it.
    pub(crate) async fn another(&self) -> Arc<dyn Store> {
        writ::store::open(&self.url).await.unwrap()
    }
}

macro_rules! for_every_backend {
    ($($case:ident),* $(,)?) => {
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::Database::sqlite().await).await;
            }
        )*}

        mod postgres {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::Database::postgres().await).await;
            }
        )*}
    };
}
pub(crate) use for_every_backend;
