//! `writ explain TOKEN METHOD URL`: allowed or denied, and which block, route or policy decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;

use crate::catalog::{Ambiguous, Catalog, Listed, Origin, Service, Target};
use crate::cli::Context;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::files::{read_json, read_text};
use crate::cli::output::{bad, doubtful, faint, good, plain_line, strong, term};
use crate::cli::remote::OperatorArgs;
use crate::cli::request::encoded;
use crate::cli::token::TokenArg;
use crate::cli::tree::short;
use crate::cli::{online, policy};
use crate::clock::Timestamp;
use crate::id::ServiceName;
use crate::policy::DenialReason;
use crate::policy::permit::decide;
use crate::policy::rules::explain::{Decided, Gaps, explain as explain_by};
use crate::policy::rules::{self, Question, Rules};
use crate::token::inspect::inspect;
use crate::token::verify::{Expected, TokenError, current};
use crate::token::{Argument, Capability, Chain, Limits, Operations, RawToken, RootKeys, verify};

/// `writ explain`
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    token: TokenArg,
    /// The method, as the agent sends it.
    #[arg(value_name = "METHOD")]
    method: String,
    /// The URL, of the edge or of the service itself; or a path that begins with the service's name.
    #[arg(id = "request_url", value_name = "URL")]
    url: String,
    /// A service's file; may be repeated. Without one, the authority's catalog is asked.
    #[arg(long = "service-file", value_name = "FILE")]
    services: Vec<PathBuf>,
    /// Policies to decide by: documents, Cedar files or folders; may be repeated. Without them, the set in force at the authority
    /// where its catalog is asked, and none where it is not.
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// The request's body, for routes that look at it; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Check the signatures too, by these root keys (JSON, as `writ keys list --json` prints them).
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// The decision and what led to it.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    allowed: bool,
    /// `allowed`, or the reason code that the audit record would carry.
    reason: &'static str,
    /// Why, in a sentence.
    why: String,
    /// `hold` or `unchecked`.
    signatures: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceName>,
    /// The route's methods and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What the request does; where it does several things, the one that is denied, or the last.
    operation: Option<Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<Argument>,
    /// The capability of the authority block that covers the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    capability: Option<Capability>,
    /// The block whose check denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<usize>,
    /// What the tenant's policies say of the operation, once the writ allows it; absent where they were not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Policies>,
    /// What to ask for instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask_for: Option<Capability>,
}

/// What policies say of a call by this writ, whoever it comes from and whatever is used of limits.
#[derive(Debug, Serialize)]
struct Policies {
    /// The version of the set; 0 for the built-in one, and for one from files.
    version: u64,
    #[serde(flatten)]
    said: rules::explain::Explanation,
}

impl ExplainArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let token = self.token.read()?;
        let tenant = inspect(&token, &Limits::default())?.claims().authority().tenant.clone();
        let files = if self.policies.is_empty() { None } else { Some(policy::of_files(&self.policies)?) };
        let (services, rules) = if self.services.is_empty() {
            online(async {
                let remote = self.operator.open()?;
                let path = format!("/v1/services?{}", encoded(&[("tenant", tenant.to_string())]));
                let services: Vec<Service> = remote.fetch(&path).await?;
                let rules = match files {
                    Some(rules) => rules,
                    None => policy::in_force(&remote, &tenant).await?,
                };
                Ok((services, Some(rules)))
            })?
        } else {
            (self.services.iter().map(|path| service(path)).collect::<Result<_, _>>()?, files)
        };
        let listed = services.into_iter().map(|service| Listed { tenant: tenant.clone(), service });
        let catalog = Catalog::new(listed)?;
        self.decide(&context, &token, &By { catalog: &catalog, rules: rules.as_ref() })
    }

    fn decide(&self, context: &Context, token: &RawToken, by: &By<'_>) -> Result<(), Failure> {
        let keys = self.keys.as_deref().map(read_json::<RootKeys>).transpose()?;
        let body = self.body.as_deref().map(read_text).transpose()?;
        let asked = Asked { method: &self.method, url: &self.url, body: body.as_deref() };
        let explanation = explain(token, keys.as_ref(), by, &asked, context.now());
        context.out.result(&explanation, || told(&explanation, &asked))?;
        if explanation.allowed { Ok(()) } else { Err(Failure::silent(REFUSED)) }
    }
}

fn service(path: &Path) -> Result<Service, Failure> {
    Service::from_toml(&read_text(path)?).map_err(|error| Failure::from(error).during(path.display()))
}

/// What a request is decided by, besides its writ.
struct By<'a> {
    catalog: &'a Catalog,
    rules: Option<&'a Rules>,
}

