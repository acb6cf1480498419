//! What a worker may reach, as commands, configuration and templates write it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::problem::Shown;

/// The most bytes of a host's name, as the DNS has it.
const NAME_LIMIT: usize = 253;
/// The most bytes of what stands between two dots.
const LABEL_LIMIT: usize = 63;
/// What a host without a port is reached at: the web's.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// What a `create` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Egress {
    /// What the operator has chosen for those who do not say.
    #[default]
    Usual,
    /// No host.
    Off,
    /// What the agent itself cannot do without.
    Agent,
    /// Every public host.
    Open,
    /// These, and what the agent cannot do without.
    Hosts(BTreeSet<Host>),
}

impl Egress {
    /// Reads `off`, `agent` or `open`, each alone, or hosts; nothing: as usual.
    ///
    /// # Errors
    /// In words that complete "`egress` …": what is wrong with which item.
    pub fn parse(items: &[String]) -> Result<Self, String> {
        let word = |item: &String| match item.to_ascii_lowercase().as_str() {
            "off" => Some(Self::Off),
            "agent" => Some(Self::Agent),
            "open" => Some(Self::Open),
            _ => None,
        };
        match items {
            [] => return Ok(Self::Usual),
            [item] => {
                if let Some(word) = word(item) {
                    return Ok(word);
                }
            }
            several => {
                if let Some(item) = several.iter().find(|item| word(item).is_some()) {
                    return Err(format!(
                        "holds {} among others: off, agent and open stand alone, and a list of \
                         hosts always comes with the agent's own",
                        Shown(item)
                    ));
                }
            }
        }
        items.iter().map(|item| Host::parse(item)).collect::<Result<_, _>>().map(Self::Hosts)
    }
}

impl TryFrom<Vec<String>> for Egress {
    type Error = String;

    fn try_from(items: Vec<String>) -> Result<Self, String> {
        Self::parse(&items)
    }
}

impl From<Egress> for Vec<String> {
    fn from(egress: Egress) -> Self {
        match egress {
            Egress::Usual => Self::new(),
            Egress::Off => vec!["off".to_owned()],
            Egress::Agent => vec!["agent".to_owned()],
            Egress::Open => vec!["open".to_owned()],
            Egress::Hosts(hosts) => hosts.iter().map(Host::to_string).collect(),
        }
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(","))
    }
}

/// A host, or all below a name, with or without a port: `example.com`, `example.com:8080`,
/// `*.example.com`, `192.0.2.1`, `[2001:db8::1]:443`. Without a port, 80 and 443 are meant. Names
/// are in lower case, without a last dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Address(IpAddr),
    Exact(String),
    Below(String),
}

impl Host {
    /// Reads one.
    ///
    /// # Errors
    /// In words that complete "`egress` …": what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|why| format!("holds {}: {why}", Shown(text)))
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Err("for every host, say open");
        }
        if text.contains('/') {
            return Err(
                "a host is a name or an address alone, without https:// and without a path",
            );
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { name: Name::Address(address.into()), port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !text.ends_with(']') => (name, Some(read_port(port)?)),
            _ => (text, None),
        };
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = match bare {
            Some(address) => {
                let address = address.parse::<Ipv6Addr>();
                Name::Address(address.map_err(|_| "between [ and ] stands an IPv6 address")?.into())
            }
            None => read_name(name)?,
        };
        Ok(Self { name, port })
    }

    /// Whether whoever may reach this may reach all of `wanted`.
    #[must_use]
    pub fn covers(&self, wanted: &Self) -> bool {
        let ports = match (self.port, wanted.port) {
            (None, None) => true,
            (None, Some(port)) => USUAL_PORTS.contains(&port),
            (own, wanted) => own == wanted,
        };
        let is_below =
            |name: &str, top: &str| name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
        ports
            && match (&self.name, &wanted.name) {
                (Name::Below(top), Name::Exact(name)) => is_below(name, top),
                (Name::Below(top), Name::Below(name)) => name == top || is_below(name, top),
                (own, wanted) => own == wanted,
            }
    }

    /// The address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.name {
            Name::Address(address) => Some(address),
            _ => None,
        }
    }

    /// The port, where it names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or(
        "behind the colon stands a port from 1 to 65535 (and an IPv6 address between [ and ])",
    )
}

