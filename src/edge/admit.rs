//! From a request to a permit. One function for each check, in the order of `spec/edge.md`; the types force the order.
//!
//! `Received -present-> Presented -prove-> HeldToken -claim, admit-> LiveToken -authorize-> Permit`.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Version};
use hyper::body::{Body as _, Incoming};

use crate::audit::event::What;
use crate::catalog::{BodyRule, Content, Listed, NoRoute, RouteMatch, Service, Target};
use crate::clock::Timestamp;
use crate::edge::account::Account;
use crate::edge::approval::{Asking, Wish, canonical};
use crate::edge::body::{self, Unreadable};
use crate::edge::denial::Denial;
use crate::edge::door::Door;
use crate::edge::knowledge::KnownSettings;
use crate::edge::limits::Reserved;
use crate::edge::proxy::{Upstreams, Way};
use crate::edge::room::Whole;
use crate::edge::server::Peer;
use crate::edge::strict::STAND_IN_PATH;
use crate::id::ServiceName;
use crate::key::sha256;
use crate::policy::asked::Parts as Shown;
use crate::policy::limit::Need;
use crate::policy::rules::Rules;
use crate::policy::{Approved, Asked, DenialReason, Denied, Facts, InvalidAsked, NotClear, Permit, authorize};
use crate::revocation::LiveToken;
use crate::token::proof::{self, NonceRule, ProofError, ProvenRequest};
use crate::token::verify::current;
use crate::token::{Capability, Chain, HeldToken, Operation, Operations, ShownToken, Value, VerifiedToken};

/// A request that is allowed, and all that is needed to forward it.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    /// What it will take of limits; `None` where none counts it.
    pub(super) reserved: Option<Reserved>,
    pub(super) token: ShownToken,
    pub(super) way: Way,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Below the service.
    pub(super) target: Target,
    pub(super) body: Arriving,
}

/// A request's body.
pub(super) enum Arriving {
    /// Not read: it will stream.
    Open(Incoming),
    /// Read in full; where a route looks at it, as it was written from the parsed form.
    Read(Whole),
}

/// A request with a token that is live and held by its sender; what it asks for is not looked at yet.
struct Entered {
    live: LiveToken,
    settings: Arc<KnownSettings>,
    token: ShownToken,
    target: Target,
    parts: Parts,
    body: Arriving,
}

/// What is used of limits, by their names.
type Used = Vec<(Box<str>, Value)>;

/// What is decided about: all of a request but what is looked up for it.
struct Coming {
    held: HeldToken,
    token: ShownToken,
    target: Target,
    method: Method,
    headers: HeaderMap,
    body: Arriving,
    /// The address of the connection's other end.
    source: IpAddr,
    /// To its service, once it is known that it may ask something there.
    way: Option<Way>,
}

/// Why there is no permit.
enum Undecided {
    /// There will be none.
    Denied(Denial),
    /// A person must agree first.
    NeedsPerson(Box<NeedsPerson>),
}

impl<E: Into<Denial>> From<E> for Undecided {
    fn from(error: E) -> Self {
        Self::Denied(error.into())
    }
}

/// A call that is allowed once a person agrees; its body is read.
struct NeedsPerson {
    coming: Coming,
    asked: Asked,
}

/// A person's word, and what it was given for.
#[derive(Clone, Copy)]
struct Consent<'a> {
    approved: &'a Approved,
    asked: &'a Asked,
}

/// What a call will take of limits, and what was used of them before.
struct Counted {
    used: Used,
    taking: Taking,
}

enum Taking {
    Needs(Vec<Need>),
    Reserved(Option<Reserved>),
}

impl Consent<'_> {
    /// The headers to send, if what would be sent now is to the last byte what was approved.
    fn covers(
        &self,
        service: &Service,
        method: &Method,
        target: &Target,
        headers: HeaderMap,
        body: &[u8],
        operations: &Operations,
    ) -> Result<HeaderMap, Denial> {
        let Shown { demands, policy_version, .. } = self.asked.parts();
        let demanded = (operations.iter().cloned().collect(), demands.clone(), *policy_version);
        let (now, headers) = canonical(service, method, target, headers, body, demanded)?;
        if now.digest() == self.approved.approval().asked { Ok(headers) } else { Err(Denial::approval_mismatch()) }
    }
}

/// By which scheme a token was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Dpop,
    Bearer,
}

