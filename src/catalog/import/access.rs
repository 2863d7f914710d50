//! Read or write: by the method, and by reviewed exceptions. Everything that is not certainly a read is a write.
//!
//! Each list is a kind of exception and says why it is there. A list that makes something a read holds exact words only, each
//! looked up in the descriptions that it was taken from.

use serde::Serialize;

use crate::catalog::import::words::words;

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nothing changes.
    Read,
    /// Something may change.
    Write,
}

impl Access {
    /// The segment of an action.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What is known of an operation when its access is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clues<'a> {
    /// The method.
    pub(super) method: &'a str,
    /// A verb that the path ends with: `undelete` of `/notes/{id}:undelete`, `everything` of `/patient/$everything`.
    pub(super) verb: Option<&'a str>,
    /// The last segment, if it is literal and no verb of the kinds above.
    pub(super) last: Option<&'a str>,
    /// The description's name for the operation.
    pub(super) name: Option<&'a str>,
    /// The service's host.
    pub(super) host: &'a str,
    /// The path without the names of captures: `/a/{}/b`.
    pub(super) shape: &'a str,
}

/// Why an operation's access is not what its method says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    /// A safe method, but this word does something.
    Does(String),
    /// Another method, but reviewed to change nothing.
    Reads(String),
}

pub(super) fn access(clues: &Clues<'_>) -> (Access, Option<Exception>) {
    let unsafe_read = |word: &str| (Access::Write, Some(Exception::Does(word.to_owned())));
    match clues.method {
        "GET" | "HEAD" | "OPTIONS" | "QUERY" => match (clues.verb, clues.name.and_then(first_word)) {
            // A verb over GET is nothing that HTTP promises: only those that read by their name do.
            (Some(verb), _) if !reads(verb) => unsafe_read(verb),
            (_, Some(word)) if is_in(DOING, &word) => unsafe_read(&word),
            (_, Some(word)) if is_in(READING, &word) => (Access::Read, None),
            _ => match clues.last.and_then(|last| words(last).into_iter().next()) {
                Some(word) if clues.verb.is_none() && is_in(DOING, &word) => unsafe_read(&word),
                _ => (Access::Read, None),
            },
        },
        "POST" => {
            let google = |word: &str| is_host(clues.host, "googleapis.com") && is_in(GOOGLE_READS, word);
            let reviewed = clues.verb.or(clues.last).filter(|word| POST_READS.contains(word) || google(word));
            let listed = || REVIEWED.iter().find(|(host, shape)| is_host(clues.host, host) && *shape == clues.shape);
            match reviewed.or_else(|| listed().map(|(host, _)| *host)) {
                Some(why) => (Access::Read, Some(Exception::Reads(why.to_owned()))),
                None => (Access::Write, None),
            }
        }
        _ => (Access::Write, None),
    }
}

/// The access of a call in an API that names it in the path (`/conversations.list`) and takes any method for any of them.
pub(super) fn rpc_access(verb: &str) -> Access {
    let words = words(verb);
    let lists = words.len() > 1 && words[0] == "list";
    if lists || RPC_READS.contains(&verb) { Access::Read } else { Access::Write }
}

fn reads(verb: &str) -> bool {
    let words = words(verb);
    let first = match words.first().map(String::as_str) {
        Some("batch" | "bulk") => words.get(1),
        _ => words.first(),
    };
    first.is_some_and(|word| is_in(READING, word))
}

fn is_in(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

/// The first word of the last part of a name: `check` of `pulls/check-if-merged`, `move` of `billing.accounts.move`.
fn first_word(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '.']).next()?;
    let words = words(last);
    let first = match words.first().map(String::as_str) {
        Some("batch" | "bulk") => words.get(1),
        _ => words.first(),
    };
    first.cloned()
}

