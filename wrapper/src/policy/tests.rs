use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use worker_protocol::CommandPattern;

use super::{LINE_LIMIT, Policy, shell};

fn policy(patterns: &[&str]) -> Policy {
    Policy::new(patterns.iter().map(|text| CommandPattern::parse(text).unwrap()).collect())
}

fn usual() -> Policy {
    policy(&["git", "npm run *", "ls -l", "cargo test*", "/opt/tool", "curl -s https://*.org/*"])
}

#[test]
fn what_is_in_the_list_may_run() {
    for line in [
        "git",
        "git status",
        "/usr/bin/git log --oneline",
        "g'i't \"status\"",
        "\\git status",
        "git status; git log",
        "git status && git log || git diff & git show\ngit tag",
        "git log | git shortlog",
        "git log |& git shortlog",
        "cd src && git status",
        "echo begun; git fetch; echo $?",
        "git commit -m 'a; rm -rf / $(id) `id`'",
        "git commit -m \"it's \\$5 \\`now\\`\"",
        "git log $BRANCH ${BRANCH}~1 *.rs {a,b} ~/x $((40 + 2))",
        "git log > out 2>&1 < /dev/null",
        "git log 2>/dev/null >>out",
        "git log \\\n  --oneline",
        "# a remark: rm\ngit status # another; rm",
        "CI=1 git status",
        "CI=1 NO_COLOR=\"$X\" git status",
        "npm run",
        "npm run build -- --fast $X",
        "ls -l",
        "cargo test",
        "cargo test-all --release",
        "/opt/tool --any",
        "curl -s https://a.org/x/y",
        "",
        "> made",
    ] {
        assert_eq!(usual().judge_line(line), Ok(()), "{line}");
    }
}

#[test]
fn what_is_not_in_the_list_is_named() {
    for (line, part) in [
        ("rm -rf /", "`rm` is not an allowed command; allowed are: git, npm run *"),
        ("git status; rm x", "`rm` is"),
        ("git status && rm x", "`rm` is"),
        ("git status || rm x", "`rm` is"),
        ("git status | rm x", "`rm` is"),
        ("git status & rm x", "`rm` is"),
        ("git status\nrm x", "`rm` is"),
        ("git status;rm x", "`rm` is"),
        ("r\\m x", "`rm` is"),
        ("'rm' x", "`rm` is"),
        ("2>&1 rm x", "`rm` is"),
        ("> out rm x", "`rm` is"),
        ("/bin/rm x", "`/bin/rm` is"),
        ("/tmp/git status", "`/tmp/git` is"),
        ("/usr/bin/../../tmp/git", "`/usr/bin/../../tmp/git` is"),
        ("./git status", "`./git` is"),
        ("tool", "`tool` is"),
        ("sh -c 'git status'", "`sh` is"),
        ("bash x.sh", "`bash` is"),
        ("eval git status", "`eval` is"),
        ("exec git status", "`exec` is"),
        (". ./x", "`.` is"),
        ("source x", "`source` is"),
        ("env git status", "`env` is"),
        ("command git status", "`command` is"),
        ("xargs git", "`xargs` is"),
        ("timeout 5 git status", "`timeout` is"),
        ("alias git=rm", "`alias` is"),
        ("hash -p /tmp/x git", "`hash` is"),
        ("export PATH=/tmp", "`export` is"),
        ("test -v 'a[$(id)]'", "`test` is"),
        ("printf -v PATH /tmp", "`printf` is"),
        ("PATH=/tmp git status", "`PATH=` may not be set"),
        ("CI=1 LD_PRELOAD=/tmp/x git", "`LD_PRELOAD=` may not be set"),
        ("PATH=/tmp", "`PATH=` may not be set"),
        ("CI+=1 git", "`CI+=` may not be set"),
        ("'CI=/../tmp/x' git", "`CI=/../tmp/x` is"),
        ("$X status", "is not a plain name"),
        ("\"$X\" status", "is not a plain name"),
        ("g?t status", "is not a plain name"),
        ("{git,rm} x", "is not a plain name"),
        ("~/git", "is not a plain name"),
        ("{ git status; }", "is not a plain name"),
        ("if git status; then git log; fi", "the shell's `if` is not read"),
        ("! git status", "the shell's `!` is not read"),
        ("npm", "`npm` is not allowed with these arguments"),
        ("npm install", "`npm install` is not allowed with these arguments"),
        ("npm 'run build'", "with these arguments"),
        ("npm $X build", "with these arguments"),
        ("npm \"$X\" build", "with these arguments"),
        ("npm -g run build", "with these arguments"),
        ("ls", "with these arguments"),
        ("ls -l /", "with these arguments"),
        ("ls -l*", "with these arguments"),
        ("curl -s https://a.com/", "with these arguments"),
    ] {
        let denied = usual().judge_line(line).unwrap_err().to_string();
        assert!(denied.contains(part), "{line}: {denied}");
    }
}