/// The request that is asked about.
struct Asked<'a> {
    method: &'a str,
    url: &'a str,
    body: Option<&'a str>,
}

/// A denial: the reason code and a sentence.
struct Refusal {
    code: &'static str,
    why: String,
}

impl Refusal {
    fn of(code: &'static str, error: impl ToString) -> Self {
        Self { code, why: error.to_string() }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::of(error.code(), error)
    }
}

/// Decides as an edge would, but for revocation and the proof: those nobody but an edge can know.
fn explain(token: &RawToken, keys: Option<&RootKeys>, by: &By<'_>, asked: &Asked<'_>, now: Timestamp) -> Explanation {
    let mut found = Explanation {
        allowed: false,
        reason: "allowed",
        why: String::new(),
        signatures: if keys.is_some() { "hold" } else { "unchecked" },
        service: None,
        route: None,
        operation: None,
        arguments: Vec::new(),
        capability: None,
        block: None,
        policies: None,
        ask_for: None,
    };
    let mut steps = || -> Result<(), Refusal> {
        let operations = understood(by.catalog, asked, &mut found)?;
        match keys {
            Some(keys) => {
                let chain = Arc::new(verify(token, keys, &Limits::default())?);
                current(&chain, keys, &named_by(&chain), now)?;
                judged(&chain, &operations, by, now, &mut found)
            }
            None => {
                let unverified = inspect(token, &Limits::default())?;
                let chain = unverified.claims();
                if chain.expires().secs() < now.secs() {
                    return Err(TokenError::Expired.into());
                }
                if chain.not_before().secs() > now.secs() {
                    return Err(TokenError::NotYet.into());
                }
                judged(chain, &operations, by, now, &mut found)
            }
        }
    };
    match steps() {
        Ok(()) => found.allowed = true,
        Err(Refusal { code, why }) => (found.reason, found.why) = (code, why),
    }
    found
}

/// Issuer and audience as the token names them: an edge has its own, and compares.
fn named_by(chain: &Chain) -> Expected {
    let authority = chain.authority();
    Expected { issuer: authority.issuer.clone(), audience: authority.audience.clone() }
}

/// From the request to what it does.
fn understood(catalog: &Catalog, asked: &Asked<'_>, found: &mut Explanation) -> Result<Operations, Refusal> {
    let (listed, target) = addressed(catalog, asked.url)?;
    let service = &listed.service;
    found.service = Some(service.name().clone());
    let matched = service.route(asked.method, &target).map_err(|error| Refusal::of(error.code(), error))?;
    let route = matched.route();
    found.route = Some(format!("{} {}", route.methods().join(","), route.pattern()));
    let content = match (matched.body_rule(), asked.body) {
        (Some(rule), body) => {
            let body = body.unwrap_or_default().as_bytes();
            rule.parse(body).map_err(|error| Refusal::of(error.code(), error))?
        }
        _ => None,
    };
    let asked = matched.ask(&HeaderMap::new(), content.as_ref()).map_err(|error| Refusal::of(error.code(), error))?;
    Ok(asked.operations)
}

/// The service that a URL is for, and the target at that service: by the service's origin, or by the first path segment
/// as at an edge.
fn addressed<'c>(catalog: &'c Catalog, url: &str) -> Result<(&'c Listed, Target), Refusal> {
    let ambiguous = |error: Ambiguous| Refusal::of(error.code(), error);
    let (origin, path) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            (format!("{scheme}://{}", &rest[..at]).parse::<Origin>().ok(), &rest[at..])
        }
        None => (None, url),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let target = Target::parse(&path).map_err(ambiguous)?;
    let serves = |listed: &&Listed| origin.as_ref().is_some_and(|origin| listed.service.origins().contains(origin));
    if let Some(listed) = catalog.services().find(serves) {
        let base = listed.service.upstream().base_path();
        let below = path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        return match below {
            Some("") => Ok((listed, Target::parse("/").map_err(ambiguous)?)),
            Some(below) => Ok((listed, Target::parse(below).map_err(ambiguous)?)),
            None => Err(Refusal::of("no_route", format!("the service stands below `{base}`"))),
        };
    }
    let (name, target) = target
        .split_service()
        .ok_or_else(|| Refusal::of("unknown_service", "the first path segment does not name a service"))?;
    let listed = catalog.service(&name).map_err(|error| Refusal::of(error.code(), error))?;
    Ok((listed, target))
}

