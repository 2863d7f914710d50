//! The moment a credential touches a request. Only a cleared permit leads here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use http::header::{ACCEPT_ENCODING, HeaderValue, IF_RANGE, RANGE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Request};

use crate::catalog::headers::clean_request;
use crate::catalog::{Service, Target};
use crate::edge::body::UpBody;
use crate::edge::denial::Denial;
use crate::edge::lend::OnLoan;
use crate::policy::Cleared;
use crate::vault::{Apply, CredentialKind, Lent, Scrubber};

/// A request with its credential in it, to be sent to its service and nowhere else. Only [`inject`] makes one.
pub(super) struct Injected(Request<UpBody>);

impl Injected {
    /// The request. Send it, and do nothing else with it.
    pub(super) fn into_request(self) -> Request<UpBody> {
        self.0
    }
}

/// Writes the request that was authorised: from its parsed form, without anything by which the caller could speak past it.
///
/// The credential is the one that was cleared, and no other can be given.
pub(super) fn inject(
    cleared: &Cleared<Arc<OnLoan>>,
    service: &Service,
    method: Method,
    mut target: Target,
    mut headers: HeaderMap,
    body: UpBody,
) -> Result<Injected, Denial> {
    debug_assert_eq!(cleared.permit().operations().service(), service.name());
    let lent = cleared.credential().map(|credential| credential.lent());
    let applied = match lent {
        None => None,
        Some(lent) => Some(lent.apply().map_err(|error| Denial::unusable(error.to_string()))?),
    };
    let credential_header = match &applied {
        Some(Apply::Header(name, _)) => Some(name),
        Some(Apply::Query(_)) | None => None,
    };
    forwarded(&mut headers, credential_header);

    if let Some(Lent { kind: CredentialKind::Query { name }, .. }) = lent {
        target.remove_query(name);
    }
    let mut path = service.upstream().path_and_query(&target);
    match applied {
        Some(Apply::Header(name, value)) => {
            headers.insert(name, value);
        }
        Some(Apply::Query(pair)) => {
            path.push(if target.query().is_some() { '&' } else { '?' });
            path.push_str(pair.expose());
        }
        None => {}
    }
    let path = PathAndQuery::try_from(path).map_err(|error| Denial::unusable(error.to_string()))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    *request.headers_mut() = headers;
    Ok(Injected(request))
}

/// Leaves of a caller's headers those that go on, with what the edge says for itself. `credential` is the header that the
/// credential will be put into. Doing it twice changes nothing.
pub(super) fn forwarded(headers: &mut HeaderMap, credential: Option<&HeaderName>) {
    clean_request(headers, credential);
    // An answer in pieces or in disguise could carry the secret past the scrubber.
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// What to look for in answers, compiled once for each lent credential.
#[derive(Debug, Default)]
pub(super) struct Scrubbers(RwLock<HashMap<usize, (Weak<OnLoan>, Scrubber)>>);

impl Scrubbers {
    /// The scrubber for `lent`.
    pub(super) fn of(&self, lent: &Arc<OnLoan>) -> Result<Scrubber, Denial> {
        // An address stays taken while the entry's weak pointer lives, so it names one credential.
        let key = Arc::as_ptr(lent).addr();
        if let Some((_, scrubber)) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(scrubber.clone());
        }
        let scrubber = Scrubber::new(lent.lent().spellings()).map_err(|error| Denial::unusable(error.to_string()))?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (lent, _)| lent.strong_count() > 0);
        known.insert(key, (Arc::downgrade(lent), scrubber.clone()));
        Ok(scrubber)
    }
}
