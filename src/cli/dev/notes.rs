//! Two small services for the story: a team's notes and its calendar. Real HTTP, each with a secret key of its own, and
//! they know nothing of writ.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::secret::{Secret, equal_in_constant_time};

/// What the catalog says of the notes; `{origin}` is to be replaced.
pub(super) const NOTES_SERVICE: &str = include_str!("notes.toml");
/// What the catalog says of the calendar; `{origin}` is to be replaced.
pub(super) const CALENDAR_SERVICE: &str = include_str!("calendar.toml");

/// The header in which the notes want their key.
pub(super) const KEY_HEADER: &str = "x-api-key";

const NOTES_MAX: usize = 1000;
const EVENTS_MAX: usize = 1000;

/// The notes of all teams.
pub(super) struct Notes {
    notes: Mutex<BTreeMap<(String, String), String>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Clone, Debug, Serialize)]
struct Change {
    team: String,
    note: String,
    what: &'static str,
}

/// A note's text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

/// The key that every request must show.
struct Door {
    key: Secret<String>,
    header: &'static str,
    prefix: &'static str,
}

/// The notes API: asks for `key` in [`KEY_HEADER`].
pub(super) fn notes(key: Secret<String>) -> Router {
    let first = [
        ("standup", "Mon: the release is on Thursday."),
        ("release", "Checklist: changelog, tag, announce."),
        ("retro", "Keep the short meetings."),
    ];
    let notes = first.map(|(note, text)| (("team".to_owned(), note.to_owned()), text.to_owned()));
    let state = Arc::new(Notes { notes: Mutex::new(notes.into()), changes: broadcast::channel(64).0 });
    let router = Router::new()
        .route("/notes/{team}", get(list))
        .route("/notes/{team}/{note}", get(read).put(write).delete(remove))
        .route("/watch/{team}", get(watch))
        .with_state(state);
    behind(router, Door { key, header: KEY_HEADER, prefix: "" })
}

/// The calendar API: asks for `key` as a bearer token.
pub(super) fn calendar(key: Secret<String>) -> Router {
    let first = CalendarEvent { title: "Release".into(), hours: 2 };
    let state: Events = Arc::new(Mutex::new(BTreeMap::from([("team".to_owned(), vec![first])])));
    let router = Router::new().route("/calendars/{team}/events", get(events).post(add_event)).with_state(state);
    behind(router, Door { key, header: "authorization", prefix: "Bearer " })
}

fn behind(router: Router, door: Door) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(door), check_key))
}

async fn check_key(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let shown =
        request.headers().get(door.header).and_then(|value| value.as_bytes().strip_prefix(door.prefix.as_bytes()));
    match shown {
        Some(key) if equal_in_constant_time(key, door.key.expose().as_bytes()) => next.run(request).await,
        _ => refused(StatusCode::UNAUTHORIZED, "this service needs its secret key"),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(serde_json::json!({ "error": why }))).into_response()
}

type Shared = State<Arc<Notes>>;

impl Notes {
    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), String>> {
        // A handler that panicked left the map whole: each step on it is one call.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, team: String, note: String, what: &'static str) {
        // An error says that nobody watches.
        let _ = self.changes.send(Change { team, note, what });
    }
}

async fn list(State(notes): Shared, Path(team): Path<String>) -> Response {
    let notes = notes.locked();
    let names: Vec<&str> = notes.keys().filter(|(of, _)| *of == team).map(|(_, note)| note.as_str()).collect();
    Json(serde_json::json!({ "team": team, "notes": names })).into_response()
}

async fn read(State(notes): Shared, Path(key): Path<(String, String)>) -> Response {
    match notes.locked().get(&key) {
        Some(text) => Json(Text { text: text.clone() }).into_response(),
        None => refused(StatusCode::NOT_FOUND, "no such note"),
    }
}

async fn write(State(notes): Shared, Path((team, note)): Path<(String, String)>, Json(body): Json<Text>) -> Response {
    {
        let mut held = notes.locked();
        if held.len() >= NOTES_MAX {
            return refused(StatusCode::INSUFFICIENT_STORAGE, "too many notes");
        }
        held.insert((team.clone(), note.clone()), body.text);
    }
    notes.tell(team, note, "written");
    StatusCode::NO_CONTENT.into_response()
}

async fn remove(State(notes): Shared, Path((team, note)): Path<(String, String)>) -> Response {
    let removed = notes.locked().remove(&(team.clone(), note.clone()));
    match removed {
        Some(_) => {
            notes.tell(team, note, "removed");
            StatusCode::NO_CONTENT.into_response()
        }
        None => refused(StatusCode::NOT_FOUND, "no such note"),
    }
}

/// Every change of a team's notes as a server-sent event, after a first one that says the stream stands.
async fn watch(
    State(notes): Shared,
    Path(team): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send + 'static> {
    let changes = stream::unfold(notes.changes.subscribe(), |mut changes| async move {
        loop {
            match changes.recv().await {
                Ok(change) => return Some((change, changes)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    let changes = changes.filter_map(move |change| {
        let event = (change.team == team).then(|| Event::default().event("note").json_data(&change).ok()).flatten();
        std::future::ready(event.map(Ok))
    });
    let first = stream::once(std::future::ready(Ok(Event::default().event("watching").data("{}"))));
    Sse::new(first.chain(changes)).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
}

type Events = Arc<Mutex<BTreeMap<String, Vec<CalendarEvent>>>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarEvent {
    title: String,
    hours: u8,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<usize>,
}

async fn events(State(events): State<Events>, Path(team): Path<String>, Query(page): Query<Page>) -> Response {
    let events = events.lock().unwrap_or_else(PoisonError::into_inner);
    let mut of_team = events.get(&team).cloned().unwrap_or_default();
    of_team.truncate(page.limit.unwrap_or(EVENTS_MAX));
    Json(serde_json::json!({ "team": team, "events": of_team })).into_response()
}

async fn add_event(
    State(events): State<Events>,
    Path(team): Path<String>,
    Json(event): Json<CalendarEvent>,
) -> Response {
    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
    let of_team = events.entry(team).or_default();
    if of_team.len() >= EVENTS_MAX {
        return refused(StatusCode::INSUFFICIENT_STORAGE, "too many events");
    }
    of_team.push(event);
    StatusCode::CREATED.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Service;
    use axum::body::Body;
    use tower::ServiceExt as _;

    async fn status(key: Option<&str>, method: &str, path: &str, body: &str) -> u16 {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header(KEY_HEADER, key);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        notes(Secret::new("k".into())).oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn nothing_works_without_the_key() {
        assert_eq!(status(None, "GET", "/notes/team/standup", "").await, 401);
        assert_eq!(status(Some("x"), "GET", "/notes/team/standup", "").await, 401);
        assert_eq!(status(Some("k"), "GET", "/notes/team/standup", "").await, 200);
        assert_eq!(status(Some("k"), "PUT", "/notes/team/new", r#"{"text":"x"}"#).await, 204);
        assert_eq!(status(Some("k"), "DELETE", "/notes/team/absent", "").await, 404);
    }

    #[test]
    fn the_catalogs_words_for_both_are_good() {
        for text in [NOTES_SERVICE, CALENDAR_SERVICE] {
            Service::from_toml(&text.replace("{origin}", "http://127.0.0.1:1")).unwrap();
        }
    }
}
