//! The networks that the gateway is on, as the kernel tells them. They change while it runs: each
//! new worker brings one.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// All networks that a packet would reach without a router, and the routers themselves.
#[must_use]
pub fn beside() -> Vec<IpNet> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = routes_v4(&read("/proc/net/route"));
    all.extend(routes_v6(&read("/proc/net/ipv6_route")));
    all
}

/// proc_net(5): interface, destination, gateway, flags, three counts, mask; numbers in hexadecimal,
/// in the byte order of the machine.
fn routes_v4(table: &str) -> Vec<IpNet> {
    let number = |text: &str| {
        u32::from_str_radix(text, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
    };
    let mut all = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, destination, gateway, _, _, _, _, mask, ..] = fields[..] else { continue };
        let (Some(destination), Some(gateway), Some(mask)) =
            (number(destination), number(gateway), number(mask))
        else {
            continue;
        };
        if !gateway.is_unspecified() {
            all.push(IpNet::from(std::net::IpAddr::V4(gateway)));
        } else if let Ok(net) = Ipv4Net::with_netmask(destination, mask) {
            all.extend((net.prefix_len() > 0).then_some(IpNet::V4(net)));
        }
    }
    all
}

/// proc_net(5): destination and its prefix, source and its prefix, next hop; all in hexadecimal.
fn routes_v6(table: &str) -> Vec<IpNet> {
    let number = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits);
    let mut all = Vec::new();
    for line in table.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [destination, prefix, _, _, gateway, ..] = fields[..] else { continue };
        let (Some(destination), Ok(prefix), Some(gateway)) =
            (number(destination), u8::from_str_radix(prefix, 16), number(gateway))
        else {
            continue;
        };
        if !gateway.is_unspecified() {
            all.push(IpNet::from(std::net::IpAddr::V6(gateway)));
        } else if let Ok(net) = Ipv6Net::new(destination, prefix) {
            all.extend((net.prefix_len() > 0).then_some(IpNet::V6(net)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn networks_and_routers_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
            eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            eth1\t0804D50A\t00000000\t0001\t0\t0\t0\tF8FFFFFF\t0\t0\t0\n\
            broken\n";
        let expected = ["172.18.0.1/32", "172.18.0.0/16", "10.213.4.8/29"];
        assert_eq!(routes_v4(table), expected.map(|net| net.parse().unwrap()));
    }

    #[test]
    fn those_of_ipv6_too() {
        let zero = "0".repeat(32);
        let line = |to: &str, prefix: &str, by: &str| {
            format!("{to} {prefix} {zero} 00 {by} 00000400 00000001 00000000 00000001 eth0\n")
        };
        let net = "20010db8000100000000000000000000";
        let router = "20010db8000100000000000000000001";
        let table = line(net, "40", &zero) + &line(&zero, "00", router) + &line(&zero, "00", &zero);
        let expected = ["2001:db8:1::/64", "2001:db8:1::1/128"];
        assert_eq!(routes_v6(&table), expected.map(|net| net.parse().unwrap()));
    }
}