impl Door {
    /// Every check up to the permit. What was established goes into `account`, whether it is allowed or not.
    pub(super) async fn admit(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        account: &mut Account,
    ) -> Result<Admitted, Denial> {
        let Entered { live, settings, token, target, parts, body } = self.enter(request, peer, account).await?;
        let wish = Wish::of(&parts.headers)?;
        let held = live.held().clone();
        let source = peer.address.ip();
        let (method, headers) = (parts.method, parts.headers);
        let coming = Coming { held, token, target, method, headers, body, source, way: None };
        let upstreams = &peer.upstreams;
        match self.decide(live, &settings, coming, upstreams, None, account).await {
            Ok(admitted) => Ok(admitted),
            Err(Undecided::Denied(denial)) => Err(denial),
            // Apart: few calls need this, and none else should carry its size.
            Err(Undecided::NeedsPerson(needs)) => Box::pin(self.admit_approved(*needs, upstreams, wish, account)).await,
        }
    }

    /// Once a person approved exactly this: every check from the token on, anew. A wait may have been long.
    async fn admit_approved(
        &self,
        needs: NeedsPerson,
        upstreams: &Upstreams,
        wish: Wish,
        account: &mut Account,
    ) -> Result<Admitted, Denial> {
        let NeedsPerson { coming, asked } = needs;
        let chain = coming.held.token().chain().clone();
        let asking = Asking { token: &coming.token, chain: &chain, request: account.request, asked: &asked, wish };
        let alive = || Ok(self.knowledge.check(&chain)?);
        // First, so that a call that meets a full limit leaves the approval as it is.
        let counted = self.reserved_for(&chain, &asked);
        let (approved, counted) = self.approvals.obtain(&asking, alive, counted).await?;
        account.approval = Some(approved.approval().handle);

        let settings = self.knowledge.settings().ok_or_else(Denial::no_settings)?;
        current(&chain, &settings.root_keys, &settings.expected, self.clock.now())?;
        let live = self.knowledge.admit(coming.held.clone())?;
        account.seq = live.seq();
        let consent = (Consent { approved: &approved, asked: &asked }, counted);
        match self.decide(live, &settings, coming, upstreams, Some(consent), account).await {
            Ok(admitted) => Ok(admitted),
            Err(Undecided::Denied(denial)) => Err(denial),
            // What is demanded now is not what was approved.
            Err(Undecided::NeedsPerson(_)) => Err(Denial::approval_mismatch()),
        }
    }

    /// Reserves what a call takes that a person is asked about, under the policy set that asks.
    async fn reserved_for(&self, chain: &Chain, asked: &Asked) -> Result<Counted, Denial> {
        let settings = self.knowledge.settings().ok_or_else(Denial::no_settings)?;
        let parts = asked.parts();
        rules(&settings, chain, Some(parts.policy_version))?;
        let Counted { used, taking } = self.counts(&settings, chain, &parts.operations).await?;
        let reserved = self.reserved(&settings, chain, taking).await?;
        Ok(Counted { used, taking: Taking::Reserved(reserved) })
    }

