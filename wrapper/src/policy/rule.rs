//! Whether one command is among the patterns.

use worker_protocol::CommandPattern;

use super::shell::Word;

/// What a shell does by itself, and what starts no program and changes nothing that decides which
/// program a name means. Not `test` or `printf`: both can set or evaluate variables.
const HARMLESS: [&str; 7] = [":", "cd", "echo", "exit", "false", "pwd", "true"];

/// Variables that may be set for a command: no program is chosen by them. Others name programs to
/// start or libraries to load, and no list of those is ever whole.
const SETTABLE: [&str; 4] = ["CI", "FORCE_COLOR", "NODE_ENV", "NO_COLOR"];

/// Words that are no command for a shell, but the beginning of something larger.
const RESERVED: [&str; 20] = [
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function",
    "if", "in", "select", "then", "time", "until", "while", "]]",
];

/// Folders that only root fills. A path into one of them counts as the name at its end.
const SYSTEM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether a command is allowed; otherwise, what of it is not.
pub(super) fn judge(allowed: &[CommandPattern], words: &[Word]) -> Result<(), String> {
    let begin = words.iter().position(|word| word.assigns.is_none()).unwrap_or(words.len());
    let (assignments, command) = words.split_at(begin);
    for variable in assignments.iter().filter_map(|word| word.assigns.as_deref()) {
        if !SETTABLE.contains(&variable) {
            return Err(format!("`{variable}=` may not be set for a command"));
        }
    }
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    if !program.certain {
        return Err(format!("the command `{}` is not a plain name", program.text));
    }
    let text = program.text.as_str();
    if RESERVED.contains(&text) {
        return Err(format!("the shell's `{text}` is not read"));
    }
    if HARMLESS.contains(&text) {
        return Ok(());
    }
    let mut of_this_name = allowed.iter().filter(|pattern| names(pattern.name(), text)).peekable();
    if of_this_name.peek().is_none() {
        return Err(format!("`{text}` is not an allowed command"));
    }
    if of_this_name.any(|pattern| fits(pattern.arguments(), arguments)) {
        return Ok(());
    }
    let shown: Vec<_> = command.iter().map(|word| word.text.as_str()).collect();
    Err(format!("`{}` is not allowed with these arguments", shown.join(" ")))
}

/// Whether a command, as it is written, is the one that a pattern names.
fn names(pattern: &str, written: &str) -> bool {
    if pattern == written {
        return true;
    }
    written
        .rsplit_once('/')
        .is_some_and(|(folder, name)| name == pattern && SYSTEM_FOLDERS.contains(&folder))
}

/// Whether arguments fit their patterns, word by word.
fn fits(patterns: Option<&[String]>, arguments: &[Word]) -> bool {
    let Some((last, exact)) = patterns.and_then(<[String]>::split_last) else { return true };
    let fit = |pattern: &str, word: &Word| word.certain && is_like(pattern, &word.text);
    let given = |at: usize| arguments.get(at);
    let begins_well = exact
        .iter()
        .enumerate()
        .all(|(at, pattern)| given(at).is_some_and(|word| fit(pattern, word)));
    if !begins_well {
        return false;
    }
    match given(exact.len()) {
        _ if last == "*" => true,
        Some(word) => {
            fit(last, word) && (last.ends_with('*') || arguments.len() == exact.len() + 1)
        }
        None => false,
    }
}

/// Whether a text is like a pattern, in which `*` stands for any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<_> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}
