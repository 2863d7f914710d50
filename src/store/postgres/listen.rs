//! One connection that hears of new revocations and of what other processes call, for all who wait. When it breaks, the waiters' own timeout carries on.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::Call;
use crate::store::hint::Hint;

/// How long to wait before connecting again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

const LISTEN: &str = "SET search_path = writ, pg_temp; SET ROLE writ_authority; LISTEN writ_revocation; \
     LISTEN writ_wanted; LISTEN writ_heard";

/// Listens until it is dropped.
pub(super) struct Listener(JoinHandle<()>);

impl Listener {
    pub(super) fn start(config: Config, tls: MakeRustlsConnect, hint: Arc<Hint>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&config, tls.clone(), &hint).await {
                    tracing::warn!(%error, "not hearing of new revocations at once: they are found by polling");
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(config: &Config, tls: MakeRustlsConnect, hint: &Hint) -> Result<(), Error> {
    let (client, mut connection) = config.connect(tls).await?;
    let start = async {
        client.batch_execute(LISTEN).await?;
        // What was announced before this was missed.
        let row = client.query_one("SELECT revocation_seq FROM heads WHERE one = 1", &[]).await?;
        hint.ends(row.try_get::<_, i64>(0)?.try_into().unwrap_or(0));
        hint.call(Call::Recorded);
        // Never returns: the connection ends it.
        std::future::pending::<Result<(), Error>>().await
    };
    let hear = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message? {
                match notification.channel() {
                    "writ_wanted" => hint.call(Call::Wanted(notification.payload().into())),
                    "writ_heard" => hint.call(Call::Recorded),
                    _ => hint.grew(notification.payload().parse().unwrap_or(0)),
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = start => ended,
        ended = hear => ended,
    }
}