fn read_name(text: &str) -> Result<Name, &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Name::Address(address));
    }
    let text = text.to_ascii_lowercase();
    let below = text.strip_prefix("*.");
    let name = below.unwrap_or(&text);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.contains('*') {
        return Err("a * stands only at the beginning, before a dot: *.example.com");
    }
    if !name.is_ascii() {
        return Err("write such a name as the DNS has it, beginning with xn--");
    }
    let fits = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=LABEL_LIMIT).contains(&label.len())
            && label.bytes().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > NAME_LIMIT || !name.split('.').all(fits) {
        return Err("a host is a name such as example.com, or an address such as 192.0.2.1");
    }
    // Resolvers read 127.1 and 0x7f000001 as addresses.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err("an IPv4 address is four numbers, such as 192.0.2.1");
    }
    Ok(match below {
        Some(_) => Name::Below(name.to_owned()),
        None => Name::Exact(name.to_owned()),
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.port) {
            (Name::Address(IpAddr::V6(address)), Some(_)) => write!(f, "[{address}]")?,
            (Name::Address(address), _) => write!(f, "{address}")?,
            (Name::Exact(name), _) => f.write_str(name)?,
            (Name::Below(name), _) => write!(f, "*.{name}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn egress(items: &[&str]) -> Result<Egress, String> {
        Egress::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_host_is_written_in_one_way() {
        for (text, written) in [
            ("Example.COM.", "example.com"),
            ("*.example.com", "*.example.com"),
            ("example.com:8080", "example.com:8080"),
            ("my_host-1", "my_host-1"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(host(text).to_string(), written);
            assert_eq!(host(written), host(text));
        }
    }

    #[test]
    fn what_is_no_host_is_told_why() {
        let long = format!("{}.com", "a".repeat(64));
        for (text, part) in [
            ("*", "say open"),
            ("https://example.com", "without https://"),
            ("example.com/path", "without a path"),
            ("a.*.com", "only at the beginning"),
            ("*example.com", "only at the beginning"),
            ("bücher.example", "xn--"),
            ("", "a name such as"),
            ("*.", "a name such as"),
            ("a..b", "a name such as"),
            ("-a.com", "a name such as"),
            ("user@example.com", "a name such as"),
            ("exa mple.com", "a name such as"),
            (&long, "a name such as"),
            ("example.com:0", "a port from 1"),
            ("example.com:65536", "a port from 1"),
            ("example.com:+80", "a port from 1"),
            ("example.com:", "a port from 1"),
            ("[127.0.0.1]", "IPv6"),
            ("127.1", "four numbers"),
            ("2130706433", "four numbers"),
            ("0x7f000001", "four numbers"),
        ] {
            let why = Host::parse(text).unwrap_err();
            assert!(why.contains(part) && why.len() < 300, "{text}: {why}");
        }
    }

    #[test]
    fn a_host_covers_itself_and_what_is_below_it_where_that_is_said() {
        for (own, wanted, covers) in [
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "notexample.com", false),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "*.a.example.com", true),
            ("*.a.example.com", "*.example.com", false),
            ("example.com", "*.example.com", false),
            ("example.com", "example.com:443", true),
            ("example.com", "example.com:80", true),
            ("example.com", "example.com:22", false),
            ("example.com:22", "example.com:22", true),
            ("example.com:443", "example.com", false),
            ("*.example.com:22", "a.example.com:22", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(host(own).covers(&host(wanted)), covers, "{own} {wanted}");
        }
    }

    #[test]
    fn egress_is_a_word_or_hosts() {
        assert_eq!(egress(&[]), Ok(Egress::Usual));
        assert_eq!(egress(&["OFF"]), Ok(Egress::Off));
        assert_eq!(egress(&["agent"]), Ok(Egress::Agent));
        assert_eq!(egress(&["open"]), Ok(Egress::Open));
        let hosts = egress(&["b.com", "a.com", "A.com"]).unwrap();
        assert_eq!(hosts.to_string(), "a.com,b.com");
        for items in [["open", "a.com"], ["a.com", "Off"]] {
            let why = egress(&items).unwrap_err();
            assert!(why.contains("stand alone"), "{why}");
        }
    }

    #[test]
    fn a_label_brings_back_what_was_asked_for() {
        for items in [&[][..], &["off"], &["open"], &["a.com", "*.b.com:8443"]] {
            let asked = egress(items).unwrap();
            let label = serde_json::to_string(&asked).unwrap();
            assert_eq!(serde_json::from_str::<Egress>(&label).unwrap(), asked);
        }
    }
}
