use super::*;
use crate::key::KeyPair;
use proptest::prelude::*;

fn operation(action: &str) -> Operation {
    Operation {
        service: "notes".parse().unwrap(),
        action: action.parse().unwrap(),
        resource: "team".parse().unwrap(),
        method: "POST".into(),
        arguments: Vec::new(),
    }
}

fn parts() -> Parts {
    Parts {
        method: "POST".into(),
        url: "https://notes.example/notes/team?draft=1".into(),
        headers: vec![Header { name: "accept".into(), value: b"text/plain".to_vec() }],
        body: b"{}".to_vec(),
        operations: vec![operation("write")],
        demands: vec![Demand { approvers: vec!["finance".into()], policies: vec!["large".into()] }],
        policy_version: 3,
    }
}

fn any_text() -> impl Strategy<Value = Box<str>> {
    "[a-z]{1,3}".prop_map(Into::into)
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..4);
    let texts = || prop::collection::vec(any_text(), 1..3);
    let header = (any_text(), bytes()).prop_map(|(name, value)| Header { name, value });
    let demand = (texts(), texts()).prop_map(|(approvers, policies)| Demand { approvers, policies });
    let actions = prop::collection::vec("[ab]{1,2}(/[ab])?", 1..3);
    let lists = (prop::collection::vec(header, 0..3), actions, prop::collection::vec(demand, 1..3));
    ("[AB]{1,2}", "[a/]{0,3}", bytes(), lists, 0u64..3).prop_map(
        |(method, url, body, (headers, actions, demands), policy_version)| Parts {
            method: method.into(),
            url: url.into(),
            headers,
            body,
            operations: actions.iter().map(|action| operation(action)).collect(),
            demands,
            policy_version,
        },
    )
}

/// Reads an encoding back: that it can be is why no two requests share one.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> u64 {
        let (number, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u64::from_be_bytes(*number)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number_of();
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn number_of(&mut self) -> usize {
        self.number().try_into().unwrap()
    }

    fn text(&mut self) -> Box<str> {
        String::from_utf8(self.bytes().to_vec()).unwrap().into()
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.number_of()).map(|_| read(self)).collect()
    }
}

fn decoded(encoding: &[u8]) -> Parts {
    let mut reader = Reader(encoding);
    assert_eq!(&*reader.text(), "writ asked v1");
    let parts = Parts {
        method: reader.text(),
        url: reader.text(),
        headers: reader.list(|r| Header { name: r.text(), value: r.bytes().to_vec() }),
        body: reader.bytes().to_vec(),
        operations: reader.list(|r| serde_json::from_slice(r.bytes()).unwrap()),
        demands: reader.list(|r| Demand { approvers: r.list(Reader::text), policies: r.list(Reader::text) }),
        policy_version: reader.number(),
    };
    assert!(reader.0.is_empty());
    parts
}

proptest! {
    #[test]
    fn no_two_requests_share_an_encoding(parts in any_parts()) {
        let asked = Asked::new(parts).unwrap();
        prop_assert_eq!(&decoded(&asked.encoded()), asked.parts());
    }

    #[test]
    fn a_request_with_any_bit_of_its_json_changed_has_another_digest(at in 0usize..10_000, bit in 0u8..8) {
        let asked = Asked::new(parts()).unwrap();
        let mut json = serde_json::to_vec(&asked).unwrap();
        let at = at % json.len();
        json[at] ^= 1 << bit;
        if let Ok(changed) = serde_json::from_slice::<Asked>(&json) {
            prop_assert_ne!(changed.digest(), asked.digest(), "{}", String::from_utf8_lossy(&json));
        }
    }

    #[test]
    fn a_request_is_the_same_after_a_trip_over_the_wire(parts in any_parts()) {
        let asked = Asked::new(parts).unwrap();
        let again: Asked = serde_json::from_slice(&serde_json::to_vec(&asked).unwrap()).unwrap();
        prop_assert_eq!(again.digest(), asked.digest());
    }
}

#[test]
fn what_nobody_could_be_shown_cannot_be_approved() {
    let refused = |change: fn(&mut Parts)| {
        let mut changed = parts();
        change(&mut changed);
        Asked::new(changed).unwrap_err()
    };
    assert_eq!(refused(|p| p.body = vec![0; Asked::BODY_BYTES_MAX + 1]), InvalidAsked::BodyTooLong);
    assert_eq!(refused(|p| p.headers[0].value = vec![b'a'; Asked::HEAD_BYTES_MAX]), InvalidAsked::HeadTooLong);
    let forms: [fn(&mut Parts); 9] = [
        |p| p.method = "post".into(),
        |p| p.url = "https://notes.example/\u{202e}".into(),
        |p| p.headers[0].name = "Accept".into(),
        |p| p.operations.clear(),
        |p| p.demands.clear(),
        |p| p.demands[0].approvers.clear(),
        |p| p.demands[0].approvers[0] = "".into(),
        |p| p.demands[0].policies[0] = "a\u{1b}[2J".into(),
        |p| p.demands[0].policies = vec!["a".into(); 33],
    ];
    for (index, change) in forms.into_iter().enumerate() {
        assert!(matches!(refused(change), InvalidAsked::Form(_)), "{index}");
    }
    let mut longest = parts();
    longest.body = vec![0; Asked::BODY_BYTES_MAX];
    assert!(Asked::new(longest).is_ok());
}

#[test]
fn headers_of_one_name_keep_their_order() {
    let with = |values: [&str; 2]| {
        let header = |value: &str| Header { name: "x-tag".into(), value: value.into() };
        let first = Header { name: "accept".into(), value: Vec::new() };
        let headers = vec![header(values[0]), first, header(values[1])];
        Asked::new(Parts { headers, ..parts() }).unwrap()
    };
    assert_eq!(&*with(["a", "b"]).parts().headers[0].name, "accept");
    assert_ne!(with(["a", "b"]).digest(), with(["b", "a"]).digest());
}

#[test]
fn another_chain_has_another_digest() {
    let asker = || Asker {
        tenant: "acme".parse().unwrap(),
        subject: Some("alice".parse().unwrap()),
        agent: "planner".parse().unwrap(),
        holders: vec![KeyPair::from_seed(&[1; 32]).public()],
        called: Vec::new(),
        blocks: vec![BlockId::from_bytes([1; 16])],
    };
    let others: [fn(&mut Asker); 7] = [
        |a| a.tenant = "other".parse().unwrap(),
        |a| a.subject = None,
        |a| a.agent = "other".parse().unwrap(),
        |a| a.holders.clear(),
        |a| a.called.push(None),
        |a| a.called.push(Some("sub".parse().unwrap())),
        |a| a.blocks[0] = BlockId::from_bytes([2; 16]),
    ];
    let mut digests = vec![asker().digest()];
    for change in others {
        let mut other = asker();
        change(&mut other);
        digests.push(other.digest());
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 8);
}
