//! The interpreter that a program names, without which the kernel does not start it.

/// Bytes from the beginning of a program in which its headers and the name stand.
pub(super) const HEAD: usize = 4096;

/// The dynamic loader of an ELF program; none of a static one, or of what is no program.
///
/// Source: the ELF specification, "Program Header". Numbers are little-endian on every machine that
/// this runs on.
pub(super) fn interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = *head.get(4)? == 2;
    // Where 64-bit and 32-bit programs keep things, and how many bytes they take.
    let (table, size, count) = if wide { ((32, 8), 54, 56) } else { ((28, 4), 42, 44) };
    let (offset, length) = if wide { ((8, 8), (32, 8)) } else { ((4, 4), (16, 4)) };
    let table = number(head, table)?;
    let (size, count) = (number(head, (size, 2))?, number(head, (count, 2))?);
    let entry = (0..count)
        .filter_map(|at| head.get(table + at * size..))
        .find(|entry| number(entry, (0, 4)) == usize::try_from(PT_INTERP).ok())?;
    let begin = number(entry, offset)?;
    let name = head.get(begin..begin.checked_add(number(entry, length)?)?)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    String::from_utf8(name.to_vec()).ok().filter(|name| name.starts_with('/'))
}

fn number(bytes: &[u8], (at, length): (usize, usize)) -> Option<usize> {
    let mut wide = [0; 8];
    wide[..length].copy_from_slice(bytes.get(at..at + length)?);
    usize::try_from(u64::from_le_bytes(wide)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_names_its_loader_and_nothing_else_does() {
        let shell = std::fs::read("/bin/sh").unwrap();
        let loader = interpreter(&shell[..HEAD]).unwrap();
        assert!(std::path::Path::new(&loader).exists(), "{loader}");
        for other in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", &[0xff; 64]] {
            assert_eq!(interpreter(other), None);
        }
        let broken: Vec<_> = shell[..64].iter().copied().chain([0xff; 512]).collect();
        assert_eq!(interpreter(&broken), None);
    }
}
