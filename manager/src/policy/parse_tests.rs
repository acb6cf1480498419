use super::*;
use proptest::prelude::*;

/// The example of docs/operations.md.
pub(in crate::policy) const EXAMPLE: &str = r#"
[callers.me]
operator = true

[callers.team-a]
commands = ["create", "delete", "status", "stop", "start", "interrupt", "list", "ping"]
agents = ["CLAUDE", "CUSTOM"]
modules = ["GIT", "NODE"]
base_images = ["debian:*"]
egress = ["github.com", "*.npmjs.org"]
credentials = ["team-a-*"]
workspace = ["/srv/team-a"]
workers = 10
workers_of = ["team-b"]
limits = { memory = "4g", cpus = 2, max_lifetime = "8h" }

[callers.team-a.labels]
allowed = ["ticket", "x-*"]
required = ["ticket"]
forced = { team = "a" }

[callers.anonymous]
commands = ["ping"]
"#;

fn fault(text: &str) -> (usize, String) {
    let fault = parse(text).unwrap_err();
    (fault.line, fault.problem)
}

#[test]
fn the_example_is_read() {
    let policy = parse(EXAMPLE).unwrap();
    assert_eq!(policy.callers().collect::<Vec<_>>(), ["anonymous", "me", "team-a"]);
    let Role::Tenant(grant) = &policy.sections["team-a"].role else { panic!("a tenant") };
    assert_eq!(grant.limits.memory, Some(4 << 30));
    assert_eq!(grant.limits.cpus, Some(2.0));
    assert_eq!(grant.labels.forced["team"], "a");
    assert_eq!(policy.sections["me"].role, Role::Operator);
    assert!(policy.default.is_none());
}

#[test]
fn each_mistake_is_told_with_its_line() {
    for (text, line, part) in [
        ("[caller.a]", 1, "did you mean `callers`?"),
        ("[callers.a]\n\nagnets = []", 3, "did you mean `agents`?"),
        ("[callers.A]", 1, "a caller's name"),
        ("callers = 1", 1, "`callers` must be a table"),
        ("[callers.a]\nagents = [\n\"CLAUDE\",\n\"CLADUE\"]", 4, "did you mean `CLAUDE`?"),
        ("[callers.a]\ncommands = [\"creat\"]", 2, "did you mean `create`?"),
        ("[callers.a]\nmodules = [\"a b\"]", 2, "module"),
        ("[callers.a]\nmodules = [1]", 2, "`callers.a.modules` must be texts"),
        ("[callers.a]\negress = [\"https://a.com\"]", 2, "`callers.a.egress` holds"),
        ("[callers.a]\nworkers = -1", 2, "a whole number"),
        ("[callers.a]\nworkspace = [\"/srv/../etc\"]", 2, "without `..`"),
        ("[callers.a]\nworkspace = \"srv\"", 2, "from the root on"),
        ("[callers.a]\noperator = 1", 2, "true or false"),
        ("[callers.a]\noperator = true\nagents = [\"*\"]", 2, "other keys say nothing"),
        ("[callers.a.limits]\nmemroy = \"1g\"", 2, "did you mean `memory`?"),
        ("[callers.a.limits]\nmemory = \"1k\"", 2, "`limits.memory` must be"),
        ("[callers.a.labels]\nforce = {}", 2, "did you mean `forced`?"),
        ("[default]\nforced = 1", 2, "`default` has no key"),
        ("[callers.a]\n[callers.a]", 2, "duplicate key"),
        ("[callers.a]\nagents = [", 2, ""),
    ] {
        let (at, problem) = fault(text);
        assert_eq!(at, line, "{text}: {problem}");
        assert!(problem.contains(part), "{text}: {problem}");
    }
}

proptest! {
    #[test]
    fn no_text_ends_the_reader(
        text in proptest::collection::vec(
            proptest::sample::select(vec![
                "[callers.a]", "[callers.a.limits]", "[callers.a.labels]", "[default]", "\n", " = ",
                "agents", "memory", "forced", "workers", "operator", "workspace", "egress", "\"", "*",
                "[", "]", "{", "}", "1", "-", "0x", "1e999", "true", ",", "ä", "'''", "#", "..", "/",
            ]),
            0..24,
        ),
    ) {
        let _ = parse(&text.concat());
    }
}
