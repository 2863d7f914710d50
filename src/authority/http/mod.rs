//! The authority's HTTP API: parse, call, answer. `spec/openapi.json` is generated from here, `spec/authority.md` says the rest.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;
use http::{HeaderValue, Uri, header};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::authority::{Authority, AuthorityError};

mod agents;
mod approvals;
mod audit;
mod credentials;
mod edge;
mod edges;
mod enrolment;
mod events;
mod explain;
mod extract;
mod global;
mod grants;
mod installation;
mod keys;
mod limits;
mod meta;
mod my;
mod oauth;
mod policies;
mod problem;
mod relying;
mod revocations;
mod scim;
mod services;
mod sign_in;
mod stop;
mod token;
mod witness;
mod workloads;

pub use agents::OWN_KEY_PATH;
pub use enrolment::ENROL_PATH;
pub use oauth::{INTROSPECT_PATH, REVOKE_PATH};
pub use problem::Problem;
pub use sign_in::CALLBACK_PATH;
pub use witness::WITNESS_PATH;

/// The token endpoint.
pub const TOKEN_PATH: &str = "/oauth/token";
/// Where the metadata of RFC 8414 stands.
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

/// Longer than any answer takes: a revocation waits for leases, and leases are shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

#[derive(OpenApi)]
#[openapi(
    info(title = "writ authority", description = "Issues, lends and revokes. See spec/authority.md."),
    modifiers(&Schemes),
)]
struct Api;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let operator = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An operator's secret, as `writ init` or `POST /v1/operators` showed it. `reader` opens a route to every role, \
                 `approver` to that role and `admin`, `admin` to that role only.",
            ));
        let user = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The user's own ID token, or access token for this authority: see spec/identity.md."));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("operator", SecurityScheme::Http(operator.build()));
        let scim = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "The secret of a provider's SCIM client, as `writ scim token add` showed it: see spec/scim.md.",
        ));
        components.add_security_scheme("scim", SecurityScheme::Http(scim.build()));
        components.add_security_scheme("user", SecurityScheme::Http(user.build()));
    }
}

