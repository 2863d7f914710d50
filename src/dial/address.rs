//! Which addresses an outgoing connection may go to. A service's host name is public; what it resolves to is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRule {
    /// Addresses of the public internet: the default for a service.
    PublicOnly,
    /// Those of private networks and of this machine as well, because the operator said so of this service. Never
    /// link-local ones and those where clouds serve machine credentials.
    AllowPrivate,
    /// Any: for the authority, whose address an operator configured and whose answers are signed.
    Any,
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Of the public internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, carrier-grade NAT, unique local.
    Private,
    /// Link-local, multicast, unspecified, documentation, transition mechanisms, cloud metadata: no service lives there.
    Never,
}

impl AddressRule {
    /// Whether `address` may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match (self, AddressKind::of(address)) {
            (Self::Any, _) => true,
            (_, AddressKind::Public) => true,
            (Self::AllowPrivate, AddressKind::Loopback | AddressKind::Private) => true,
            (Self::PublicOnly, AddressKind::Loopback | AddressKind::Private) | (_, AddressKind::Never) => false,
        }
    }
}

impl AddressKind {
    /// The kind of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let within = |ranges: &[(Ipv4Addr, u32)]| {
            ranges.iter().any(|(network, bits)| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
        };
        if within(NEVER_V4) {
            Self::Never
        } else if address.is_loopback() {
            Self::Loopback
        } else if within(PRIVATE_V4) {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let within = |ranges: &[(Ipv6Addr, u32)]| {
            ranges.iter().any(|(network, bits)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0)
        };
        if address.is_loopback() {
            Self::Loopback
        } else if within(NEVER_V6) {
            Self::Never
        } else if address.is_unique_local() {
            Self::Private
        } else if within(&[NAT64]) {
            // Where there is no IPv4, every IPv4 host is reached through such an address: it is what it stands for.
            let [.., a, b, c, d] = address.octets();
            match Self::of_v4(Ipv4Addr::new(a, b, c, d)) {
                Self::Public => Self::Public,
                Self::Loopback | Self::Private | Self::Never => Self::Never,
            }
        } else if within(&[GLOBAL_UNICAST]) {
            Self::Public
        } else {
            Self::Never
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u32) -> (Ipv4Addr, u32) {
    (Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, bits: u32) -> (Ipv6Addr, u32) {
    (Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), bits)
}

// IANA special-purpose address registries (RFC 6890 and its updates), and the addresses of cloud metadata services.
const NEVER_V4: &[(Ipv4Addr, u32)] = &[
    v4(0, 0, 0, 0, 8),
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];
const PRIVATE_V4: &[(Ipv4Addr, u32)] =
    &[v4(10, 0, 0, 0, 8), v4(100, 64, 0, 0, 10), v4(172, 16, 0, 0, 12), v4(192, 168, 0, 0, 16)];
const GLOBAL_UNICAST: (Ipv6Addr, u32) = v6(0x2000, 0, 0, 0, 3);
const NAT64: (Ipv6Addr, u32) = v6(0x64, 0xff9b, 0, 0, 96);
const NEVER_V6: &[(Ipv6Addr, u32)] = &[
    v6(0x2001, 0, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 0, 32),
    v6(0x2002, 0, 0, 0, 16),
    v6(0x3fff, 0, 0, 0, 20),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> AddressKind {
        AddressKind::of(text.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for text in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert_eq!(kind(text), AddressKind::Public, "{text}");
        }
    }

    #[test]
    fn this_machine_and_private_networks_are_refused_unless_allowed() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "fd12::1",
            "fc00::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(!AddressRule::PublicOnly.allows(address), "{text}");
            assert!(AddressRule::AllowPrivate.allows(address), "{text}");
        }
    }

    #[test]
    fn no_rule_for_a_service_allows_where_no_service_lives() {
        for text in [
            "0.0.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "fe80::1",
            "ff02::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "5f00::1",
        ] {
            assert_eq!(kind(text), AddressKind::Never, "{text}");
            let address = text.parse().unwrap();
            assert!(!AddressRule::PublicOnly.allows(address) && !AddressRule::AllowPrivate.allows(address), "{text}");
        }
    }

    proptest! {
        /// The standard library's own notions, where it has them, are never public.
        #[test]
        fn nothing_that_the_standard_library_calls_special_is_public(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            prop_assert!(!(special && AddressRule::PublicOnly.allows(v4.into())));
            prop_assert!(!AddressRule::PublicOnly.allows(v4.to_ipv6_mapped().into()));
            prop_assert!(!AddressRule::PublicOnly.allows(v4.to_ipv6_compatible().into()));
        }

        #[test]
        fn every_address_of_a_refused_range_is_refused(host: u32, host6: u128) {
            for (network, bits) in NEVER_V4.iter().chain(PRIVATE_V4) {
                let rest = host.checked_shr(*bits).unwrap_or(0);
                prop_assert!(!AddressRule::PublicOnly.allows(Ipv4Addr::from_bits(network.to_bits() | rest).into()));
            }
            for (network, bits) in NEVER_V6 {
                let rest = host6.checked_shr(*bits).unwrap_or(0);
                prop_assert!(!AddressRule::AllowPrivate.allows(Ipv6Addr::from_bits(network.to_bits() | rest).into()));
            }
        }

        #[test]
        fn what_is_not_global_unicast_is_not_public(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            let public = AddressRule::PublicOnly.allows(v6.into());
            prop_assert!(!public || bits >> 125 == 1 || bits >> 32 == NAT64.0.to_bits() >> 32);
        }
    }
}
