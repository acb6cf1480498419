//! Asking where Redis is.

use redis::aio::ConnectionLike;
use redis::{RedisResult, Value};

use crate::address::Host;
use crate::connection::Connection;

/// What a sentinel says of a master.
pub(crate) async fn master(sentinel: &mut Connection, name: &str) -> RedisResult<Option<Host>> {
    let address: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg(&["GET-MASTER-ADDR-BY-NAME", name])
        .query_async(sentinel)
        .await?;
    Ok(address.map(|(name, port)| Host { name, port }))
}

/// The nodes of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// The one that owns the slot, if one does.
    pub(crate) owner: Option<Host>,
    /// All of them, replicas too.
    pub(crate) all: Vec<Host>,
}

/// What the node at `asked` says of its cluster.
pub(crate) async fn nodes(node: &mut Connection, asked: &Host, slot: u16) -> RedisResult<Nodes> {
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(node).await?;
    let mut nodes = Nodes { owner: None, all: Vec::new() };
    for range in ranges {
        let mut range = range.into_iter();
        let (Some(first), Some(last)) = (range.next(), range.next()) else { continue };
        let first: u16 = redis::from_redis_value(first)?;
        let last: u16 = redis::from_redis_value(last)?;
        let hosts: RedisResult<Vec<_>> = range.map(|node| member(node, asked)).collect();
        let hosts = hosts?;
        if (first..=last).contains(&slot) {
            nodes.owner = hosts.first().cloned();
        }
        let new: Vec<_> = hosts.into_iter().filter(|host| !nodes.all.contains(host)).collect();
        nodes.all.extend(new);
    }
    Ok(nodes)
}

/// `[name, port, id, …]`. A node that does not know its own name leaves it out: it is the one that
/// was asked by.
fn member(node: Value, asked: &Host) -> RedisResult<Host> {
    let mut fields: std::vec::IntoIter<Value> = match node {
        Value::Array(fields) => fields.into_iter(),
        _ => Vec::new().into_iter(),
    };
    let name: Option<String> = redis::from_redis_value(fields.next().unwrap_or(Value::Nil))?;
    let port = redis::from_redis_value(fields.next().unwrap_or(Value::Nil))?;
    let name = name.filter(|name| !matches!(name.as_str(), "" | "?"));
    Ok(Host { name: name.unwrap_or_else(|| asked.name.clone()), port })
}

/// Whether a connection still leads to the Redis that takes writes. In a cluster it is the one that
/// knows a key with this hash tag as its own. Where the user may not ask, it is believed.
pub(crate) async fn is_current(
    connection: &mut impl ConnectionLike,
    hash_tag: Option<&str>,
) -> RedisResult<bool> {
    let asked: RedisResult<Value> = match hash_tag {
        Some(tag) => {
            let key = format!("{{{tag}}}:commands");
            redis::cmd("TTL").arg(key).query_async(connection).await
        }
        None => redis::cmd("ROLE").query_async(connection).await,
    };
    match asked {
        Ok(Value::Array(role)) => {
            let role: Option<String> = role.first().map(redis::from_redis_value_ref).transpose()?;
            Ok(role.as_deref() == Some("master"))
        }
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("NOPERM") => Ok(true),
        Err(error) if matches!(error.code(), Some("MOVED" | "ASK" | "CLUSTERDOWN")) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The slot of all keys with a hash tag: CRC16 (XMODEM) of it, modulo 16384, as the specification of
/// Redis Cluster has it.
pub(crate) fn slot(hash_tag: &str) -> u16 {
    let crc = hash_tag.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // `CLUSTER KEYSLOT` of Redis 7 says the same.
        assert_eq!((slot("123456789"), slot("foo"), slot("")), (0x31C3, 12182, 0));
    }
}
