//! Names of hosts: as requests write them, and as a worker's list of allowed ones does.
//!
//! Only letters, digits, `-` and `_` stand in a name. What a resolver would read as an address in
//! an odd notation (`127.1`, `0x7f000001`) is no name, and no address either.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use worker_protocol::gateway::{Reach, SELF_TEST_HOST};

/// The ports that a pattern without one means.
const USUAL_PORTS: [u16; 2] = [80, 443];
/// RFC 1035, 2.3.4.
const LONGEST_NAME: usize = 253;
/// RFC 1035, 2.3.4.
const LONGEST_LABEL: usize = 63;

/// A host, in the one form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Lower case, without a dot at the end.
    Name(String),
    /// An address, written as one.
    Address(IpAddr),
}

impl Host {
    /// Reads a host; an IPv6 address may stand in brackets. None when it is neither name nor address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare.parse().ok().map(|address| Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels_are_right = name.split('.').all(is_label);
        let ends_as_number = name.rsplit('.').next().is_none_or(is_number);
        (name.len() <= LONGEST_NAME && labels_are_right && !ends_as_number)
            .then_some(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

fn is_label(label: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(may_stand)
}

/// What resolvers take for a part of an IPv4 address.
fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// How a worker comes to be allowed a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The host itself is named.
    Named,
    /// It is below a name, or everything is open.
    Covered,
}

/// Whether the worker may reach the host at this port, as far as names go.
#[must_use]
pub fn allowed(reach: &Reach, host: &Host, port: u16) -> Option<Allowed> {
    match reach {
        Reach::Open => Some(Allowed::Covered),
        Reach::Hosts(patterns) => by_list(patterns, host, port),
    }
}

fn by_list(patterns: &BTreeSet<String>, host: &Host, port: u16) -> Option<Allowed> {
    let ways = patterns.iter().filter_map(|pattern| by_pattern(pattern, host, port));
    ways.min_by_key(|way| *way != Allowed::Named)
}

fn by_pattern(pattern: &str, host: &Host, port: u16) -> Option<Allowed> {
    let (named, ports) = split_port(pattern);
    if !ports.map_or(USUAL_PORTS.contains(&port), |only| only == port) {
        return None;
    }
    if let Some(parent) = named.strip_prefix("*.") {
        let (Host::Name(parent), Host::Name(name)) = (Host::parse(parent)?, host) else {
            return None;
        };
        let below = name.strip_suffix(&parent).is_some_and(|rest| rest.ends_with('.'));
        return below.then_some(Allowed::Covered);
    }
    (Host::parse(named)? == *host).then_some(Allowed::Named)
}

/// An IPv6 address without brackets has no port.
fn split_port(pattern: &str) -> (&str, Option<u16>) {
    if pattern.parse::<IpAddr>().is_ok() {
        return (pattern, None);
    }
    match pattern.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host, Some(port)),
        None => (pattern, None),
    }
}

/// Whether the host is the one that leads to the gateway itself.
#[must_use]
pub fn is_self_test(host: &Host) -> bool {
    matches!(host, Host::Name(name) if name == SELF_TEST_HOST)
}

/// A private address, or a range of them, that the operator opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    range: ipnet::IpNet,
    port: Option<u16>,
}

