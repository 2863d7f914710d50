//! How an edge becomes one: a one-time ticket buys its key a name. Afterwards the ticket is worth nothing, and is not needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::dial::authority::InvalidAuthorityUrl;
use crate::dial::{AuthorityClient, TrustedRoots};
use crate::edge::channel::{Channel, ChannelError};
use crate::edge::follow::FEED_PATH;
use crate::edge::random;
use crate::id::{AudienceName, EdgeName};
use crate::key::{InvalidKeyFile, KeyPair, PublicKey};
use crate::token::verify::Expected;
use crate::wire::refusal::TICKET_REFUSED;
use crate::wire::{FeedReply, FeedRequest, JoinReply, JoinRequest, JoinTicketText, MESSAGE_BYTES_MAX};

/// The path of joining below the issuer's URL.
pub const JOIN_PATH: &str = "/v1/edge/join";

const TIMEOUT: Duration = Duration::from_secs(10);
const KEY_FILE: &str = "edge.key";
const MEMBERSHIP_FILE: &str = "edge.json";

/// What an edge keeps of its joining. No secret: the key is in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Its name.
    pub name: EdgeName,
    /// The deployment it belongs to.
    pub audience: AudienceName,
    /// The authority's URL, which is also the issuer of the writs.
    pub issuer: Box<str>,
    /// The key that signs the authority's answers.
    pub authority_key: PublicKey,
    /// The origin at which agents reach it, as the authority knows it.
    pub origin: Box<str>,
    /// Whether it said that it demands nonces.
    pub nonce: bool,
}

/// An edge that has joined: its membership and the key it proves.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What it was told.
    pub membership: Membership,
    /// Its key.
    pub key: Arc<KeyPair>,
}

/// How agents reach an edge, as it tells the authority when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The origin in the `htu` of their proofs.
    pub origin: Box<str>,
    /// Whether it demands its own nonce in every proof.
    pub nonce: bool,
}

/// What to do where an edge has joined before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// Refuse: the default.
    Refuse,
    /// Take a new name and a new key; those from before are moved aside.
    Replace,
}

/// Why an edge has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It is an edge already.
    #[error("this edge has joined as `{name}`: start it without a ticket, or give `--rejoin` to replace it")]
    Already {
        /// As which.
        name: EdgeName,
    },
    /// The ticket buys nothing.
    #[error("the ticket was used, has expired or was replaced: make a new one with `writ edge ticket`")]
    Ticket,
    /// The authority's answer is for another edge.
    #[error("the authority joined this edge under another name than its ticket says: make a new ticket")]
    Mismatch,
    /// The ticket names an authority that can't be called.
    #[error("the ticket's authority: {0}")]
    Url(#[from] InvalidAuthorityUrl),
    /// The authority can't be asked.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The machine gives no random bytes.
    #[error("no random bytes from the machine")]
    Random,
    /// The state folder can't be used.
    #[error("cannot use `{path}` of the edge's state folder: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The membership file does not parse.
    #[error("`{path}` is not what `writ edge` wrote ({source}): restore it, or join again with `--rejoin`")]
    Membership {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The key file does not parse.
    #[error("`{path}` holds no Ed25519 key: restore it, or join again with `--rejoin`")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: InvalidKeyFile,
    },
}

impl Joined {
    /// Reads what an edge keeps in `dir`; `None` where none has joined.
    pub fn load(dir: &Path) -> Result<Option<Self>, JoinError> {
        let path = dir.join(MEMBERSHIP_FILE);
        let Some(text) = read(&path)? else { return Ok(None) };
        let membership = serde_json::from_slice(&text).map_err(|source| JoinError::Membership { path, source })?;
        let path = dir.join(KEY_FILE);
        let missing = || JoinError::File { path: path.clone(), source: io::ErrorKind::NotFound.into() };
        let key = load_key(&path)?.ok_or_else(missing)?;
        Ok(Some(Self { membership, key: Arc::new(key) }))
    }

