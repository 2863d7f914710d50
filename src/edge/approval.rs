//! Calls that need a person: put before people as they would be sent, waited for, and sent once when they are approved.
//!
//! Nothing here allows a call. An approval is one more fact for the policy, which decides anew with it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::catalog::{Service, Target};
use crate::clock::Clock;
use crate::edge::channel::{Channel, ChannelError};
use crate::edge::denial::Denial;
use crate::edge::inject::forwarded;
use crate::id::{ApprovalId, EdgeName, RequestId};
use crate::policy::asked::{Header, Parts};
use crate::policy::{Approval, ApprovalState, Approved, Asked, Asker, Demand, Expected, InvalidAsked};
use crate::token::{Chain, Operation, ShownToken};
use crate::wire::{AskRequest, RedeemRequest, Standing, StandingRequest, refusal};

/// Carries the handle of an approval. Never forwarded.
pub const APPROVAL_HEADER: HeaderName = HeaderName::from_static("writ-approval");
const PREFER: HeaderName = HeaderName::from_static("prefer");

const ASK_PATH: &str = "/v1/edge/approval/ask";
const STATE_PATH: &str = "/v1/edge/approval/state";
const REDEEM_PATH: &str = "/v1/edge/approval/redeem";

/// How long the authority may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait that a caller can ask for, in seconds.
const WAIT_S_MAX: u64 = 300;
/// How often it is asked whether somebody decided, while a call waits.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Differ from call to call and ask for nothing: a call that needs a person goes without them, and so can be repeated.
const INCIDENTAL: [&str; 7] =
    ["b3", "baggage", "sentry-trace", "traceparent", "tracestate", "x-correlation-id", "x-request-id"];
const INCIDENTAL_PREFIXES: [&str; 3] = ["x-amzn-trace-", "x-b3-", "x-cloud-trace-"];

/// What a caller says about approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The handle of an approval, from `Writ-Approval`.
    pub handle: Option<ApprovalId>,
    /// How long it would wait for a decision, from `Prefer: wait` (RFC 7240).
    pub wait: Duration,
}

impl Wish {
    /// Reads what stands in `headers`. A preference that is no number is none.
    pub fn of(headers: &HeaderMap) -> Result<Self, Denial> {
        let mut handles = headers.get_all(APPROVAL_HEADER).iter();
        let handle = match (handles.next(), handles.next()) {
            (None, _) => None,
            (Some(only), None) => {
                let parsed = only.to_str().ok().and_then(|text| text.parse().ok());
                Some(parsed.ok_or_else(Denial::approval_malformed)?)
            }
            (Some(_), Some(_)) => return Err(Denial::approval_malformed()),
        };
        // The first one counts (RFC 7240 section 2).
        let waits = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let seconds = waits.flat_map(|value| value.split(',')).find_map(wait_of).flatten();
        Ok(Self { handle, wait: Duration::from_secs(seconds.unwrap_or(0).min(WAIT_S_MAX)) })
    }
}

/// The seconds of a `wait` preference; outer `None` for another preference, inner `None` for one that is no number.
fn wait_of(preference: &str) -> Option<Option<u64>> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().parse().ok())
}

/// A call that is allowed once a person agrees.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The token it came with.
    pub token: &'a ShownToken,
    /// Its chain.
    pub chain: &'a Chain,
    /// The request.
    pub request: RequestId,
    /// What would be sent.
    pub asked: &'a Asked,
    /// What the caller says.
    pub wish: Wish,
}

/// What is asked, and the headers that it is to be sent with: those that people are shown, and no others.
///
/// `body` is what would be sent, to the last byte.
pub fn canonical(
    service: &Service,
    method: &Method,
    target: &Target,
    mut headers: HeaderMap,
    body: &[u8],
    demanded: (Vec<Operation>, Vec<Demand>, u64),
) -> Result<(Asked, HeaderMap), InvalidAsked> {
    forwarded(&mut headers, None);
    let incidental =
        |name: &str| INCIDENTAL.contains(&name) || INCIDENTAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| incidental(name.as_str())).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    drop_wait(&mut headers);
    let listed =
        headers.iter().map(|(name, value)| Header { name: name.as_str().into(), value: value.as_bytes().into() });
    let (operations, demands, policy_version) = demanded;
    let upstream = service.upstream();
    let asked = Asked::new(Parts {
        method: method.as_str().into(),
        url: format!("{}{}", upstream.origin(), upstream.path_and_query(target)).into(),
        headers: listed.collect(),
        body: body.to_vec(),
        operations,
        demands,
        policy_version,
    })?;
    Ok((asked, headers))
}

