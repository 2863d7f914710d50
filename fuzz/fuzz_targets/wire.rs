//! Any bytes as a message between an edge and its authority: read without a panic; what is read survives being written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use writ::clock::Timestamp;
use writ::key::KeyPair;
use writ::policy::limit::Limits;
use writ::policy::{Approval, Asked, Asker, Expected};
use writ::revocation::{Receipt, RevocationSet};
use writ::token::proof::ProofId;
use writ::wire::{
    AskRequest, AuditReceipt, AuditShipment, FeedReply, FeedRequest, JoinReply, JoinRequest, JoinTicketText, LendReply,
    LendRequest, LimitsReply, LimitsRequest, RedeemRequest, Refusal, Standing, StandingRequest, verify_reply,
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
    read::<AskRequest>(data);
    read::<StandingRequest>(data);
    read::<RedeemRequest>(data);
    read::<Standing>(data);
    read::<LimitsRequest>(data);
    read::<LimitsReply>(data);
    read::<Limits>(data);
    let stranger = KeyPair::from_seed(&[1; 32]).public();
    if let Some(asked) = read::<Asked>(data) {
        assert_eq!(Asked::new(asked.parts().clone()).unwrap().digest(), asked.digest());
    }
    if let Some(asker) = read::<Asker>(data) {
        asker.digest();
    }
    if let Some(approval) = read::<Approval>(data) {
        let Approval { issuer, tenant, edge, .. } = approval.clone();
        let expected = Expected {
            issuer: &issuer,
            tenant: &tenant,
            handle: approval.handle,
            asked: approval.asked,
            asker: approval.asker,
            policy_version: approval.policy_version,
            edge: &edge,
            request: approval.request,
        };
        assert!(approval.check(&stranger, &expected, Timestamp::from_secs(0)).is_err());
    }
    if let Some(reply) = read::<LendReply>(data) {
        let _ = reply.lent().1.apply();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(receipt) = Receipt::parse(text) {
            assert_eq!(Receipt::parse(&receipt.to_json()).unwrap().to_json(), receipt.to_json());
            assert!(receipt.check(&stranger).is_err());
        }
        if let Ok(ticket) = JoinTicketText::parse(text) {
            let text = ticket.to_text();
            assert_eq!(JoinTicketText::parse(text.expose()).unwrap().to_text().expose(), text.expose());
        }
        assert!(!verify_reply(&stranger, ProofId([2; 16]), 200, b"{}", text));
    }
});
