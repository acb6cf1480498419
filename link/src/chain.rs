//! An error with its causes, in one line.

use std::error::Error;

/// The text of an error and of what caused it. Some repeat their cause in their own text; it stands
/// there once.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        below: Option<Box<Layer>>,
    }

    #[test]
    fn a_cause_stands_there_once() {
        let layer = |text, below| Layer { text, below };
        let deepest = Some(Box::new(layer("refused", None)));
        let repeats = Some(Box::new(layer("io error: refused", deepest)));
        let top = layer("failed to connect", repeats);
        assert_eq!(chain(&top), "failed to connect: io error: refused");
    }
}