    /// From a live token to a permit. With a person's consent: for exactly what the person saw, or nothing.
    async fn decide(
        &self,
        live: LiveToken,
        settings: &KnownSettings,
        coming: Coming,
        upstreams: &Upstreams,
        consent: Option<(Consent<'_>, Counted)>,
        account: &mut Account,
    ) -> Result<Admitted, Undecided> {
        let (listed, target) = offered(settings, &live, &coming.target)?;
        let service = &listed.service;
        account.credential = service.credential().cloned();
        let matched = service.route(coming.method.as_str(), &target)?;
        may_at_all(&live, &matched, account)?;
        // Before anything is waited for: whoever is slow, the caller or a person, takes the share of this service and of no other.
        let way = match coming.way.filter(|way| *way.listed() == listed) {
            Some(way) => way,
            None => upstreams.to(&listed)?,
        };
        let (content, body) = match matched.body_rule() {
            Some(rule) => {
                let read = self.read_content(rule, &coming.headers, coming.body).await?;
                // It may have taken long to come.
                self.knowledge.check(live.chain())?;
                read
            }
            None => (None, coming.body),
        };
        let asked = matched.ask(&coming.headers, content.as_ref())?;
        let mut whats = asked.operations.iter().zip(asked.shown).map(|(operation, shown)| What {
            arguments: shown.arguments,
            notes: shown.notes,
            ..what(operation.needed())
        });
        account.what = whats.next();
        account.also = whats.collect();
        // The settings and the time of now: a body may have taken long to come, and a check may be about the time. Policies
        // and limits are of one version.
        let settings = self.knowledge.settings().ok_or_else(Denial::no_settings)?;
        let (consent, counted) = match consent {
            None => (None, self.counts(&settings, live.chain(), &asked.operations).await?),
            Some((consent, counted)) => (Some(consent), counted),
        };
        let approved = consent.map(|consent| consent.approved);
        let rules = rules(&settings, live.chain(), approved.map(Approved::policy_version))?;
        let facts = Facts {
            now: self.clock.now(),
            source: Some(coming.source),
            used: counted.used,
            approved: approved.map_or_else(Vec::new, |approved| approved.satisfies().to_vec()),
        };
        let permit = match authorize(live, asked.operations, &rules, facts) {
            Ok(permit) => permit,
            Err(denied) => {
                account.policy = denied.decided.clone();
                let DenialReason::ApprovalRequired { demands, version } = denied.reason else {
                    return Err(Denial::from(denied).into());
                };
                let body = self.read_to_show(body).await?;
                let does = matched.ask(&coming.headers, content.as_ref())?.operations;
                let demanded = (does.iter().cloned().collect(), demands, version);
                let headers = coming.headers.clone();
                let (asked, _) = canonical(service, &coming.method, &target, headers, &body.bytes, demanded)?;
                let coming = Coming { body: Arriving::Read(body), way: Some(way), ..coming };
                return Err(Undecided::NeedsPerson(Box::new(NeedsPerson { coming, asked })));
            }
        };
        account.policy = Some(permit.decided().clone());
        let reserved = self.reserved(&settings, permit.token().chain(), counted.taking).await?;
        drop(matched);
        let Coming { token, method, headers, .. } = coming;
        let (headers, body) = match consent {
            None => (headers, body),
            Some(consent) => {
                let body = self.read_to_show(body).await?;
                let headers = consent.covers(service, &method, &target, headers, &body.bytes, permit.operations())?;
                (headers, Arriving::Read(body))
            }
        };
        Ok(Admitted { permit, reserved, token, way, method, headers, target, body })
    }

    /// A whole body, no longer than what a person can be shown.
    async fn read_to_show(&self, body: Arriving) -> Result<Whole, Denial> {
        let bytes_max = Asked::BODY_BYTES_MAX.min(self.limits.read_body_bytes_max);
        match body {
            Arriving::Read(whole) => Ok(whole),
            Arriving::Open(body) => match body::read(body, bytes_max, self.limits.idle_timeout, &self.bodies).await {
                Err(Unreadable::TooLong) => Err(InvalidAsked::BodyTooLong.into()),
                read => Ok(read?),
            },
        }
    }

    /// What the request would take of limits, and what is used of each: known to this edge then.
    async fn counts<'o>(
        &self,
        settings: &KnownSettings,
        chain: &Chain,
        operations: impl IntoIterator<Item = &'o Operation> + Clone,
    ) -> Result<Counted, Denial> {
        let uncounted = Counted { used: Vec::new(), taking: Taking::Reserved(None) };
        let Some(limits) = settings.limits(&chain.authority().tenant) else { return Ok(uncounted) };
        let needs = limits.needs(chain.into(), operations, self.clock.now())?;
        if needs.is_empty() {
            return Ok(uncounted);
        }
        let known = self.shares.known(&needs).await;
        known.map_err(|unlimited| Denial::unlimited(unlimited, limits, self.clock.now()))?;
        let used = self.shares.used(limits, &needs);
        Ok(Counted { used, taking: Taking::Needs(needs) })
    }

    async fn reserved(
        &self,
        settings: &KnownSettings,
        chain: &Chain,
        taking: Taking,
    ) -> Result<Option<Reserved>, Denial> {
        let needs = match taking {
            Taking::Needs(needs) => needs,
            Taking::Reserved(reserved) => return Ok(reserved),
        };
        let Some(limits) = settings.limits(&chain.authority().tenant) else { return Ok(None) };
        let reserved = self.shares.reserve(needs).await;
        reserved.map(Some).map_err(|unlimited| Denial::unlimited(unlimited, limits, self.clock.now()))
    }