fn is_host(host: &str, listed: &str) -> bool {
    host.strip_suffix(listed).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// First words of names that read. Only believed of a safe method.
const READING: &str = "\
    access aggregate aggregated analyse analyze batchget calculate check compute count describe diff download \
    enumerate explain fetch find get has instances is latest list live lookup query read retrieve search show \
    snippet summarize test view wait";

/// First words of names that do something, whatever the method: Slack has `GET /apps.uninstall`, Google moves a billing account
/// by `GET …:move`, Kubernetes runs commands by `GET …/exec` (`connect…`), GitHub has a report made by `GET …/generate-report`.
const DOING: &str = "\
    abort accept activate add apply approve archive assign attach authorize begin cancel clear close collect \
    commit complete confirm connect consume create deactivate decline delete deny deploy destroy disable \
    disconnect discard dismiss drain drop emit enable end enqueue enroll erase exchange exec execute expire \
    finalize finish fire flush force generate grant import increment init initialize initiate insert install \
    invalidate invite invoke join kick kill launch leave lock login logout make mark merge modify move mute \
    pause perform portforward post promote provision proxy publish purge push put reactivate reboot rebuild \
    recreate redeem refresh refund register reject remove rename renew replace republish request reschedule \
    resend reset restart restore resume retry revert revoke rollback rotate run save schedule send set \
    shutdown signin signout signup start stop submit subscribe suspend swap sync terminate touch transfer \
    trash trigger unarchive unassign unblock uninstall unlink unlock unpublish unsubscribe untrash update \
    upgrade upload upsert use void vote withdraw write";

/// Verbs by POST that only read, because their question does not fit a query. Exact words.
const POST_READS: &[&str] = &["_search", "batchGet", "search"];

/// The same in Google's APIs, each looked up in its documents, where methods of that name take a read-only scope. Not among them,
/// although some take one: `query` (SQL changes data), `predict`, `generateContent` and the like (they cost money), `watch` and
/// `stop` (they make and end subscriptions).
const GOOGLE_READS: &str = "\
    batchRunPivotReports batchRunReports checkCompatibility countTokens dailyRollUp fetchPredictOperation \
    findSalesPartnerManagedClients freeBusy getAncestry getEffectiveOrgPolicy getHealth getIamPolicy getOrgPolicy \
    listAvailableOrgPolicyConstraints listGroupPriorityOrdering listInstances listManagedInstances \
    listNetworkEndpoints listNodes listOrgPolicies listPerInstanceConfigs lookupContext query_exemplars \
    query_range reportPropertyUsage rollUp runAccessReport runPivotReport runRealtimeReport runReport \
    searchEntries searchLineageStreaming searchResources testIamPermissions testPermissions wait";

/// Calls of RPC-style APIs (Slack) that only read, by their last word. `get` is no rule: `files.getUploadURLExternal` begins an
/// upload.
const RPC_READS: &[&str] = &[
    "accessLogs",
    "billableInfo",
    "conversations",
    "getConversationPrefs",
    "getPermalink",
    "getPresence",
    "getTeams",
    "history",
    "identity",
    "info",
    "integrationLogs",
    "list",
    "lookupByEmail",
    "members",
    "messages",
    "replies",
    "search",
    "teamInfo",
    "test",
];

/// Single operations by POST that only read, by host and path: their own documentation says so.
const REVIEWED: &[(&str, &str)] = &[
    // Renders text; stores nothing.
    ("api.github.com", "/markdown"),
    ("api.github.com", "/markdown/raw"),
    // Lists by many digests at once.
    ("api.github.com", "/orgs/{}/attestations/bulk-list"),
    ("api.github.com", "/users/{}/attestations/bulk-list"),
    // Lists by many ids at once.
    ("atlassian.net", "/rest/api/3/comment/list"),
    ("atlassian.net", "/rest/api/3/issue/{}/changelog/list"),
    ("atlassian.net", "/rest/api/3/issue/watching"),
    ("atlassian.net", "/rest/api/3/worklog/list"),
    ("atlassian.net", "/rest/api/3/field/{}/context/mapping"),
    // Questions about a query or a permission. Jira's expressions cannot change data.
    ("atlassian.net", "/rest/api/3/expression/analyse"),
    ("atlassian.net", "/rest/api/3/expression/eval"),
    ("atlassian.net", "/rest/api/3/jql/autocompletedata"),
    ("atlassian.net", "/rest/api/3/jql/match"),
    ("atlassian.net", "/rest/api/3/jql/parse"),
    ("atlassian.net", "/rest/api/3/jql/pdcleaner"),
    ("atlassian.net", "/rest/api/3/jql/sanitize"),
    ("atlassian.net", "/rest/api/3/permissions/check"),
    ("atlassian.net", "/rest/api/3/permissions/project"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, verb: Option<&str>, last: Option<&str>, name: Option<&str>) -> Access {
        access(&Clues { method, verb, last, name, host: "api.example.com", shape: "/a" }).0
    }

    #[test]
    fn a_method_says_read_or_write() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(of(method, None, Some("issues"), Some("issues/list")), Access::Read);
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get", ""] {
            assert_eq!(of(method, None, Some("issues"), Some("issues/list")), Access::Write);
        }
    }

    #[test]
    fn a_safe_method_that_does_something_is_a_write() {
        for (verb, last, name) in [
            (Some("move"), None, Some("billing.accounts.move")),
            (Some("move"), None, None),
            (None, None, Some("connectCoreV1GetNamespacedPodExec")),
            (None, Some("exec"), None),
            (None, Some("generate-report"), Some("dependency-graph/generate-sbom-report")),
            (Some("frobnicate"), None, Some("things.frobnicate")),
            (Some("batchDelete"), None, None),
        ] {
            assert_eq!(of("GET", verb, last, name), Access::Write, "{verb:?} {last:?} {name:?}");
        }
        assert_eq!(of("GET", None, Some("merge"), Some("pulls/check-if-merged")), Access::Read);
        assert_eq!(of("GET", Some("batchGet"), None, Some("things.batchGet")), Access::Read);
    }

    #[test]
    fn a_post_reads_only_by_an_exact_word_or_a_reviewed_path() {
        let google = |verb| {
            let host = "notes.googleapis.com";
            access(&Clues { method: "POST", verb: Some(verb), last: None, name: None, host, shape: "/a" }).0
        };
        assert_eq!(of("POST", Some("search"), None, None), Access::Read);
        for verb in ["search", "testIamPermissions", "getIamPolicy", "runReport"] {
            assert_eq!(google(verb), Access::Read, "{verb}");
        }
        for verb in ["query", "getOobConfirmationCode", "fetchAccessToken", "predict", ""] {
            assert_eq!(google(verb), Access::Write, "{verb}");
        }
        for verb in
            ["query", "testIamPermissions", "runReport", "fetchAccessToken", "searches", "Search", "list", "get"]
        {
            assert_eq!(of("POST", Some(verb), None, None), Access::Write, "{verb}");
        }
        let at = |host| {
            access(&Clues {
                method: "POST",
                verb: None,
                last: Some("parse"),
                name: None,
                host,
                shape: "/rest/api/3/jql/parse",
            })
            .0
        };
        assert_eq!(at("acme.atlassian.net"), Access::Read);
        assert_eq!(at("notatlassian.net"), Access::Write);
        assert_eq!(at("atlassian.net.example.com"), Access::Write);
    }

    #[test]
    fn an_rpc_call_reads_only_if_its_word_is_known() {
        for verb in ["list", "info", "history", "listGroups"] {
            assert_eq!(rpc_access(verb), Access::Read, "{verb}");
        }
        for verb in ["uninstall", "revoke", "open", "postMessage", "getUploadURLExternal", "List", "listen", ""] {
            assert_eq!(rpc_access(verb), Access::Write, "{verb}");
        }
    }
}