#[test]
fn what_cannot_be_read_with_certainty_is_denied() {
    for (line, part) in [
        ("git log $(id)", "a command within a command"),
        ("git log \"$(id)\"", "a command within a command"),
        ("git log `id`", "a command within a command"),
        ("git log \"`id`\"", "a command within a command"),
        ("git log $[1]", "a command within a command"),
        ("git log $((X))", "arithmetic"),
        ("git log $((1+$(id)))", "arithmetic"),
        ("git log ${X:-$(id)}", "`${…}` with more than a name"),
        ("git log ${!X}", "`${…}` with more than a name"),
        ("git log <(id)", "a parenthesis"),
        ("(git log)", "a parenthesis"),
        ("git() { id; }", "a parenthesis"),
        ("X=(1) git", "a parenthesis"),
        ("git apply <<X\nrm\nX", "a here-document"),
        ("git apply <<< x", "a here-document"),
        ("git log $'\\x41'", "`$'…'`"),
        ("git log $\"x\"", "`$'…'`"),
        ("git log \"$\\\n(id)\"", "broken within a word"),
        ("git log \"x\\\ny\"", "broken within a word"),
        ("gi\\\nt log", "broken within a word"),
        ("git log &\\\n> x", "broken within a word"),
        ("git log &> x", "some shells read as two commands"),
        ("git log {PATH}> x", "sets a variable"),
        ("git log 'x", "a quote without its end"),
        ("git log \"x", "a quote without its end"),
        ("git log \\", "a backslash at the end"),
        ("git log >", "a redirection to nowhere"),
        ("git log > ; rm", "a redirection to nowhere"),
        ("git log > > x", "a redirection to nowhere"),
        ("git log\u{b}rm", "a control character"),
        ("git log '\u{0}'", "a control character"),
        ("git log\r\nrm", "a control character"),
    ] {
        let denied = usual().judge_line(line).unwrap_err().to_string();
        assert!(denied.contains(part), "{line}: {denied}");
    }
    let long = format!("git log {}", "x".repeat(LINE_LIMIT));
    assert!(usual().judge_line(&long).unwrap_err().to_string().contains("is not read"));
}

#[test]
fn a_program_without_a_shell_is_judged_by_the_same_patterns() {
    let judge = |argv: &[&str]| {
        usual().judge_argv(&argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(judge(&["git", "$(x)", ";"]), Ok(()));
    assert!(judge(&["sh", "-c", "git"]).is_err());
    assert!(judge(&["CI=1", "git"]).is_err());
}

/// Pieces of which lines are made that try to get past the reader.
const PIECES: [&str; 44] = [
    "fine",
    "evil",
    " ",
    " ",
    ";",
    "&",
    "&&",
    "|",
    "||",
    "\n",
    "'",
    "\"",
    "\\",
    "\\\n",
    "$",
    "$(",
    "${",
    "((",
    ")",
    "`",
    "}",
    "{",
    "#",
    "=",
    "<",
    ">",
    ">&",
    "&>",
    "<<",
    "<<<",
    "!",
    "$X",
    "X=",
    "CI=",
    "eval ",
    "exec ",
    "fine evil",
    "\t",
    "1",
    "2>",
    "{X}",
    "~",
    "fine\\\n",
    "\"$",
];

/// A folder in which `fine` does nothing and `evil` leaves a mark.
fn programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    for (name, script) in [
        ("fine", "#!/bin/sh\n".to_owned()),
        ("evil", format!("#!/bin/sh\n: > {}\n", mark.display())),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn run(shell: &str, line: &str, programs: &Path) {
    let cwd = tempfile::tempdir().unwrap();
    let status = Command::new(shell)
        .args(["-c", line])
        .current_dir(cwd.path())
        .env_clear()
        .env("PATH", programs)
        .env("X", "evil")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_that_is_allowed_runs_anything_else(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 1..8),
    ) {
        let line = format!("fine {}", pieces.concat());
        if policy(&["fine"]).judge_line(&line).is_ok() {
            let folder = programs();
            for shell in ["/bin/bash", "/bin/sh"] {
                run(shell, &line, folder.path());
                prop_assert!(!folder.path().join("mark").exists(), "{shell} ran it: {line:?}");
            }
        }
    }

    #[test]
    fn any_text_is_judged(line in any::<String>()) {
        let _ = policy(&["fine"]).judge_line(&line);
    }

    #[test]
    fn what_is_quoted_is_one_word(words in proptest::collection::vec("[ -~]{0,12}", 1..5)) {
        let quoted: Vec<_> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        let read = shell::read(&quoted.join(" ")).unwrap();
        let texts: Vec<_> = read[0].iter().map(|word| word.text.clone()).collect();
        prop_assert!(read.len() == 1 && read[0].iter().all(|word| word.certain && word.assigns.is_none()));
        prop_assert_eq!(texts, words);
    }
}