/// Takes the `wait` preference out: it was for the edge. Values with quotes are left as they are, for they may hold commas.
fn drop_wait(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(PREFER).iter().cloned().collect();
    headers.remove(PREFER);
    for value in values {
        let kept = match value.to_str() {
            Ok(text) if !text.contains('"') => {
                let others: Vec<&str> =
                    text.split(',').map(str::trim).filter(|p| !p.is_empty() && wait_of(p).is_none()).collect();
                if others.is_empty() {
                    continue;
                }
                HeaderValue::from_str(&others.join(", ")).unwrap_or(value)
            }
            _ => value,
        };
        headers.append(PREFER, kept);
    }
}

/// Where calls that need a person are put before people.
pub struct ApprovalDesk {
    channel: Arc<Channel>,
    edge: EdgeName,
    clock: Arc<dyn Clock>,
    waiting: Semaphore,
    asking: Semaphore,
}

impl ApprovalDesk {
    /// How many calls may wait at one time. The next one is answered at once, with its handle.
    pub const WAITING_MAX: usize = 256;

    /// How many calls may ask the authority at one time. The next ones wait, and get a 503 after five seconds: an agent that asks
    /// on and on keeps the authority from nothing else.
    pub const ASKING_MAX: usize = 32;

    /// Asks over `channel`, as `edge`.
    pub fn new(channel: Arc<Channel>, edge: EdgeName, clock: Arc<dyn Clock>) -> Self {
        Self {
            channel,
            edge,
            clock,
            waiting: Semaphore::new(Self::WAITING_MAX),
            asking: Semaphore::new(Self::ASKING_MAX),
        }
    }

    /// A person's approval of exactly this call, used up by this; or what the caller is to do about it.
    ///
    /// `alive` is asked while the call waits: whether its writ still lives. `ready` is awaited directly before the approval is
    /// used up, and without its consent it is not.
    pub async fn obtain<T>(
        &self,
        asking: &Asking<'_>,
        alive: impl Fn() -> Result<(), Denial>,
        ready: impl Future<Output = Result<T, Denial>>,
    ) -> Result<(Approved, T), Denial> {
        let wish = asking.wish;
        let standing = match wish.handle {
            Some(handle) => self.in_turn(self.standing(handle)).await?.map_err(refused)?,
            None => self.in_turn(self.ask(asking)).await??,
        };
        let standing = match standing.state {
            ApprovalState::Pending if !wish.wait.is_zero() => self.wait(standing, wish.wait, alive).await?,
            _ => standing,
        };
        let demands = &asking.asked.parts().demands;
        match (wish.handle, standing.state) {
            (None, ApprovalState::Pending) => Err(Denial::approval_required(&standing, demands)),
            (None, ApprovalState::Approved) if wish.wait.is_zero() => {
                Err(Denial::approval_required(&standing, demands))
            }
            // Of what somebody else has asked the caller learns nothing: the authority compares first.
            _ => {
                let ready = ready.await?;
                Ok((self.in_turn(self.redeem(asking, &standing)).await??, ready))
            }
        }
    }

    /// Asks the authority once fewer than [`ASKING_MAX`](Self::ASKING_MAX) calls do.
    async fn in_turn<T>(&self, question: impl Future<Output = T>) -> Result<T, Denial> {
        let full = "too many calls ask at one time";
        let place = tokio::time::timeout(TIMEOUT, self.asking.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(Denial::approval_unavailable(full)) };
        Ok(question.await)
    }

    async fn ask(&self, asking: &Asking<'_>) -> Result<Standing, Denial> {
        let question =
            AskRequest { token: asking.token.text().to_owned(), asked: asking.asked.clone(), request: asking.request };
        self.channel.call(ASK_PATH, &question, TIMEOUT).await.map_err(refused)
    }

    async fn standing(&self, handle: ApprovalId) -> Result<Standing, ChannelError> {
        self.channel.call(STATE_PATH, &StandingRequest { handle }, TIMEOUT).await
    }

