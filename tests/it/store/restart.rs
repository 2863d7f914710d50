//! A Postgres that is restarted: what was committed is there, and the store goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use writ::revocation::Target;

use super::make::{block, event, revocation};
use crate::support::postgres::{Ending, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_after_its_server_was_restarted_with_all_that_was_committed() {
    let server = tokio::task::spawn_blocking(|| Arc::new(Server::start(&[]))).await.unwrap();
    let store = writ::store::open(&server.url("postgres", &server.empty().await)).await.unwrap();
    for (n, ending) in [Ending::Fast, Ending::Immediate].into_iter().enumerate() {
        let target = Target::Block(block(u8::try_from(n).unwrap()));
        let entry = store.revoke(&revocation(target), &event()).await.unwrap();
        let restarting = server.clone();
        tokio::task::spawn_blocking(move || restarting.restart(ending)).await.unwrap();
        let answers = async {
            loop {
                match store.revocation_head().await {
                    Ok(head) => break head,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), answers).await.unwrap(), entry.seq);
    }
}
