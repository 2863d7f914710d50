//! `/oauth/revoke` (RFC 7009) and `/oauth/introspect` (RFC 7662).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Form, proof, refuse_query};
use super::token::{ASSERTION_TYPE, FORM_BYTES_MAX, TokenProblem, TokenRefused, no_client};
use crate::authority::clients::{AssertionKind, ClientCredentials};
use crate::authority::introspect::{Active, Scope};
use crate::authority::issue::IssueError;
use crate::authority::witness::{Shown, WitnessRequest};
use crate::authority::{Authority, AuthorityError, client_id};
use crate::id::TenantName;
use crate::token::Chain;

/// The revocation endpoint.
pub const REVOKE_PATH: &str = "/oauth/revoke";
/// The introspection endpoint.
pub const INTROSPECT_PATH: &str = "/oauth/introspect";

/// A token, and who asks. Parameters that are not listed are ignored; none may stand twice.
#[derive(Deserialize, ToSchema)]
pub(super) struct ClientForm {
    /// The writ.
    token: Option<String>,
    /// Ignored: there is one type of token.
    #[serde(rename = "token_type_hint")]
    _token_type_hint: Option<String>,
    /// May be left out; if given, the `iss` of the assertion.
    client_id: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// A JWT signed by the client's registered key.
    client_assertion: Option<String>,
    /// Not accepted.
    #[schema(ignore)]
    client_secret: Option<String>,
}

/// Who acts, and for whom (RFC 8693 section 4.1).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActView {
    /// The agent's client id, or a holder's `did:key`.
    sub: String,
    /// From whom it was delegated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    act: Option<Box<ActView>>,
}

/// The key that each use must prove (RFC 7800).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfirmationView {
    /// Its thumbprint (RFC 7638).
    jkt: String,
}

/// What a writ allows now (RFC 7662 section 2.2). Of one that is not active nothing but that is told.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct IntrospectionView {
    /// Whether it is live, in time, and for the one who asks.
    active: bool,
    /// What it allows, where capabilities alone say that: absent if `checks` is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The client id of the agent it was minted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// The user, or the agent where it acts for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    /// The edge deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    /// The issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// The last second in which it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// The first second in which it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// When its authority block was minted, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// The id of its last block.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// `DPoP`, or `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// The key that each use must prove.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<ConfirmationView>,
    /// Who acts now: absent where the agent acts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<ActView>,
    /// The tenant (an extension of writ).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// What it allows at most (an extension of writ).
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<String>>,
    /// What must hold besides, in Datalog (an extension of writ): a service that does not evaluate these must refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Box<str>>>,
}

impl From<Active> for IntrospectionView {
    fn from(Active { chain, scope: Scope { capabilities, checks }, issued }: Active) -> Self {
        let authority = chain.authority();
        let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        let agent = client_id(&authority.tenant, &authority.agent);
        let last = chain.block_ids().last().unwrap_or(authority.id);
        Self {
            active: true,
            scope: checks.is_empty().then(|| capabilities.join(" ")),
            sub: Some(authority.subject.as_ref().map_or_else(|| agent.clone(), ToString::to_string)),
            aud: Some(authority.audience.to_string()),
            iss: Some(authority.issuer.to_string()),
            exp: Some(chain.expires().secs()),
            nbf: Some(chain.not_before().secs()),
            iat: issued.map(|issued| issued.secs()),
            jti: Some(last.to_string()),
            token_type: Some(if chain.holder().is_some() { "DPoP" } else { "Bearer" }),
            cnf: chain.holder().map(|key| ConfirmationView { jkt: key.thumbprint() }),
            act: act(&chain, &agent),
            client_id: Some(agent),
            tenant: Some(authority.tenant.clone()),
            capabilities: Some(capabilities),
            checks: (!checks.is_empty()).then_some(checks),
        }
    }
}

/// The actors, the present one outside. The agent is one where it acts for a user; where it acts for itself it is the `sub`.
fn act(chain: &Chain, agent: &str) -> Option<ActView> {
    let agent = chain.authority().subject.is_some().then(|| ActView { sub: agent.to_owned(), act: None });
    chain
        .hops()
        .iter()
        .fold(agent, |before, hop| Some(ActView { sub: hop.holder.to_string(), act: before.map(Box::new) }))
}

