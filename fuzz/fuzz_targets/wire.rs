//! Any bytes as a message between an edge and its authority: read without a panic; what is read survives being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use writ::key::KeyPair;
use writ::revocation::RevocationSet;
use writ::token::proof::ProofId;
use writ::wire::{
    AuditReceipt, AuditShipment, FeedReply, FeedRequest, JoinReply, JoinRequest, JoinTicketText, LendReply, LendRequest, Refusal, verify_reply,
};

fn read<T: DeserializeOwned + Serialize>(data: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&message).unwrap();
    let again: T = serde_json::from_slice(&written).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    Some(message)
}

fuzz_target!(|data: &[u8]| {
    if let Some(reply) = read::<FeedReply>(data) {
        let mut set = RevocationSet::default();
        set.reach(reply.log.after);
        if set.apply(&reply.log).is_ok() {
            assert_eq!(set.seq(), reply.log.upto);
            assert!(set.len() <= reply.log.len() && set.is_empty() == reply.log.is_empty());
        }
    }
    read::<FeedRequest>(data);
    read::<LendRequest>(data);
    read::<AuditShipment>(data);
    read::<AuditReceipt>(data);
    read::<JoinRequest>(data);
    read::<JoinReply>(data);
    read::<Refusal>(data);
    if let Some(reply) = read::<LendReply>(data) {
        let _ = reply.lent().1.apply();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(ticket) = JoinTicketText::parse(text) {
            let text = ticket.to_text();
            assert_eq!(JoinTicketText::parse(text.expose()).unwrap().to_text().expose(), text.expose());
        }
        assert!(!verify_reply(&KeyPair::from_seed(&[1; 32]).public(), ProofId([2; 16]), 200, b"{}", text));
    }
});
