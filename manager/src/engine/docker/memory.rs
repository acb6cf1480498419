//! How much memory the machine has left.

use super::connection::{Address, DockerEngine};
use crate::engine::Memory;

/// What the kernel tells. In a container it is that of the machine all the same.
const MEMINFO: &str = "/proc/meminfo";

impl DockerEngine {
    /// Only of a daemon on this machine, as far as a socket tells that.
    pub(super) fn machines_memory(&self) -> Option<Memory> {
        match self.address() {
            Address::Unix(_) => memory(&std::fs::read_to_string(MEMINFO).ok()?),
            Address::Http(_) => None,
        }
    }
}

fn memory(meminfo: &str) -> Option<Memory> {
    let line = |name: &str| meminfo.lines().find_map(|line| line.strip_prefix(name));
    let bytes = |name: &str| {
        let kb: u64 = line(name)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kb.checked_mul(1024)
    };
    Some(Memory { available: bytes("MemAvailable:")?, total: bytes("MemTotal:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_is_available() {
        let meminfo = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(memory(meminfo), Some(Memory { available: 8 << 20, total: 16 << 20 }));
        assert_eq!(memory("MemTotal: 16384 kB\n"), None, "kernels before 3.14 do not");
        let here = memory(&std::fs::read_to_string(MEMINFO).unwrap()).unwrap();
        assert!(here.available > 0 && here.available <= here.total, "{here:?}");
    }
}