/// Reads the form of a client that has no secret.
async fn read(authority: &Authority, request: Request) -> Result<Form<ClientForm>, TokenRefused> {
    refuse_query(&request)?;
    let form = Form::<ClientForm>::read(authority, request, FORM_BYTES_MAX).await?;
    if form.fields.client_secret.is_some() || form.headers.contains_key(header::AUTHORIZATION) {
        return Err(no_client("clients have no secret: send a `client_assertion` signed by the client's key"));
    }
    Ok(form)
}

impl ClientForm {
    fn token(&self) -> Result<&str, TokenRefused> {
        self.token.as_deref().ok_or_else(|| TokenRefused::Request("`token` is missing".into()))
    }

    /// How the client says who it is, if it does by an assertion.
    fn client(&self) -> Result<Option<ClientCredentials>, TokenRefused> {
        let Some(assertion) = self.client_assertion.clone() else { return Ok(None) };
        if self.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
            return Err(no_client(
                "send `client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer`",
            ));
        }
        Ok(Some(ClientCredentials { assertion, kind: AssertionKind::Jwt, client_id: self.client_id.clone() }))
    }
}

/// Revokes the last block of a writ (RFC 7009): for the agent it was minted for, which sends an assertion, or for a holder in
/// its chain, who sends a `DPoP` proof with `bdh`. Answers once no edge serves it, with the receipt. A token that is
/// unknown, over, or not the caller's is answered 200 and `{}`, whatever it is.
#[utoipa::path(post, path = "/oauth/revoke", tag = "oauth",
    params(("DPoP" = Option<String>, Header, description = "A proof by a holder of the writ, with `bdh`, where no assertion is sent.")),
    request_body(content = ClientForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Done, with the receipt (`Receipt`), or nothing to do."), (status = "default", body = TokenProblem)))]
pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<Response, TokenRefused> {
    let form = read(&authority, request).await?;
    let token = form.fields.token()?;
    let place = authority.witness_place()?;
    let by = match form.fields.client()? {
        Some(client) => {
            let endpoint = format!("{}{REVOKE_PATH}", authority.issuer());
            Shown::ByAgent(authority.agent_client(&client, &endpoint).await.map_err(TokenRefused::Issue)?)
        }
        None if form.headers.contains_key("dpop") => {
            let key = proof(&form.headers)
                .map_err(AuthorityError::from)
                .and_then(|proof| authority.witness_proof(REVOKE_PATH, proof, &form.body));
            Shown::By(key.map_err(|error| TokenRefused::Issue(IssueError::Proof(error.to_string())))?)
        }
        None => {
            return Err(no_client("send a `client_assertion` as an agent, or a `DPoP` proof as a holder of the writ"));
        }
    };
    match authority.revoke_witnessed(&place, by, &WitnessRequest { token, block: None }).await {
        Ok(ended) => Ok(ended.into_response()),
        Err(AuthorityError::Token(_) | AuthorityError::NotYours | AuthorityError::UnknownWrit) => {
            Ok(Json(serde_json::json!({})).into_response())
        }
        Err(error) => Err(TokenRefused::Issue(error.into())),
    }
}

/// Tells a registered relying service whether a writ is active, and what it allows (RFC 7662).
#[utoipa::path(post, path = "/oauth/introspect", tag = "oauth",
    request_body(content = ClientForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = IntrospectionView), (status = "default", body = TokenProblem)))]
pub(super) async fn introspect(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<Json<IntrospectionView>, TokenRefused> {
    let form = read(&authority, request).await?.fields;
    let token = form.token()?;
    let client = form.client()?.ok_or_else(|| no_client("`client_assertion` is missing"))?;
    let endpoint = format!("{}{INTROSPECT_PATH}", authority.issuer());
    let by = authority.relying_client(&client, &endpoint).await.map_err(TokenRefused::Issue)?;
    let active = authority.introspect(&by, token).await?;
    Ok(Json(active.map_or_else(IntrospectionView::default, Into::into)))
}