/// From what it does to the decision.
fn judged(
    chain: &Chain,
    operations: &Operations,
    by: &By<'_>,
    now: Timestamp,
    found: &mut Explanation,
) -> Result<(), Refusal> {
    let tenant = &chain.authority().tenant;
    if by.catalog.service(operations.service()).is_ok_and(|listed| listed.tenant != *tenant) {
        return Err(Refusal::of(
            "wrong_tenant",
            format!("the service does not belong to the writ's tenant `{tenant}`"),
        ));
    }
    for operation in operations {
        found.operation = Some(operation.needed());
        found.arguments.clone_from(&operation.arguments);
        match decide(chain, operation, now) {
            Ok(capability) => found.capability = Some(capability.clone()),
            Err(reason) => {
                found.capability = None;
                found.ask_for = Some(operation.needed());
                if let DenialReason::Check { block, .. } = &reason {
                    found.block = Some(*block);
                    return Err(Refusal::of("insufficient_scope", format!("{reason}: {}", added_by(chain, *block))));
                }
                return Err(Refusal::of("insufficient_scope", reason));
            }
        }
    }
    match by.rules {
        None => Ok(()),
        Some(rules) => permitted(chain, operations, rules, now, found),
    }
}

/// What policies say of what the writ allows. Of several operations, that of which they allow least.
fn permitted(
    chain: &Chain,
    operations: &Operations,
    rules: &Rules,
    now: Timestamp,
    found: &mut Explanation,
) -> Result<(), Refusal> {
    let unknown = |member: &str| vec![Box::from(member)];
    let gaps = Gaps { context: ["source", "used"].map(unknown).to_vec(), groups: false };
    let said = |operation| (operation, explain_by(rules, &Question::of_call(chain, operation, None, &[], now), &gaps));
    let Some((operation, said)) = operations.iter().map(said).max_by_key(|(_, said)| said.decision) else {
        return Ok(());
    };
    found.operation = Some(operation.needed());
    found.arguments.clone_from(&operation.arguments);
    found.capability = decide(chain, operation, now).ok().cloned();
    let names = said.by.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let refusal = match (said.decision, said.by.is_empty()) {
        (Decided::Allow, _) => None,
        (Decided::Deny, true) => Some(Refusal::of("policy_denied", "no policy permits it")),
        (Decided::Deny, false) => Some(Refusal::of("policy_forbidden", format!("denied by {names}"))),
        (Decided::Approval, _) => {
            Some(Refusal::of("approval_required", format!("{names} asks for a person's approval")))
        }
        (Decided::Unknown, _) => Some(Refusal::of("policy_unknown", format!("what {names} asks only a call has"))),
    };
    found.policies = Some(Policies { version: rules.version(), said });
    refusal.map_or(Ok(()), Err)
}

/// Who added a block.
fn added_by(chain: &Chain, block: usize) -> String {
    if block == 0 {
        return "the authority put it there".to_owned();
    }
    match chain.hops().iter().find(|hop| hop.block == block) {
        Some(hop) => format!("{} put it there when handing on to {}", short(hop.signed_by), short(hop.holder)),
        None => "somebody who had the writ narrowed it".to_owned(),
    }
}

fn told(found: &Explanation, asked: &Asked<'_>) -> String {
    let verdict = if found.allowed { good("allowed") } else { bad("denied") };
    let mut lines = vec![format!("{verdict}  {} {}", plain_line(asked.method), plain_line(asked.url))];
    let mut row = |label: &str, value: String| lines.push(format!("  {label:<11} {value}"));
    if let Some(service) = &found.service {
        row("service", service.to_string());
    }
    if let Some(route) = &found.route {
        row("route", plain_line(route));
    }
    if let Some(operation) = &found.operation {
        row("means", term(operation));
    }
    for argument in &found.arguments {
        let value = serde_json::to_string(&argument.value).unwrap_or_default();
        row("argument", plain_line(&format!("{} = {value}", argument.name)));
    }
    match (&found.capability, &found.ask_for) {
        (Some(capability), _) => {
            row("allowed by", format!("the capability {}, and every check passes", strong(capability)));
            if !found.allowed {
                row("denied by", format!("the policies: {}", plain_line(&found.why)));
            }
        }
        (None, Some(needed)) => {
            row("denied by", plain_line(&found.why));
            row("ask for", strong(needed));
        }
        (None, None) => row("denied by", format!("{} {}", plain_line(&found.why), faint(found.reason))),
    }
    let signatures = if found.signatures == "hold" { good("hold") } else { doubtful("not checked (give --keys)") };
    row("signatures", signatures);
    let not_asked = match (&found.policies, &found.capability) {
        (None, Some(_)) => "the policies (give --policy); revocation and proof: only an edge knows",
        _ => "revocation and proof: only an edge knows",
    };
    row("not asked", faint(not_asked));
    if let Some(Policies { version, said }) = &found.policies {
        let set = if *version == 0 { String::new() } else { format!(" (version {version})") };
        lines.push(format!("  policies{set}\n{}", policy::told(said)));
    }
    lines.join("\n")
}