    /// Every check that comes before a service is looked for.
    async fn enter(&self, request: Request<Incoming>, peer: &Peer, account: &mut Account) -> Result<Entered, Denial> {
        let (parts, body) = request.into_parts();
        let target = self.received(&parts, &body, peer)?;
        account.path = target.path().into();
        let (scheme, token) = self.presented(&parts.headers)?;
        let now = self.clock.now();
        let settings = self.knowledge.settings().ok_or_else(Denial::no_settings)?;
        let verified = self.verified(&token, &settings, now, account)?;

        let mut body = Arriving::Open(body);
        if verified.chain().authority().proof_covers.body {
            body = self.read(body, self.limits.read_body_bytes_max).await?;
        }
        let held = match (scheme, peer.proven) {
            (Scheme::Bearer, Some(proven)) if verified.chain().holder().is_some() => {
                proof::hold_by_connection(verified, &proven)?
            }
            (Scheme::Bearer, _) => proof::bear(verified, self.bearer)?,
            (Scheme::Dpop, _) => self.proven(verified, &parts, &target, &body)?,
        };
        account.by_connection = held.is_by_connection();
        // After the proof, which is about the configured origin whatever `Host` says.
        self.addressed_here(&parts)?;
        self.claim(&held, account)?;
        let live = self.knowledge.admit(held)?;
        account.seq = live.seq();
        Ok(Entered { live, settings, token, target, parts, body })
    }

    /// The services that a live token says something about, and how a client's own URLs lead to them: for `writ run`.
    pub(super) async fn services(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        account: &mut Account,
    ) -> Result<Bytes, Denial> {
        let Entered { live, settings, .. } = self.enter(request, peer, account).await?;
        let authority = live.chain().authority();
        let by_connection = peer.proven.is_some() && peer.proven == live.chain().holder();
        let named = |name: &ServiceName| authority.capabilities.iter().any(|capability| capability.service == *name);
        let services: Vec<serde_json::Value> = settings
            .catalog
            .services()
            .filter(|listed| listed.tenant == authority.tenant && named(listed.service.name()))
            .map(|listed| {
                let service = &listed.service;
                let base = service.upstream().base_path();
                serde_json::json!({ "name": service.name(), "origins": service.origins(), "base_path": base })
            })
            .collect();
        Ok(serde_json::json!({ "services": services, "by_connection": by_connection }).to_string().into())
    }