fn routes() -> OpenApiRouter<Arc<Authority>> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(agents::register, agents::list))
        .routes(routes!(agents::show))
        .routes(routes!(agents::describe))
        .routes(routes!(agents::disable))
        .routes(routes!(agents::enable))
        .routes(routes!(agents::rotate))
        .routes(routes!(agents::rotate_own))
        .routes(routes!(workloads::add))
        .routes(routes!(workloads::list))
        .routes(routes!(workloads::remove))
        .routes(routes!(enrolment::add, enrolment::list))
        .routes(routes!(enrolment::remove))
        .routes(routes!(enrolment::enrol))
        .routes(routes!(grants::add, grants::list))
        .routes(routes!(grants::remove))
        .routes(routes!(services::list))
        .routes(routes!(services::put, services::show, services::remove))
        .routes(routes!(policies::show, policies::put))
        .routes(routes!(policies::history))
        .routes(routes!(policies::check))
        .routes(routes!(policies::version))
        .routes(routes!(credentials::list))
        .routes(routes!(credentials::put, credentials::remove))
        .routes(routes!(credentials::rotate))
        .routes(routes!(edges::list))
        .routes(routes!(edges::remove))
        .routes(routes!(edges::ticket))
        .routes(routes!(keys::list, keys::rotate))
        .routes(routes!(keys::retire))
        .routes(routes!(installation::rewrap))
        .routes(routes!(installation::add_operator, installation::list_operators))
        .routes(routes!(installation::remove_operator))
        .routes(routes!(sign_in::begin))
        .routes(routes!(sign_in::callback))
        .routes(routes!(sign_in::redeem))
        .routes(routes!(sign_in::sign_out))
        .routes(routes!(sign_in::list))
        .routes(routes!(sign_in::end))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::deny))
        .routes(routes!(revocations::revoke, revocations::list))
        .routes(routes!(revocations::show))
        .routes(routes!(explain::explain))
        .routes(routes!(witness::revoke))
        .routes(routes!(stop::suspended))
        .routes(routes!(stop::reactivate))
        .routes(routes!(stop::stop))
        .routes(routes!(stop::lift))
        .routes(routes!(revocations::receipt))
        .routes(routes!(audit::query))
        .routes(routes!(audit::sources))
        .routes(routes!(audit::checkpoints))
        .routes(routes!(my::writs))
        .routes(routes!(my::revoke))
        .routes(routes!(my::logout))
        .routes(routes!(global::revoke))
        .routes(routes!(events::push))
        .routes(routes!(scim::tokens::add, scim::tokens::list))
        .routes(routes!(scim::tokens::remove))
        .routes(routes!(scim::discovery::config))
        .routes(routes!(scim::discovery::resource_types))
        .routes(routes!(scim::discovery::resource_type))
        .routes(routes!(scim::discovery::schemas))
        .routes(routes!(scim::discovery::schema))
        .routes(routes!(scim::search::everything))
        .routes(routes!(scim::users::list, scim::users::add))
        .routes(routes!(scim::users::search))
        .routes(routes!(scim::users::show, scim::users::replace, scim::users::patch, scim::users::remove))
        .routes(routes!(scim::groups::list, scim::groups::add))
        .routes(routes!(scim::groups::search))
        .routes(routes!(scim::groups::show, scim::groups::replace, scim::groups::patch, scim::groups::remove))
        .routes(routes!(limits::show))
        .routes(routes!(limits::list))
        .routes(routes!(relying::add, relying::list))
        .routes(routes!(relying::remove))
        .routes(routes!(token::token))
        .routes(routes!(oauth::revoke))
        .routes(routes!(oauth::introspect))
        .routes(routes!(edge::join))
        .routes(routes!(edge::feed))
        .routes(routes!(edge::lend))
        .routes(routes!(edge::ask))
        .routes(routes!(edge::standing))
        .routes(routes!(edge::redeem))
        .routes(routes!(edge::limits))
        .routes(routes!(edge::audit))
        .routes(routes!(meta::metadata))
        .routes(routes!(meta::healthz))
        .routes(routes!(meta::readyz))
}

/// The description of the API, as `spec/openapi.json` holds it.
pub fn openapi() -> String {
    // Expect safety: a structure of strings, lists and maps serialises.
    let mut json = routes().to_openapi().to_pretty_json().expect("the description serialises");
    json.push('\n');
    json
}

/// Everything the authority answers.
pub(super) fn router(authority: Arc<Authority>) -> Router {
    let (router, _) = routes().split_for_parts();
    let no_store = axum::middleware::map_response(async |mut response: Response| {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    });
    router
        .fallback(async |uri: Uri| scim::or_problem(&uri, AuthorityError::NoRoute))
        .method_not_allowed_fallback(async |uri: Uri| scim::or_problem(&uri, AuthorityError::NoMethod))
        .layer(axum::middleware::from_fn(in_time))
        .layer(no_store)
        .with_state(authority)
}

async fn in_time(request: Request, next: Next) -> Result<Response, AuthorityError> {
    let answer = caught(next.run(request));
    tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(|_| AuthorityError::Overran).flatten()
}

/// A panic ends its request and nothing else, over HTTP/2 too, where other requests share the connection.
async fn caught(answer: impl Future<Output = Response>) -> Result<Response, AuthorityError> {
    // Counted by `telemetry`, which does not tell its message either.
    AssertUnwindSafe(answer).catch_unwind().await.map_err(|_message| AuthorityError::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_request_and_nothing_else() {
        let ended = caught(async { panic!("with a secret in it") }).await;
        assert!(matches!(ended, Err(AuthorityError::Panicked)));
        assert!(caught(async { Response::default() }).await.is_ok());
    }
}
