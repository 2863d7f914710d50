//! Somebody else's compliance suite (scim2-tester), in full.

use std::process::Command;

use crate::scim::Scim;
use crate::store::{Database, for_every_backend};
use crate::world::counterpart;

for_every_backend!(scim2_tester_finds_nothing_wrong);

/// The suite makes a check for each attribute of the schemas, so fewer would mean that it saw less of them.
const CHECKS_MIN: usize = 136;

async fn scim2_tester_finds_nothing_wrong(database: &Database) {
    let scim = Scim::start(database, "").await;
    let mut command = Command::new(counterpart("scim/bin/scim2"));
    command.args(["--url", &format!("{}/scim/v2", scim.test.authority.issuer), "test", "--verbose"]);
    command.env("SCIM_CLI_HEADERS", format!("Authorization: Bearer {}", scim.secret)).env("NO_COLOR", "1");
    let finished = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&finished.stdout), String::from_utf8_lossy(&finished.stderr));
    let with = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    assert!(finished.status.success() && with("SUCCESS") >= CHECKS_MIN, "{said}");
    assert_eq!(with("ERROR") + with("DEVIATION") + with("ACCEPTABLE") + with("CRITICAL"), 0, "{said}");
}