    /// One reading of the request's head.
    fn received(&self, parts: &Parts, body: &Incoming, peer: &Peer) -> Result<Target, Denial> {
        if let Some(refusal) = peer.seen.refused.get().filter(|_| parts.uri.path() == STAND_IN_PATH) {
            return Err((*refusal).into());
        }
        let served = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        if matches!(parts.method, Method::CONNECT | Method::TRACE) || !parts.method.as_str().bytes().all(served) {
            return Err(Denial::method());
        }
        let raw = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let target = Target::parse(raw)?;
        if matches!(parts.method, Method::GET | Method::HEAD) && !body.is_end_stream() {
            return Err(Denial::malformed("body_unexpected", "a GET or HEAD request must not have a body"));
        }
        let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > self.limits.body_bytes_max) {
            return Err(Denial::body_too_large());
        }
        Ok(target)
    }

    /// `Host` says this edge's origin, and nothing else.
    fn addressed_here(&self, parts: &Parts) -> Result<(), Denial> {
        let origin = self.origin.authority();
        let mut hosts = parts.headers.get_all(HOST).iter().map(|host| host.as_bytes() == origin.as_bytes());
        let fits = match parts.version {
            Version::HTTP_2 => {
                let known_scheme = matches!(parts.uri.scheme_str(), Some("http" | "https"));
                let authority = parts.uri.authority().map(|authority| authority.as_str() == origin);
                known_scheme && authority.unwrap_or(false) && hosts.all(|fits| fits)
            }
            _ => hosts.next() == Some(true) && hosts.next().is_none(),
        };
        if fits { Ok(()) } else { Err(Denial::host()) }
    }

    /// The token, from the one place where it may stand.
    fn presented(&self, headers: &HeaderMap) -> Result<(Scheme, ShownToken), Denial> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or_else(Denial::no_token)?;
        if values.next().is_some() {
            return Err(Denial::malformed("authorization_repeated", "send exactly one `Authorization` header"));
        }
        let (scheme, text) =
            value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(Denial::no_token)?;
        let scheme = if scheme.eq_ignore_ascii_case("DPoP") {
            Scheme::Dpop
        } else if scheme.eq_ignore_ascii_case("Bearer") {
            Scheme::Bearer
        } else {
            return Err(Denial::no_token());
        };
        Ok((scheme, ShownToken::new(text, self.chains.limits())?))
    }

    /// Signatures, profile, holders, and whether it counts here and now.
    fn verified(
        &self,
        token: &ShownToken,
        settings: &KnownSettings,
        now: Timestamp,
        account: &mut Account,
    ) -> Result<VerifiedToken, Denial> {
        let known = self.chains.verified(token, &settings.root_keys)?;
        let current = current(&known.chain, &settings.root_keys, &settings.expected, now);
        account.known = Some(known);
        Ok(current?)
    }

    /// Proof of possession, by a proof for this request.
    fn proven(
        &self,
        token: VerifiedToken,
        parts: &Parts,
        target: &Target,
        body: &Arriving,
    ) -> Result<HeldToken, Denial> {
        let mut proofs = parts.headers.get_all(DPOP).iter();
        let (Some(value), None) = (proofs.next(), proofs.next()) else { return Err(ProofError::Missing.into()) };
        let text = value.to_str().map_err(|_| ProofError::Malformed("not ASCII"))?;
        let url = [self.origin.as_str(), target.path()].concat();
        // The query as it was sent: the prover signs what it sends.
        let request = ProvenRequest {
            method: parts.method.as_str(),
            url: &url,
            query: parts.uri.query(),
            body_sha256: match body {
                Arriving::Open(_) => None,
                Arriving::Read(whole) => Some(sha256(&whole.bytes)),
            },
        };
        let now = self.clock.now();
        let Some(nonces) = &self.nonces else {
            return Ok(proof::hold(token, text, &request, NonceRule::Optional, now)?);
        };
        let nonces = nonces.at(now);
        let accepted: [&str; 2] = [&nonces[0], &nonces[1]];
        Ok(proof::hold(token, text, &request, NonceRule::OneOf(&accepted), now)?)
    }

    /// The proof counts once.
    fn claim(&self, held: &HeldToken, account: &mut Account) -> Result<(), Denial> {
        if let Some(proof) = held.proof() {
            self.used_proofs.claim(proof, self.clock.now())?;
            // Recorded only once claimed: the record of a replay must not prolong anything.
            account.proof = Some(proof);
        }
        Ok(())
    }

    async fn read(&self, body: Arriving, bytes_max: usize) -> Result<Arriving, Denial> {
        match body {
            Arriving::Open(body) => {
                Ok(Arriving::Read(body::read(body, bytes_max, self.limits.idle_timeout, &self.bodies).await?))
            }
            read => Ok(read),
        }
    }

    /// A body that a route takes arguments from, and the text to forward: written anew, never the caller's bytes.
    async fn read_content(
        &self,
        rule: BodyRule,
        headers: &HeaderMap,
        body: Arriving,
    ) -> Result<(Option<Content>, Arriving), Denial> {
        let rule = BodyRule { bytes_max: rule.bytes_max.min(self.limits.read_body_bytes_max), ..rule };
        if !matches!(&body, Arriving::Open(body) if body.is_end_stream()) {
            rule.declared(headers)?;
        }
        let Whole { bytes, taken } = match self.read(body, rule.bytes_max).await? {
            Arriving::Read(whole) => whole,
            open @ Arriving::Open(_) => return Ok((None, open)),
        };
        let content = rule.parse(&bytes)?;
        let bytes = content.as_ref().map_or(bytes, |content| content.to_bytes().into());
        Ok((content, Arriving::Read(Whole { bytes, taken })))
    }
}

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The tenant's policies; if a person agreed to a call under a version of them, that one.
fn rules(settings: &KnownSettings, chain: &Chain, version: Option<u64>) -> Result<Arc<Rules>, Denial> {
    let rules = settings.rules.of(&chain.authority().tenant);
    let rules = rules.map_err(|invalid| Denial::policy_unreadable(invalid.to_string()))?;
    if version.is_some_and(|version| version != rules.version()) {
        return Err(NotClear::PolicyChanged.into());
    }
    Ok(rules)
}

/// The service that the first segment names, of the token's own tenant, and the target below it.
fn offered(settings: &KnownSettings, live: &LiveToken, target: &Target) -> Result<(Arc<Listed>, Target), Denial> {
    let (name, below) = target.split_service().ok_or(NoRoute::Service)?;
    let listed = settings.catalog.service(&name)?;
    // Another tenant's service is one that does not exist.
    if listed.tenant != live.chain().authority().tenant {
        return Err(NoRoute::Service.into());
    }
    Ok((listed.clone(), below))
}

fn what(Capability { service, action, resource }: Capability) -> What {
    What { service, action, resource, arguments: Vec::new(), notes: Vec::new() }
}

/// Whether any capability covers the request, whatever its body says: otherwise its body is not even asked for.
fn may_at_all(live: &LiveToken, matched: &RouteMatch<'_, '_>, account: &mut Account) -> Result<(), Denial> {
    let Some(needed) = matched.needed()? else { return Ok(()) };
    account.what = Some(what(needed.clone()));
    if live.chain().authority().capabilities.iter().any(|held| held.covers(&needed)) {
        return Ok(());
    }
    Err(Denied { reason: DenialReason::NoCapability, needed, decided: None }.into())
}
