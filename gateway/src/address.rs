//! Which addresses nobody is to reach through the gateway: all that are not public.
//!
//! The ranges are those of the IANA special-purpose registries for IPv4 and IPv6. An IPv6 address
//! that carries an IPv4 one is judged by that too: the network may translate it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::{Allowed, Opening};

/// Services of clouds that tell an instance its credentials; some at addresses that look public.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba Cloud
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle Cloud
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // Amazon
];

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const V4: [(Ipv4Net, &str); 15] = [
    (v4(0, 0, 0, 8), "address of this network"),
    (v4(10, 0, 0, 8), "private address"),
    (v4(100, 64, 0, 10), "private address"),
    (v4(127, 0, 0, 8), "loopback address"),
    (v4(169, 254, 0, 16), "link-local address"),
    (v4(172, 16, 0, 12), "private address"),
    (v4(192, 0, 0, 24), "reserved address"),
    (v4(192, 0, 2, 24), "documentation address"),
    (v4(192, 88, 99, 24), "relay address"),
    (v4(192, 168, 0, 16), "private address"),
    (v4(198, 18, 0, 15), "benchmark address"),
    (v4(198, 51, 100, 24), "documentation address"),
    (v4(203, 0, 113, 24), "documentation address"),
    (v4(224, 0, 0, 4), "multicast address"),
    (v4(240, 0, 0, 4), "reserved address"), // 255.255.255.255 too
];

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Only 2000::/3 is given out to the public; these are the exceptions in it.
const V6: [(Ipv6Net, &str); 4] = [
    (v6(0x2001, 0, 23), "reserved address"), // Teredo, ORCHID, benchmarks
    (v6(0x2001, 0xdb8, 32), "documentation address"),
    (v6(0x2002, 0, 16), "6to4 address"),
    (v6(0x3fff, 0, 20), "documentation address"),
];

const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);

/// Names of what is not public by the range that it is in, the narrowest first.
const V6_NAMES: [(Ipv6Net, &str); 4] = [
    (v6(0xfc00, 0, 7), "private address"),
    (v6(0xfe80, 0, 10), "link-local address"),
    (v6(0xfec0, 0, 10), "private address"),
    (v6(0xff00, 0, 8), "multicast address"),
];

/// RFC 6052, 2.1: IPv4 behind a translator. The one prefix that is the same everywhere.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What surrounds the gateway: what nobody reaches, and what the operator opens.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// Addresses that are refused, the host's own for example.
    pub refused: BTreeSet<IpAddr>,
    /// Private addresses for workers that name them.
    pub private: Vec<Opening>,
}

impl Ground {
    /// Why a connection to the address is refused; nothing when it may be. `beside` are the networks
    /// that the gateway itself is on.
    ///
    /// The operator's openings hold for hosts that a worker names. A range opens private addresses;
    /// those of the host, of the gateway's networks and of metadata services need an opening of
    /// their own.
    #[must_use]
    pub fn refusal(
        &self,
        address: IpAddr,
        port: u16,
        way: Allowed,
        beside: &[IpNet],
    ) -> Option<String> {
        let address = address.to_canonical();
        let openings = self.private.iter().filter(|opening| opening.covers(address, port));
        let opened = |single: bool| {
            way == Allowed::Named && openings.clone().any(|o| o.is_single() || !single)
        };
        let near = if self.refused.contains(&address) {
            Some("address of the host")
        } else if METADATA.contains(&address) {
            Some("metadata address")
        } else {
            beside.iter().any(|net| net.contains(&address)).then_some("address beside the gateway")
        };
        let kind = match near {
            Some(_) if opened(true) => None,
            Some(kind) => Some(kind),
            None if opened(false) => None,
            None => not_public(address),
        };
        kind.map(|kind| format!("{kind} {address}"))
    }
}

/// What the address is, when it is not a public one.
fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    if NAT64.contains(&address) {
        let carried = Ipv4Addr::from_octets(last_four(address));
        return if METADATA.contains(&IpAddr::V4(carried)) {
            Some("metadata address")
        } else {
            not_public_v4(carried)
        };
    }
    if PUBLIC_V6.contains(&address) {
        return V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind);
    }
    if address.is_loopback() {
        return Some("loopback address");
    }
    let named = V6_NAMES.iter().find(|(net, _)| net.contains(&address));
    Some(named.map_or("reserved address", |(_, kind)| *kind))
}