    /// Until somebody decides, the time is over, or the writ is.
    async fn wait(
        &self,
        mut standing: Standing,
        wait: Duration,
        alive: impl Fn() -> Result<(), Denial>,
    ) -> Result<Standing, Denial> {
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(standing) };
        let until = Instant::now() + wait;
        while standing.state == ApprovalState::Pending {
            let now = Instant::now();
            if now >= until {
                break;
            }
            tokio::time::sleep(LOOK_EVERY.min(until - now)).await;
            alive()?;
            match self.standing(standing.handle).await {
                Ok(next) => standing = next,
                Err(ChannelError::Refused { .. }) => return Err(Denial::approval_mismatch()),
                // The authority may be back before the time is over.
                Err(_) => {}
            }
        }
        Ok(standing)
    }

    async fn redeem(&self, asking: &Asking<'_>, standing: &Standing) -> Result<Approved, Denial> {
        let question = RedeemRequest {
            token: asking.token.text().to_owned(),
            handle: standing.handle,
            asked: asking.asked.clone(),
            request: asking.request,
        };
        let answer = self.channel.call::<_, Approval>(REDEEM_PATH, &question, TIMEOUT).await;
        let approval = answer.map_err(|error| match &error {
            ChannelError::Refused { refusal, .. } if &*refusal.code == refusal::APPROVAL_PENDING => {
                Denial::approval_required(standing, &asking.asked.parts().demands)
            }
            _ => refused(error),
        })?;
        let expected = Expected {
            issuer: self.channel.issuer(),
            tenant: &asking.chain.authority().tenant,
            handle: standing.handle,
            asked: asking.asked.digest(),
            asker: Asker::of(asking.chain).digest(),
            policy_version: asking.asked.parts().policy_version,
            edge: &self.edge,
            request: asking.request,
        };
        approval
            .check(self.channel.authority_key(), &expected, self.clock.now())
            .map_err(|error| Denial::approval_not(&error.to_string()))
    }
}

/// What a refusal of the authority's, or none of its answers, is for the caller.
fn refused(error: ChannelError) -> Denial {
    match error {
        ChannelError::Refused { status, refusal } => match (status, &*refusal.code) {
            (StatusCode::UNAUTHORIZED, refusal::WRIT_REFUSED) => Denial::approval_writ_refused(&refusal.detail),
            (StatusCode::TOO_MANY_REQUESTS, refusal::TOO_MANY_APPROVALS) => Denial::too_many_approvals(),
            (StatusCode::FORBIDDEN, refusal::APPROVAL_DENIED) => Denial::approval_denied(),
            (StatusCode::FORBIDDEN, refusal::APPROVAL_USED) => Denial::approval_used(),
            (StatusCode::FORBIDDEN, refusal::APPROVAL_EXPIRED) => Denial::approval_expired(),
            (StatusCode::FORBIDDEN, refusal::APPROVER_GONE) => Denial::approver_gone(),
            (StatusCode::FORBIDDEN, refusal::APPROVAL_MISMATCH) => Denial::approval_mismatch(),
            _ => Denial::approval_unavailable(&refusal.detail),
        },
        other => Denial::approval_unavailable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_wait_is_a_number_of_seconds_and_bounded() {
        let wait = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("prefer", *value)).collect();
            Wish::of(&headers(&pairs)).unwrap().wait.as_secs()
        };
        assert_eq!(wait(&[]), 0);
        assert_eq!(wait(&["wait=20"]), 20);
        assert_eq!(wait(&["return=minimal, WAIT = 7;x=y", "wait=9"]), 7);
        assert_eq!(wait(&["wait=100000"]), 300);
        for none in ["wait=soon", "wait", "wait=-1", "waits=5", "wait=99999999999999999999"] {
            assert_eq!(wait(&[none]), 0, "{none}");
        }
    }

    #[test]
    fn a_handle_stands_once_in_its_one_form() {
        let handle = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("writ-approval", *value)).collect();
            Wish::of(&headers(&pairs)).map(|wish| wish.handle)
        };
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(handle(&[]).unwrap(), None);
        assert_eq!(handle(&[good]).unwrap(), Some(good.parse().unwrap()));
        for bad in [&[good, good][..], &["x"], &[""], &["0123456789ABCDEF0123456789ABCDEF"]] {
            assert_eq!(handle(bad).unwrap_err().reason(), "approval_malformed", "{bad:?}");
        }
    }

    #[test]
    fn a_wait_is_not_forwarded_and_other_preferences_are() {
        let mut sent =
            headers(&[("prefer", "wait=5, return=minimal"), ("prefer", "wait=3"), ("prefer", r#"x="a,wait=1""#)]);
        drop_wait(&mut sent);
        let left: Vec<_> = sent.get_all("prefer").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(left, ["return=minimal", r#"x="a,wait=1""#]);
    }
}
