//! What a failed command is told.

use std::fmt;

/// The one-word `error` of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The entry could not be understood.
    Malformed,
    /// The command's name is not known.
    UnknownCommand,
    /// No worker has this id.
    UnknownWorker,
    /// Understood, and not allowed or not supported.
    Refused,
    /// No room: a limit on workers, memory or disk.
    Exhausted,
    /// The worker's image could not be built.
    BuildFailed,
    /// The worker's container could not be made or started, or ended before it was running.
    StartFailed,
    /// The container engine does not answer.
    EngineUnavailable,
    /// It took longer than allowed.
    Timeout,
    /// A defect of this program.
    Internal,
}

impl ErrorKind {
    const ALL: [Self; 10] = [
        Self::Malformed,
        Self::UnknownCommand,
        Self::UnknownWorker,
        Self::Refused,
        Self::Exhausted,
        Self::BuildFailed,
        Self::StartFailed,
        Self::EngineUnavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownCommand => "unknown_command",
            Self::UnknownWorker => "unknown_worker",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::BuildFailed => "build_failed",
            Self::StartFailed => "start_failed",
            Self::EngineUnavailable => "engine_unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Why a command failed: the word for programs, the sentence for people.
///
/// A message names the field or thing and says what would be right. It never holds the value of
/// an environment variable or a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl Problem {
    /// A problem of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The entry could not be understood.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    /// Understood, and not allowed or not supported.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }
}

/// A caller's text in a message: quoted, on one line, cut to 40 characters.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        let head: String = self.0.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        let more = if self.0.chars().nth(LONGEST).is_some() { "…" } else { "" };
        write!(f, "\"{head}{more}\"")
    }
}

/// `, did you mean "x"?` when a known name is near, otherwise nothing.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.6; // one slip in a word of three letters, two in one of five
    let given = given.to_lowercase();
    let likeness =
        |name: &str| strsim::normalized_damerau_levenshtein(&given, &name.to_lowercase());
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!(", did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_wire(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["prompt", "modules", "labels"];
        assert_eq!(did_you_mean("promt", known), ", did you mean `prompt`?");
        assert_eq!(did_you_mean("Module", known), ", did you mean `modules`?");
        assert_eq!(did_you_mean("GTI", ["CURL", "GIT"]), ", did you mean `GIT`?");
        assert_eq!(did_you_mean("xyzzy", known), "");
    }

    #[test]
    fn shown_text_is_short_and_on_one_line() {
        assert_eq!(Shown("a\nb").to_string(), "\"a\\nb\"");
        assert_eq!(Shown(&"ä".repeat(41)).to_string().chars().count(), 43);
    }
}
