//! Security events: what a provider's transmitter pushes or is polled for, and what follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::audit::Actor;
use crate::authority::signal::{Message, Signal, Signalled};
use crate::authority::{Authority, AuthorityError};
use crate::id::{ProviderName, Subject};
use crate::identity::subject_id::Whom;
use crate::identity::{Effect, Ended, IdentityError, Poller, PushRefused, SecurityEvent};
use crate::key::sha256;

/// The most users that one address may stand for.
const ADDRESSED_MAX: u32 = 64;

/// Why a pushed event is not accepted.
#[derive(Debug)]
pub enum EventRefused {
    /// No secret, or no signals.
    Secret(PushRefused),
    /// The token does not count.
    Token(IdentityError),
    /// Not the transmitter's fault.
    Authority(AuthorityError),
}

impl Authority {
    /// Does what follows from an event token that was pushed, and returns once no edge serves what it ended; `None` if no
    /// provider has that name. An event that came before ends nothing again.
    pub async fn pushed(
        &self,
        provider: &ProviderName,
        secret: Option<&str>,
        token: &str,
    ) -> Option<Result<(), EventRefused>> {
        let event = match self.providers.pushed(provider, secret, token, self.now()).await? {
            Ok(event) => event,
            Err(PushRefused::Token(error @ IdentityError::Refused(_))) => return Some(Err(EventRefused::Token(error))),
            Err(PushRefused::Token(error)) => return Some(Err(EventRefused::Authority(error.into()))),
            Err(secret @ PushRefused::Secret) => return Some(Err(EventRefused::Secret(secret))),
        };
        Some(self.reported(event).await.map_err(EventRefused::Authority))
    }

    /// Does what follows from an event, and returns once no edge serves what it ended.
    async fn reported(&self, event: SecurityEvent) -> Result<(), AuthorityError> {
        if event.effect == Effect::Nothing {
            tracing::debug!(provider = %event.provider, event = event.name, "a security event that changes nothing");
            return Ok(());
        }
        let message = Message { id: event.id, until: event.until };
        let users = match &event.whom {
            _ if event.effect == Effect::Record => Vec::new(),
            Whom::User(user) => vec![user.clone()],
            Whom::Session(session) => {
                // Only the end of logins is ever about a session alone.
                return self.ended(&event, Ended::Session(session.clone()), message).await;
            }
            Whom::Addressed(addresses) => self.addressed(&event, addresses).await?,
            Whom::Nobody => Vec::new(),
        };
        if users.is_empty() {
            if event.effect != Effect::Record {
                tracing::warn!(provider = %event.provider, event = event.name, "a security event names nobody who could be a user here");
            }
            let by = Actor::Provider(event.provider.clone());
            let detail = Map::from_iter([("unknown_subject".into(), Value::Bool(event.effect != Effect::Record))]);
            return self.record_signal(by, event.name, &event.tenant, detail, message).await;
        }
        for user in users {
            // Of several users each has an entry of its own, and the token's name counts once for each.
            let id = sha256(&[&event.id[..], user.as_str().as_bytes()].concat());
            let ended = if event.effect == Effect::Suspend { Ended::User(user) } else { Ended::Logins(user) };
            self.ended(&event, ended, Message { id, ..message }).await?;
        }
        Ok(())
    }

    async fn ended(&self, event: &SecurityEvent, ended: Ended, message: Message) -> Result<(), AuthorityError> {
        let signal = Signal {
            by: Actor::Provider(event.provider.clone()),
            how: event.name,
            tenant: event.tenant.clone(),
            ended,
            detail: Map::new(),
            message,
        };
        match self.signalled(signal).await? {
            Signalled::Ended(_) | Signalled::Before => Ok(()),
        }
    }

    /// The users of the provider's directory who have one of these addresses.
    async fn addressed(&self, event: &SecurityEvent, addresses: &[Box<str>]) -> Result<Vec<Subject>, AuthorityError> {
        let mut users: Vec<Subject> = Vec::new();
        for address in addresses {
            for name in self.store.users_at(&event.provider, address, ADDRESSED_MAX).await? {
                let user = format!("{}{name}", event.user_prefix).parse().ok();
                users.extend(user.filter(|user| !users.contains(user)));
            }
        }
        Ok(users)
    }

    /// Polls every transmitter that is to be polled, until told to stop.
    pub(super) fn spawn_polling(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let poll = |poller| {
            let authority = Arc::clone(self);
            tokio::spawn(async move { authority.poll(poller).await })
        };
        self.providers.pollers().into_iter().map(poll).collect()
    }

    async fn poll(&self, poller: Poller) {
        let mut stopping = self.stopping.subscribe();
        let mut told = Polls::default();
        let mut healthy = true;
        while !*stopping.borrow_and_update() {
            let answer = tokio::select! {
                _ = stopping.changed() => continue,
                answer = poller.ask(&told.acks, &told.refused) => answer,
            };
            let pause = match answer {
                Ok(polled) => {
                    healthy = true;
                    let idle = polled.events.is_empty() && !polled.more;
                    told = self.polled(&poller, polled.events).await;
                    idle || told.failed
                }
                Err(error) => {
                    self.metrics.polls_failed.inc();
                    if healthy {
                        tracing::warn!(provider = %poller.provider(), %error, "a transmitter can't be polled; the next attempt follows");
                    }
                    healthy = false;
                    true
                }
            };
            if pause {
                tokio::select! {
                    _ = stopping.changed() => {}
                    () = tokio::time::sleep(poller.every()) => {}
                }
            }
        }
    }

    /// Does what follows from events, all at once: one whose receipt is long in coming holds up no other. An answer holds ten at
    /// most.
    async fn polled(&self, poller: &Poller, events: Vec<(String, String)>) -> Polls {
        let provider = poller.provider();
        let reports = events.iter().map(|(_, token)| async {
            let event = poller.read(token, self.now()).await?;
            self.reported(event).await
        });
        let reported = join_all(reports).await;
        let mut polls = Polls::default();
        for ((jti, _), reported) in events.into_iter().zip(reported) {
            match reported {
                Ok(()) => polls.acks.push(jti),
                Err(AuthorityError::Identity(error @ IdentityError::Refused(_))) => {
                    tracing::warn!(%provider, %error, "a polled security event does not count");
                    polls.refused.insert(jti, error.to_string());
                }
                Err(error) => {
                    tracing::warn!(%provider, %error, "a polled security event is not done with");
                    polls.failed = true;
                }
            }
        }
        polls
    }
}

/// What the transmitter is told of the events that it sent. One of which nothing is said comes again.
#[derive(Debug, Default)]
struct Polls {
    acks: Vec<String>,
    refused: BTreeMap<String, String>,
    failed: bool,
}
