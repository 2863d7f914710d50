//! Every way to a user's writ, and every word that ends the user, at the same moment: after the answer no live writ of that user
//! exists, whoever came first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::identity::events::{CAEP, RISC, SIGNALS};
use crate::identity::exchange::{SCOPE, Test};
use crate::identity::logout::header;
use crate::scim::Scim;
use crate::scim::global::TYP;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent};

for_every_backend!(
    whatever_a_provider_says_while_a_writ_is_exchanged_the_writ_is_refused_or_dead,
    whatever_a_provider_says_while_a_writ_is_granted_the_writ_is_refused_or_dead,
);

/// Ways in which a provider ends a user.
const ENDS: usize = 6;
/// Ends at once, and ends when one, two or three requests are through.
const MOMENTS: usize = 4;

/// Runs three of `ask` against `end`, which starts when `moment` of them are through. Answers how many were a success.
pub(crate) async fn race(ask: impl AsyncFn() -> Reply, moment: usize, end: impl Future<Output = ()>) -> usize {
    let done = AtomicUsize::new(0);
    let ask = async || {
        let status = ask().await.status;
        done.fetch_add(1, Ordering::SeqCst);
        status
    };
    let ends = async {
        while done.load(Ordering::SeqCst) < moment {
            tokio::task::yield_now().await;
        }
        end.await;
    };
    let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), ends);
    [one, two, three].iter().filter(|status| **status == 200).count()
}

impl Scim {
    /// One word of the provider that alice, who is at `path` of its directory, has ended; returns once it was answered.
    async fn says_ended(&self, kind: usize, round: usize, path: &str) {
        let (test, alice, jti) = (&self.test, self.test.alice(), format!("round-{round}"));
        let event = |uri: String| test.event(&uri, &jti, &alice, &json!({}));
        let (reply, status) = match kind {
            0 => (test.push(&event(format!("{CAEP}session-revoked"))).await, 202),
            1 => (test.push(&event(format!("{RISC}account-disabled"))).await, 202),
            2 => {
                let session = json!({ "format": "opaque", "id": jti });
                let subject = json!({ "format": "complex", "user": alice, "session": session });
                let uri = format!("{CAEP}session-revoked");
                (test.push(&test.event(&uri, &jti, &subject, &json!({}))).await, 202)
            }
            3 => {
                let logout = test.logout_token(&header(), &json!({ "jti": jti, "sid": jti }));
                (test.logout(&logout).await, 200)
            }
            4 => (self.global(&self.signed(TYP, &json!({ "jti": jti })), &alice).await, 204),
            _ => (self.patch(path, json!([{ "op": "replace", "path": "active", "value": false }])).await, 200),
        };
        assert_eq!(reply.status, status, "{kind}: {}", reply.text);
    }

    /// Lets alice be issued writs again, where she was suspended or is inactive.
    async fn is_back(&self, kind: usize, path: &str) {
        match kind {
            1 => drop(self.test.authority.post("/v1/users/reactivate", json!({ "subject": "alice" })).await.ok()),
            5 => drop(self.patch(path, json!([{ "op": "replace", "path": "active", "value": true }])).await.ok()),
            _ => {}
        }
    }
}

async fn every_end(db: &Database, ask: impl AsyncFn(&Test, &TestAgent, usize) -> Reply) {
    let scim = Scim::start(db, SIGNALS).await;
    let agent = scim.test.agent("planner").await;
    let alice = scim.user(json!({ "userName": "alice" })).await;
    let mut issued = 0;
    for round in 0..ENDS * MOMENTS {
        let (kind, moment) = (round / MOMENTS, round % MOMENTS);
        scim.test.authority.clock.advance(Duration::from_secs(30));
        let end = scim.says_ended(kind, round, &alice);
        issued += race(async || ask(&scim.test, &agent, round).await, moment, end).await;
        assert_eq!(scim.test.live().await, [""; 0], "round {round}");
        scim.is_back(kind, &alice).await;
        assert_eq!(ask(&scim.test, &agent, round).await.status, 400, "round {round}: that login is over");
        assert_eq!(scim.test.live().await, [""; 0], "round {round}: nothing lives again");
    }
    assert!(issued > 0, "nothing was issued, so nothing was tested");
}

async fn whatever_a_provider_says_while_a_writ_is_exchanged_the_writ_is_refused_or_dead(db: &Database) {
    let ask = async |test: &Test, agent: &TestAgent, round: usize| {
        test.exchange(agent, &test.id_token(&json!({ "sid": format!("round-{round}") }))).await
    };
    every_end(db, ask).await;
}

async fn whatever_a_provider_says_while_a_writ_is_granted_the_writ_is_refused_or_dead(db: &Database) {
    let count = AtomicUsize::new(0);
    let ask = async |test: &Test, agent: &TestAgent, round: usize| {
        let jti = format!("jag-{}", count.fetch_add(1, Ordering::SeqCst));
        let jag = test.jag(&json!({ "jti": jti, "sid": format!("round-{round}") }));
        test.granted(agent, &jag, &[("scope", SCOPE)]).await
    };
    every_end(db, ask).await;
}