impl Opening {
    /// Reads `10.1.0.0/16`, `10.1.2.3`, `10.1.2.3:8080` or `[fd00::1]:8080`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(range) = text.parse() {
            return Some(Self { range, port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self { range: address.into(), port: None });
        }
        let address: SocketAddr = text.parse().ok()?;
        Some(Self { range: address.ip().into(), port: Some(address.port()) })
    }

    /// Whether this address is in it, at this port.
    #[must_use]
    pub fn covers(&self, address: IpAddr, port: u16) -> bool {
        self.range.contains(&address) && self.port.is_none_or(|only| only == port)
    }

    /// Whether it is one address, and not a range.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.range.prefix_len() == self.range.max_prefix_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(patterns: &[&str]) -> Reach {
        Reach::Hosts(patterns.iter().map(|&pattern| pattern.to_owned()).collect())
    }

    fn way(patterns: &[&str], host: &str, port: u16) -> Option<Allowed> {
        allowed(&reach(patterns), &Host::parse(host).expect(host), port)
    }

    #[test]
    fn a_host_has_one_form() {
        let name = |text: &str| Some(Host::Name(text.to_owned()));
        assert_eq!(Host::parse("API.Example.COM."), name("api.example.com"));
        assert_eq!(Host::parse("xn--bcher-kva.example"), name("xn--bcher-kva.example"));
        assert_eq!(Host::parse("_dmarc.example.com"), name("_dmarc.example.com"));
        assert_eq!(Host::parse("[::1]"), Some(Host::Address("::1".parse().unwrap())));
        assert_eq!(Host::parse("10.0.0.1"), Some(Host::Address("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn what_is_neither_name_nor_address_is_nothing() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "example.com..",
            "bücher.example",
            "a b",
            "a\0b",
            "exa%6dple.com",
            "user@example.com",
            "example.com/",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.0x1",
            "0177.0.0.1",
            "1.2.3.4.",
            "1.2.3.4.5",
            "[10.0.0.1]",
            "[::1",
            "::1%eth0",
            "*",
            "*.example.com",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_means_itself_at_the_usual_ports() {
        for (host, port, expected) in [
            ("example.com", 443, Some(Allowed::Named)),
            ("EXAMPLE.com.", 80, Some(Allowed::Named)),
            ("example.com", 22, None),
            ("www.example.com", 443, None),
            ("example.com.evil.test", 443, None),
            ("notexample.com", 443, None),
            ("93.184.215.14", 443, None),
        ] {
            assert_eq!(way(&["Example.com"], host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn a_port_means_only_that_one() {
        assert_eq!(way(&["example.com:8080"], "example.com", 8080), Some(Allowed::Named));
        assert_eq!(way(&["example.com:8080"], "example.com", 443), None);
        assert_eq!(way(&["*.example.com:22"], "a.example.com", 22), Some(Allowed::Covered));
        assert_eq!(way(&["example.com:99999"], "example.com", 443), None);
    }

    #[test]
    fn a_star_means_what_is_below() {
        for (host, expected) in [
            ("a.example.com", Some(Allowed::Covered)),
            ("a.b.example.com", Some(Allowed::Covered)),
            ("example.com", None),
            ("aexample.com", None),
            ("a.example.com.evil.test", None),
        ] {
            assert_eq!(way(&["*.example.com"], host, 443), expected, "{host}");
        }
        assert_eq!(way(&["*"], "example.com", 443), None);
        assert_eq!(way(&["*.0.0.1"], "10.0.0.1", 443), None);
        assert_eq!(way(&["*.a.com", "b.a.com"], "b.a.com", 443), Some(Allowed::Named));
    }

    #[test]
    fn an_address_is_allowed_where_it_is_named() {
        assert_eq!(way(&["10.0.0.1"], "10.0.0.1", 80), Some(Allowed::Named));
        assert_eq!(way(&["10.0.0.1:8080"], "10.0.0.1", 8080), Some(Allowed::Named));
        assert_eq!(way(&["fd00::1"], "[fd00::1]", 443), Some(Allowed::Named));
        assert_eq!(way(&["[fd00::1]:8080"], "[fd00:0::1]", 8080), Some(Allowed::Named));
        assert_eq!(way(&["10.0.0.1"], "10.0.0.2", 80), None);
        assert_eq!(way(&[], "10.0.0.1", 80), None);
    }

    #[test]
    fn open_covers_everything() {
        let host = Host::parse("example.com").unwrap();
        assert_eq!(allowed(&Reach::Open, &host, 22), Some(Allowed::Covered));
    }

    #[test]
    fn an_opening_is_a_range_an_address_or_a_port_of_one() {
        let covers = |opening: &str, address: &str, port| {
            Opening::parse(opening).unwrap().covers(address.parse().unwrap(), port)
        };
        assert!(covers("10.1.0.0/16", "10.1.2.3", 9));
        assert!(!covers("10.1.0.0/16", "10.2.2.3", 9));
        assert!(covers("10.1.2.3", "10.1.2.3", 9));
        assert!(covers("10.1.2.3:8080", "10.1.2.3", 8080));
        assert!(!covers("10.1.2.3:8080", "10.1.2.3", 8081));
        assert!(covers("[fd00::1]:8080", "fd00::1", 8080));
        assert_eq!(Opening::parse("example.com"), None);
        assert!(Opening::parse("10.1.2.3").unwrap().is_single());
        assert!(!Opening::parse("10.1.0.0/16").unwrap().is_single());
    }
}
