//! Names of packages that hold everywhere (<https://github.com/package-url/purl-spec>).

/// A Debian package.
pub(super) fn debian(
    vendor: &str,
    release: &str,
    name: &str,
    version: &str,
    architecture: Option<&str>,
) -> String {
    let (vendor, name) = (coded(vendor), coded(name));
    let architecture = architecture.map(|word| format!("arch={}&", coded(word)));
    let architecture = architecture.unwrap_or_default();
    let release = coded(release);
    format!("pkg:deb/{vendor}/{name}@{}?{architecture}distro={vendor}-{release}", coded(version))
}

/// An npm package, with its scope.
pub(super) fn npm(name: &str, version: &str) -> String {
    let name: Vec<_> = name.split('/').map(coded).collect();
    format!("pkg:npm/{}@{}", name.join("/"), coded(version))
}

/// A Python package, whose name is written in many ways and means the same.
pub(super) fn python(name: &str, version: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    format!("pkg:pypi/{}@{}", coded(&name), coded(version))
}

/// Something that no registry names so.
pub(super) fn generic(name: &str, version: &str) -> String {
    format!("pkg:generic/{}@{}", coded(name), coded(version))
}

/// Percent-encoded, but for what may stand in every part.
fn coded(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                coded.push(char::from(byte));
            }
            _ => coded.push_str(&format!("%{byte:02X}")),
        }
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_specification_says() {
        assert_eq!(
            debian("debian", "12", "libstdc++6", "1:12.2.0-14+deb12u1", Some("amd64")),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        assert_eq!(npm("@google/gemini-cli", "0.61.0"), "pkg:npm/%40google/gemini-cli@0.61.0");
        assert_eq!(python("Jinja2_Ansible", "1.0"), "pkg:pypi/jinja2-ansible@1.0");
        assert_eq!(generic("a b", "ü"), "pkg:generic/a%20b@%C3%BC");
    }
}
