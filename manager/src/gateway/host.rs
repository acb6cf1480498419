//! Which addresses are this machine's.

use nix::ifaddrs::getifaddrs;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Those of the machine that this program runs on: the engine's, unless it is elsewhere.
pub(super) fn addresses() -> BTreeSet<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|at| IpAddr::from(at.ip()));
        let six = address.as_sockaddr_in6().map(|at| IpAddr::from(at.ip()));
        four.or(six)
    });
    addresses.filter(|address| !is_of_a_link(address)).collect()
}

/// Such addresses come and go with every container, and the gateway refuses all of them anyway.
fn is_of_a_link(address: &IpAddr) -> bool {
    let of_a_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    of_a_link || address.is_loopback()
}