    /// Joins by `ticket` and keeps in `dir` what comes of it.
    ///
    /// The key is on disk before the ticket is used, so a join whose answer is lost is found again: with the same ticket the
    /// authority refuses, but knows the key.
    pub async fn join(
        dir: &Path,
        ticket: &JoinTicketText,
        address: Address,
        roots: &TrustedRoots,
        clock: Arc<dyn Clock>,
        rejoin: Rejoin,
    ) -> Result<Self, JoinError> {
        make_dir(dir)?;
        match (Self::load(dir), rejoin) {
            (Ok(Some(joined)), Rejoin::Refuse) => return Err(JoinError::Already { name: joined.membership.name }),
            (Err(error), Rejoin::Refuse) => return Err(error),
            (Ok(Some(_)) | Err(_), Rejoin::Replace) => set_aside(dir)?,
            (Ok(None), _) => {}
        }
        let key = Arc::new(key_in(dir)?);
        let membership = Membership {
            name: ticket.name.clone(),
            audience: ticket.audience.clone(),
            issuer: ticket.issuer.clone(),
            authority_key: ticket.authority_key,
            origin: address.origin,
            nonce: address.nonce,
        };
        let joined = Self { membership, key };
        let channel = joined.channel(roots, &[], clock)?;
        join(&channel, ticket, &joined.membership).await?;
        // Expect safety: a structure of strings serialises.
        let text = serde_json::to_vec_pretty(&joined.membership).expect("a membership serialises");
        write(&dir.join(MEMBERSHIP_FILE), &text)?;
        Ok(joined)
    }

    /// The way to the authority: at its own URL, and at `others` (replicas, or an address inside of a network).
    pub fn channel(
        &self,
        roots: &TrustedRoots,
        others: &[crate::dial::AuthorityUrl],
        clock: Arc<dyn Clock>,
    ) -> Result<Channel, InvalidAuthorityUrl> {
        let own = self.membership.issuer.parse()?;
        let urls = if others.is_empty() { std::slice::from_ref(&own) } else { others };
        let client = |url: &crate::dial::AuthorityUrl| {
            AuthorityClient::new(url.clone(), roots).with_answer_bytes_max(MESSAGE_BYTES_MAX)
        };
        let clients = urls.iter().map(client).collect();
        let Membership { authority_key, issuer, .. } = &self.membership;
        Ok(Channel::new(self.key.clone(), *authority_key, issuer.clone(), clients, clock))
    }

    /// Whose writs it accepts, and as which deployment.
    pub fn expected(&self) -> Expected {
        Expected { issuer: self.membership.issuer.clone(), audience: self.membership.audience.clone() }
    }
}

/// Uses up the ticket.
async fn join(channel: &Channel, ticket: &JoinTicketText, wanted: &Membership) -> Result<(), JoinError> {
    let request =
        JoinRequest { secret: ticket.secret.0.expose().clone(), origin: wanted.origin.clone(), nonce: wanted.nonce };
    match channel.call::<_, JoinReply>(JOIN_PATH, &request, TIMEOUT).await {
        Ok(reply) if reply.name == wanted.name && reply.audience == wanted.audience => Ok(()),
        Ok(_) => Err(JoinError::Mismatch),
        Err(ChannelError::Refused { refusal, .. }) if &*refusal.code == TICKET_REFUSED => {
            // Used, maybe by ourselves: then this key is an edge's.
            if is_member(channel, wanted).await { Ok(()) } else { Err(JoinError::Ticket) }
        }
        Err(error) => Err(error.into()),
    }
}

async fn is_member(channel: &Channel, wanted: &Membership) -> bool {
    let request = FeedRequest { known: 0, settings: None, wait_ms: 0 };
    let reply = channel.call::<_, FeedReply>(FEED_PATH, &request, TIMEOUT).await;
    reply.is_ok_and(|reply| reply.settings.is_some_and(|settings| settings.audience == wanted.audience))
}

/// The key that is there, or a new one.
fn key_in(dir: &Path) -> Result<KeyPair, JoinError> {
    let path = dir.join(KEY_FILE);
    if let Some(key) = load_key(&path)? {
        return Ok(key);
    }
    let seed = random().map_err(|_| JoinError::Random)?;
    let key = KeyPair::from_seed(&seed);
    write(&path, key.to_pem().as_bytes())?;
    Ok(key)
}

fn load_key(path: &Path) -> Result<Option<KeyPair>, JoinError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let bytes = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|_| InvalidKeyFile);
    let key = text.and_then(KeyPair::from_pem).map_err(|source| JoinError::Key { path: path.to_owned(), source })?;
    Ok(Some(key))
}

fn make_dir(dir: &Path) -> Result<(), JoinError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| JoinError::File { path: dir.to_owned(), source })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, JoinError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(JoinError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner may read: whole, or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), JoinError> {
    let file_error = |source| JoinError::File { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    written().map_err(file_error)
}

/// Keeps the old key and membership under other names: an operator may still want to know them.
fn set_aside(dir: &Path) -> Result<(), JoinError> {
    for name in [MEMBERSHIP_FILE, KEY_FILE] {
        let path = dir.join(name);
        match fs::rename(&path, dir.join(format!("{name}.old"))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JoinError::File { path, source }),
        }
    }
    Ok(())
}
