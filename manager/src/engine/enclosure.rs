//! The network of one instance, and the gateway that is its only neighbour there.

use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{BuildOrder, InstanceName};

/// Bits of an enclosure's prefix: an engine keeps three addresses of the eight for itself.
pub const ENCLOSURE_PREFIX: u8 = 29;

/// A network to make for one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclosurePlan {
    /// The instance, which need not be there yet.
    pub of: InstanceName,
    /// The gateway, which is.
    pub gateway: InstanceName,
    /// Those of the instance.
    pub labels: BTreeMap<String, String>,
    /// The network is one of this range that nothing else on the host uses.
    pub range: Ipv4Net,
}

/// A network of which one instance and the gateway are the only members. Nothing leads out of it:
/// the host has no address on it, and passes nothing on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclosure {
    /// Its name on the host.
    pub name: String,
    /// Its addresses.
    pub subnet: Ipv4Net,
}

impl Enclosure {
    /// What it is known by where networks are told apart by address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.subnet.network()
    }

    /// The gateway's address on it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.nth(2)
    }

    /// The instance's address on it.
    #[must_use]
    pub fn instance(&self) -> Ipv4Addr {
        self.nth(3)
    }

    fn nth(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits() | number)
    }
}

/// The gateway: an instance that is a member of each enclosure, and of a network that leads
/// outside.
#[derive(Clone, Debug)]
pub struct GatewayPlan {
    /// Its name.
    pub name: InstanceName,
    /// How its image is made, where the host does not have it. The tag names the content.
    pub image: BuildOrder,
    /// What is written on it. Images with its first label and another tag are earlier ones of it.
    pub labels: BTreeMap<String, String>,
    /// The network that leads outside.
    pub network: String,
    /// Those with these labels are the enclosures that it joins.
    pub enclosures: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_and_instance_have_fixed_places() {
        let subnet = "10.213.4.8/29".parse().unwrap();
        let enclosure = Enclosure { name: "n".to_owned(), subnet };
        let places = [enclosure.address(), enclosure.gateway(), enclosure.instance()];
        assert_eq!(places.map(|at| at.to_string()), ["10.213.4.8", "10.213.4.10", "10.213.4.11"]);
    }
}