fn last_four(address: Ipv6Addr) -> [u8; 4] {
    let [.., a, b, c, d] = address.octets();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str) -> Option<&'static str> {
        let address: IpAddr = address.parse().expect(address);
        not_public(address.to_canonical())
    }

    fn ground(refused: &[&str], private: &[&str]) -> Ground {
        Ground {
            refused: refused.iter().map(|address| address.parse().unwrap()).collect(),
            private: private.iter().map(|text| Opening::parse(text).unwrap()).collect(),
        }
    }

    fn refusal(ground: &Ground, address: &str, way: Allowed) -> Option<String> {
        let beside = ["203.0.114.0/24".parse().unwrap(), "10.213.0.0/29".parse().unwrap()];
        ground.refusal(address.parse().unwrap(), 443, way, &beside)
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "2001:200::1",
            "64:ff9b::8.8.8.8",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(judged(address), None, "{address}");
        }
    }

    #[test]
    fn all_others_are_refused() {
        for (address, kind) in [
            ("0.0.0.0", "address of this network"),
            ("0.1.2.3", "address of this network"),
            ("10.0.0.1", "private address"),
            ("100.64.0.1", "private address"),
            ("100.100.100.200", "private address"),
            ("127.0.0.1", "loopback address"),
            ("127.255.255.254", "loopback address"),
            ("169.254.169.254", "link-local address"),
            ("172.16.0.1", "private address"),
            ("172.31.255.255", "private address"),
            ("192.0.0.8", "reserved address"),
            ("192.0.2.1", "documentation address"),
            ("192.88.99.1", "relay address"),
            ("192.168.1.1", "private address"),
            ("198.18.0.1", "benchmark address"),
            ("198.19.255.255", "benchmark address"),
            ("198.51.100.7", "documentation address"),
            ("203.0.113.7", "documentation address"),
            ("224.0.0.1", "multicast address"),
            ("239.255.255.250", "multicast address"),
            ("240.0.0.1", "reserved address"),
            ("255.255.255.255", "reserved address"),
            ("::", "reserved address"),
            ("::1", "loopback address"),
            ("::ffff:10.0.0.1", "private address"),
            ("::ffff:127.0.0.1", "loopback address"),
            ("::10.0.0.1", "reserved address"),
            ("::8.8.8.8", "reserved address"),
            ("64:ff9b::10.0.0.1", "private address"),
            ("64:ff9b::127.0.0.1", "loopback address"),
            ("64:ff9b::168.63.129.16", "metadata address"),
            ("64:ff9b:1::8.8.8.8", "reserved address"),
            ("100::1", "reserved address"),
            ("2001::1", "reserved address"),
            ("2001:2::1", "reserved address"),
            ("2001:db8::1", "documentation address"),
            ("2002:a00:1::1", "6to4 address"),
            ("3fff::1", "documentation address"),
            ("4000::1", "reserved address"),
            ("fc00::1", "private address"),
            ("fd00:ec2::254", "private address"),
            ("fe80::1", "link-local address"),
            ("fec0::1", "private address"),
            ("ff02::1", "multicast address"),
        ] {
            assert_eq!(judged(address), Some(kind), "{address}");
        }
    }

    #[test]
    fn what_is_near_is_refused_by_its_name() {
        let ground = ground(&["198.20.0.1"], &[]);
        for (address, reason) in [
            ("198.20.0.1", "address of the host 198.20.0.1"),
            ("::ffff:198.20.0.1", "address of the host 198.20.0.1"),
            ("168.63.129.16", "metadata address 168.63.129.16"),
            ("169.254.169.254", "metadata address 169.254.169.254"),
            ("fd00:ec2::254", "metadata address fd00:ec2::254"),
            ("203.0.114.9", "address beside the gateway 203.0.114.9"),
            ("10.1.2.3", "private address 10.1.2.3"),
        ] {
            let refused = refusal(&ground, address, Allowed::Named);
            assert_eq!(refused.as_deref(), Some(reason), "{address}");
        }
        assert_eq!(refusal(&ground, "198.20.0.2", Allowed::Covered), None);
    }

    #[test]
    fn the_operator_opens_private_addresses_to_those_who_name_them() {
        let ground = ground(&["10.1.0.1"], &["10.0.0.0/8", "127.0.0.1:443", "fd00::1"]);
        assert_eq!(refusal(&ground, "10.1.2.3", Allowed::Named), None);
        assert_eq!(refusal(&ground, "::ffff:10.1.2.3", Allowed::Named), None);
        assert_eq!(refusal(&ground, "fd00::1", Allowed::Named), None);
        assert_eq!(refusal(&ground, "127.0.0.1", Allowed::Named), None);
        assert!(refusal(&ground, "10.1.2.3", Allowed::Covered).is_some());
        assert!(refusal(&ground, "192.168.0.1", Allowed::Named).is_some());
        assert!(refusal(&ground, "127.0.0.2", Allowed::Named).is_some());
    }

    #[test]
    fn a_range_opens_neither_host_nor_neighbours_nor_metadata() {
        let wide = ground(&["10.1.0.1"], &["0.0.0.0/0"]);
        for address in ["10.1.0.1", "10.213.0.2", "169.254.169.254"] {
            assert!(refusal(&wide, address, Allowed::Named).is_some(), "{address}");
        }
        let sharp = ground(&["10.1.0.1"], &["10.1.0.1", "10.213.0.2"]);
        for address in ["10.1.0.1", "10.213.0.2"] {
            assert_eq!(refusal(&sharp, address, Allowed::Named), None, "{address}");
        }
    }
}
