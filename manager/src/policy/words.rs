//! Names, and beginnings of names.

use std::collections::BTreeSet;

/// `GIT`, `debian:*`, or `*` for all. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words(BTreeSet<String>);

impl Words {
    pub(super) fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self(words.into_iter().collect())
    }

    pub(super) fn hold(&self, name: &str) -> bool {
        self.0.contains(name)
            || self.0.iter().any(|word| {
                word.strip_suffix('*').is_some_and(|beginning| name.starts_with(beginning))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest() {
        let words = Words::new(["GIT", "debian:*"].map(str::to_owned));
        for (name, held) in
            [("GIT", true), ("GITHUB", false), ("debian:12", true), ("debian", false), ("", false)]
        {
            assert_eq!(words.hold(name), held, "{name}");
        }
        assert!(Words::new(["*".to_owned()]).hold("anything"));
        assert!(!Words::default().hold("anything"));
    }
}
