//! A ticket buys a key a name, once.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use writ::clock::ManualClock;
use writ::dial::TrustedRoots;
use writ::edge::join::{Address, JoinError, Joined, Rejoin};
use writ::secret::Secret;
use writ::wire::{JoinTicketText, WireSecret};

use super::double::{Double, Fault, signing_key};
use super::{clock, eventually};
use crate::tokens::{expected, public};

fn ticket(double: &Double, secret: &str) -> JoinTicketText {
    JoinTicketText {
        issuer: double.url.as_str().into(),
        authority_key: signing_key().public(),
        name: "edge-1".parse().unwrap(),
        audience: expected().audience,
        secret: WireSecret(Secret::new(secret.into())),
    }
}

async fn join(
    dir: &Path,
    ticket: &JoinTicketText,
    clock: &Arc<ManualClock>,
    rejoin: Rejoin,
) -> Result<Joined, JoinError> {
    let address = Address { origin: "https://edge.example".into(), nonce: false };
    Joined::join(dir, ticket, address, &TrustedRoots::web(), clock.clone(), rejoin).await
}

/// A double that takes the ticket `s3cret`, and the folder of an edge that has not joined.
async fn started() -> (Double, tempfile::TempDir, Arc<ManualClock>) {
    let clock = clock();
    let double = Double::start_as(&clock, None).await;
    double.change(|mind| mind.ticket_secret = Some("s3cret".into()));
    (double, crate::canaries::folder(), clock)
}

#[tokio::test]
async fn an_edge_that_joined_is_one_after_a_restart_without_its_ticket() {
    let (double, dir, clock) = started().await;
    let dir = dir.path().join("state");
    let joined = join(&dir, &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap();
    assert_eq!(&*double.mind().joined.as_ref().unwrap().origin, "https://edge.example");
    let again = Joined::load(&dir).unwrap().unwrap();
    assert_eq!(again.membership, joined.membership);
    assert_eq!(again.key.public(), joined.key.public());
    assert_eq!(&*again.expected().issuer, double.url);
}

#[tokio::test]
async fn its_key_is_for_its_owner_only_and_its_ticket_is_not_kept() {
    let (double, dir, clock) = started().await;
    let dir = dir.path().join("state");
    join(&dir, &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("edge.key")), mode(&dir.join("edge.json"))), (0o700, 0o600, 0o600));
    for file in std::fs::read_dir(&dir).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("s3cret"));
    }
}

#[tokio::test]
async fn a_ticket_that_was_used_buys_nothing() {
    let (double, first, clock) = started().await;
    let second = crate::canaries::folder();
    join(first.path(), &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap();
    // The double answers any feed request; a real authority knows the key or does not.
    double.change(|mind| mind.settings.audience = "other".parse().unwrap());
    let error = join(second.path(), &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap_err();
    assert!(matches!(error, JoinError::Ticket), "{error}");
    assert!(Joined::load(second.path()).unwrap().is_none());
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_found_again_with_the_same_ticket() {
    let (double, dir, clock) = started().await;
    double.fault(Fault::LostAnswer);
    let ticket = ticket(&double, "s3cret");
    {
        let lost = join(dir.path(), &ticket, &clock, Rejoin::Refuse);
        tokio::select! {
            _ = lost => panic!("there was an answer"),
            () = eventually("the ticket's use", || double.mind().joined.is_some()) => {}
        }
    }
    double.fault(Fault::None);
    let joined = join(dir.path(), &ticket, &clock, Rejoin::Refuse).await.unwrap();
    assert_eq!(joined.membership.name.as_str(), "edge-1");
}

#[tokio::test]
async fn joining_again_is_refused_unless_it_is_asked_for() {
    let (double, dir, clock) = started().await;
    let first = join(dir.path(), &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap();
    double.change(|mind| mind.ticket_secret = Some("another".into()));
    let error = join(dir.path(), &ticket(&double, "another"), &clock, Rejoin::Refuse).await.unwrap_err();
    assert!(matches!(error, JoinError::Already { .. }), "{error}");
    assert!(double.mind().ticket_secret.is_some(), "the ticket is still good");
    let second = join(dir.path(), &ticket(&double, "another"), &clock, Rejoin::Replace).await.unwrap();
    assert_ne!(second.key.public(), first.key.public());
}

#[tokio::test]
async fn an_authority_that_is_not_the_ticket_s_learns_nothing_that_helps_it_and_is_not_believed() {
    let (double, dir, clock) = started().await;
    let elsewhere = JoinTicketText { authority_key: public(3), ..ticket(&double, "s3cret") };
    assert!(join(dir.path(), &elsewhere, &clock, Rejoin::Refuse).await.is_err());
    assert!(Joined::load(dir.path()).unwrap().is_none());
}

#[tokio::test]
async fn a_state_folder_that_was_damaged_says_which_file() {
    let (double, dir, clock) = started().await;
    join(dir.path(), &ticket(&double, "s3cret"), &clock, Rejoin::Refuse).await.unwrap();
    std::fs::write(dir.path().join("edge.key"), "junk").unwrap();
    assert!(Joined::load(dir.path()).unwrap_err().to_string().contains("edge.key"));
    std::fs::write(dir.path().join("edge.json"), "{}").unwrap();
    assert!(Joined::load(dir.path()).unwrap_err().to_string().contains("edge.json"));
}
