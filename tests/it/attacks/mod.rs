//! The attack suite over real sockets. `spec/security.md` maps each known case to the tests that show it.
//!
//! Whatever an attack is refused by, [`Siege::repelled`] holds it to the same four things: the service received nothing, no
//! credential was lent, exactly one audit record has the reason, and neither answer nor records repeat token, proof or secret.

mod bodies;
mod chains;
pub(crate) mod http2;
mod page;
mod requests;
mod vectors;

use std::net::SocketAddr;

use writ::audit::{Decision, Event, Verdict};

use crate::edge::authority::StandIn;
use crate::edge::raw::{Answer, Client};
use crate::edge::upstream::Recorder;
use crate::edge::{SECRET, World, eventually};

/// An edge under attack, with everything that could have let something through. It must see every request of its edge, from where
/// its records are when it begins.
#[must_use = "only `over` shows that there is no record too many"]
pub(crate) struct Siege<'a> {
    edge: SocketAddr,
    authority: &'a StandIn,
    upstream: &'a Recorder,
    decided: usize,
}

impl<'a> Siege<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        Self::at(world.edge.address(), &world.authority, &world.upstream)
    }

    pub(crate) fn at(edge: SocketAddr, authority: &'a StandIn, upstream: &'a Recorder) -> Self {
        Self { edge, authority, upstream, decided: decisions(authority).len() }
    }

    /// Sends the bytes on a connection of their own; they must be refused.
    pub(crate) async fn repelled(
        &mut self,
        what: &str,
        request: impl AsRef<[u8]>,
        status: u16,
        reason: &str,
    ) -> Answer {
        let mut client = Client::connect(self.edge).await;
        self.repelled_on(&mut client, what, request, status, reason).await
    }

    /// The same on this connection.
    pub(crate) async fn repelled_on(
        &mut self,
        client: &mut Client,
        what: &str,
        request: impl AsRef<[u8]>,
        status: u16,
        reason: &str,
    ) -> Answer {
        // Connections too: of a request that breaks off the service keeps no record.
        let reached = || (self.upstream.seen().len(), self.upstream.connections());
        let (before, lent) = (reached(), self.authority.lent());
        let request = request.as_ref();
        let answer = client.exchange(request).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("writ-edge"), Some("denied"), "{what}: {}", answer.text());
        assert_eq!(reached(), before, "{what}: the service was reached");
        assert_eq!(self.authority.lent(), lent, "{what}: a credential was lent");
        let decision = self.decision(what).await;
        assert_eq!((decision.verdict, &*decision.reason), (Verdict::Denied, reason), "{what}: {:?}", decision.detail);
        assert_eq!(Some(decision.request.to_string().as_str()), answer.header("writ-request"), "{what}");
        self.nothing_is_told(what, request, &answer);
        answer
    }

    /// Sends the bytes, which are good: what would be refused for another reason than its own shows nothing.
    pub(crate) async fn served(&mut self, what: &str, request: impl AsRef<[u8]>) -> Answer {
        let seen = self.upstream.seen().len();
        let answer = Client::connect(self.edge).await.exchange(request.as_ref()).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        assert_eq!(self.upstream.seen().len(), seen + 1, "{what}");
        let decision = self.decision(what).await;
        assert_eq!((decision.verdict, &*decision.reason), (Verdict::Allowed, "allowed"), "{what}");
        self.nothing_is_told(what, request.as_ref(), &answer);
        answer
    }

    /// The end: the next record is that of the next request, so none was written twice.
    pub(crate) async fn over(mut self) {
        self.repelled("a request without a token", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", 401, "token_missing").await;
    }

    /// The one decision that is new.
    async fn decision(&mut self, what: &str) -> Decision {
        eventually(&format!("{what} is recorded"), || decisions(self.authority).len() > self.decided).await;
        let decisions = decisions(self.authority);
        assert_eq!(decisions.len(), self.decided + 1, "{what}: {decisions:?}");
        self.decided += 1;
        decisions.into_iter().next_back().unwrap()
    }

    fn nothing_is_told(&self, what: &str, request: &[u8], answer: &Answer) {
        let request = String::from_utf8_lossy(request);
        for told in [answer.text(), self.authority.records_text()] {
            assert!(!told.contains(SECRET), "{what}: the secret is told");
            for shown in credentials(&request) {
                assert!(!told.contains(shown), "{what}: a credential is repeated: {shown}");
                // Its end alone is a signature, by which a part could be put together again.
                let end = shown.len().saturating_sub(40);
                assert!(!shown.is_char_boundary(end) || !told.contains(&shown[end..]), "{what}: its end is repeated");
            }
        }
    }
}

pub(crate) fn decisions(authority: &StandIn) -> Vec<Decision> {
    let decision = |event| if let Event::Decision(decision) = event { Some(*decision) } else { None };
    authority.events().into_iter().filter_map(decision).collect()
}

/// Everything long in a request's head that could be a token or a proof, wherever it stands.
fn credentials(request: &str) -> impl Iterator<Item = &str> {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    head.split([' ', '\r', '\n', '=', '&', ',', '?']).filter(|word| word.len() >= 80)
}
