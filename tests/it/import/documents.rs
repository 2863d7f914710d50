//! The real documents: fetched by `scripts/import-documents`, which also runs these tests. They are large, so CI does not.

#![expect(clippy::print_stdout, reason = "what they find is to be read")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use writ::catalog::Service;
use writ::catalog::import::{Access, Doubt, Imported, Wanted, import};

use super::accuracy::{has_methods, judged, with_import};
use super::{needed, wanted};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/documents")
}

fn imported(name: &str, upstream: Option<&str>) -> Imported {
    let document = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    let wanted = Wanted { upstream: upstream.map(ToOwned::to_owned), ..wanted(name) };
    let imported = import(&document, &wanted).unwrap();
    let mut doubts: BTreeMap<Doubt, usize> = BTreeMap::new();
    imported.notes.iter().for_each(|note| *doubts.entry(note.doubt).or_default() += 1);
    let reads = imported.mapped.iter().filter(|mapped| mapped.access == Access::Read).count();
    let text = imported.service.to_toml();
    println!(
        "{name}: {} operations, {reads} reads, {} routes, {} bytes of TOML, {doubts:?}",
        imported.operations,
        imported.service.routes().len(),
        text.len()
    );
    let unmapped: Vec<_> = imported.notes.iter().filter(|note| note.doubt == Doubt::Unmapped).collect();
    assert!(unmapped.is_empty(), "{name}: {unmapped:?}");
    assert_eq!(Service::from_toml(&text).as_ref(), Ok(&imported.service));
    imported
}

fn asks(service: &Service, rows: &[(&str, &str, &str)]) {
    for (method, target, expected) in rows {
        assert_eq!(needed(service, method, target).as_deref(), Some(*expected), "{method} {target}");
    }
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn github_imports_whole() {
    let imported = imported("github", None);
    assert!(imported.operations > 1200);
    asks(
        &imported.service,
        &[
            ("GET", "/repos/acme/web/issues", "issues/read:repos/acme/web"),
            ("GET", "/repos/acme/web/issues/7", "issues/read:repos/acme/web/issues/7"),
            ("POST", "/repos/acme/web/issues", "issues/write:repos/acme/web"),
            ("DELETE", "/repos/acme/web", "repos/write/delete:repos/acme/web"),
            ("GET", "/repos/acme/web/contents/src/lib.rs", "contents/read:repos/acme/web/contents/src/lib.rs"),
            ("PUT", "/repos/acme/web/contents/src/lib.rs", "contents/write:repos/acme/web/contents/src/lib.rs"),
            ("GET", "/repos/acme/web/git/ref/heads/main", "git/ref/read:repos/acme/web/git/ref/heads/main"),
            ("PUT", "/repos/acme/web/pulls/7/merge", "merge/write:repos/acme/web/pulls/7"),
            ("GET", "/repos/acme/web/pulls/7/merge", "merge/read:repos/acme/web/pulls/7"),
            ("GET", "/user/repos", "user/repos/read:/"),
            ("POST", "/markdown", "markdown/read:/"),
            (
                "GET",
                "/repos/acme/web/dependency-graph/sbom/generate-report",
                "dependency-graph/sbom/generate-report/write:repos/acme/web",
            ),
        ],
    );
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn slack_imports_whole() {
    let imported = imported("slack", None);
    asks(
        &imported.service,
        &[
            ("POST", "/conversations.list", "conversations/read/list:/"),
            ("GET", "/conversations.history", "conversations/read/history:/"),
            ("POST", "/chat.postMessage", "chat/write/postMessage:/"),
            ("GET", "/apps.uninstall", "apps/write/uninstall:/"),
            ("GET", "/auth.revoke", "auth/write/revoke:/"),
        ],
    );
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn stripe_imports_whole() {
    let imported = imported("stripe", None);
    asks(
        &imported.service,
        &[
            ("GET", "/v1/charges/ch_1", "v1/charges/read:v1/charges/ch_1"),
            ("POST", "/v1/charges/ch_1/capture", "capture/write:v1/charges/ch_1"),
            ("POST", "/v1/refunds", "v1/refunds/write:/"),
            ("DELETE", "/v1/customers/cus_1", "v1/customers/write/delete:v1/customers/cus_1"),
        ],
    );
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn jira_imports_whole() {
    let imported = imported("jira", None);
    asks(
        &imported.service,
        &[
            ("GET", "/rest/api/3/issue/A-1", "rest/api/3/issue/read:rest/api/3/issue/A-1"),
            ("POST", "/rest/api/3/search", "rest/api/3/search/read:/"),
            ("POST", "/rest/api/3/issue/A-1/comment", "comment/write:rest/api/3/issue/A-1"),
        ],
    );
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn kubernetes_imports_whole() {
    let imported = imported("kubernetes", Some("https://kubernetes.example"));
    asks(
        &imported.service,
        &[
            ("GET", "/api/v1/namespaces/web/pods", "pods/read:api/v1/namespaces/web"),
            ("GET", "/api/v1/namespaces/web/pods/a/log", "log/read:api/v1/namespaces/web/pods/a"),
            ("GET", "/api/v1/namespaces/web/pods/a/exec", "exec/write:api/v1/namespaces/web/pods/a"),
            ("GET", "/api/v1/nodes/a/proxy/run/x", "proxy/write:api/v1/nodes/a/proxy/run/x"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/web/deployments/a",
                "deployments/write/delete:apis/apps/v1/namespaces/web/deployments/a",
            ),
        ],
    );
}

#[test]
#[ignore = "needs scripts/import-documents"]
fn the_split_into_reads_and_writes_agrees_with_google() {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder().join("google")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let documents: Vec<_> = paths
        .iter()
        .map(|path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap())
        .filter(has_methods)
        .map(with_import)
        .collect();
    let of = |doubt| {
        documents
            .iter()
            .flat_map(|(_, imported)| &imported.notes)
            .filter(|note| note.doubt == doubt)
            .collect::<Vec<_>>()
    };
    let operations: usize = documents.iter().map(|(_, imported)| imported.operations).sum();
    println!("{} documents, {operations} operations", documents.len());
    for doubt in [Doubt::Unmapped, Doubt::Shadowed, Doubt::TooDeep] {
        let notes = of(doubt);
        println!("{doubt:?}: {}", notes.len());
        notes.iter().take(40).for_each(|note| println!("  {note}"));
    }
    let tally = judged(&documents);
    println!("accuracy {:.2} %\n{tally:#?}", 100.0 * tally.accuracy());
    assert!(tally.accuracy() >= 0.98);
    assert!(tally.is_safe(), "a write was taken for a read");
}
