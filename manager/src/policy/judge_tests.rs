use super::*;
use crate::policy::Usual;
use crate::policy::parse::tests::EXAMPLE;
use proptest::prelude::*;
use worker_protocol::{Keys, parse_command};

fn name(text: &str) -> CallerName {
    CallerName::parse(text).unwrap()
}

fn command(fields: &[(&str, &str)]) -> Command {
    let fields: Vec<_> =
        fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
    parse_command("1-1", &fields, &Keys::new("worker").unwrap()).1.unwrap()
}

const ID: &str = "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90";
const CREATE: [(&str, &str); 3] =
    [("command", "create"), ("agent_type", "CLAUDE"), ("labels", r#"{"ticket": "7"}"#)];

fn with(more: &[(&'static str, &'static str)]) -> Command {
    let mut fields: Vec<_> =
        CREATE.iter().filter(|(n, _)| !more.iter().any(|(m, _)| m == n)).copied().collect();
    fields.extend(more);
    command(&fields)
}

fn rule(caller: Option<&str>, command: &Command) -> Option<String> {
    let policy = Policy::parse(EXAMPLE).unwrap();
    let refusal = policy.judge(caller.map(name).as_ref(), command).err()?;
    let rule = refusal.rule.unwrap();
    assert!(refusal.problem.message.contains(&rule), "{}", refusal.problem.message);
    Some(rule)
}

#[test]
fn what_is_allowed_passes() {
    for more in [
        &[][..],
        &[("modules", "git,node")],
        &[("egress", "github.com,registry.npmjs.org")],
        &[("egress", "off")],
        &[("credentials", "team-a-claude")],
        &[("limits", r#"{"memory": "4g", "cpus": 2}"#)],
        &[("labels", r#"{"ticket": "7", "team": "a", "x-y": ""}"#)],
        &[("workspace", r#"{"path": "/srv/team-a/x"}"#)],
        &[("agent_type", "custom"), ("agent_command", "cat"), ("base_image", "debian:12")],
    ] {
        assert_eq!(rule(Some("team-a"), &with(more)), None, "{more:?}");
    }
}

#[test]
fn each_refusal_names_its_rule() {
    for (more, key) in [
        (&[("modules", "GIT,DOCKER")][..], "modules"),
        (&[("agent_type", "CODEX")], "agents"),
        (
            &[("agent_type", "CUSTOM"), ("agent_command", "x"), ("base_image", "alpine")],
            "base_images",
        ),
        (&[("egress", "evil.com")], "egress"),
        (&[("egress", "github.com:22")], "egress"),
        (&[("egress", "open")], "egress"),
        (&[("credentials", "ANTHROPIC_API_KEY")], "credentials"),
        (&[("limits", r#"{"memory": "5g"}"#)], "limits.memory"),
        (&[("limits", r#"{"max_lifetime": "9h"}"#)], "limits.max_lifetime"),
        (&[("labels", r#"{"ticket": "7", "team": "b"}"#)], "labels.forced"),
        (&[("labels", r#"{"ticket": "7", "other": "b"}"#)], "labels.allowed"),
        (&[("labels", "{}")], "labels.required"),
        (&[("workspace", r#"{"path": "/srv/team-b"}"#)], "workspace"),
        (&[("workspace", r#"{"path": "/srv/team-a/../team-b"}"#)], "workspace"),
        (&[("workspace", r#"{"path": "/srv/team-ab"}"#)], "workspace"),
        (&[("workspace", r#"{"repo": "/srv/team-a"}"#)], "workspace"),
        (&[("workspace", r#"{"path": "/srv/team-a", "volume": "x"}"#)], "workspace"),
    ] {
        let expected = format!("callers.team-a.{key}");
        assert_eq!(rule(Some("team-a"), &with(more)), Some(expected), "{more:?}");
    }
    let gc = command(&[("command", "gc")]);
    assert_eq!(rule(Some("team-a"), &gc), Some("callers.team-a.commands".to_owned()));
    assert_eq!(rule(None, &gc), Some("callers.anonymous.commands".to_owned()));
    assert_eq!(rule(Some("nobody"), &gc), Some("callers.nobody".to_owned()));
    assert_eq!(rule(Some("me"), &gc), None);
}

#[test]
fn a_wish_is_completed_and_never_widened() {
    let usual = Limits { memory: Some(1 << 30), cpus: Some(4.0), ..Limits::default() };
    let usual = Usual { limits: usual, egress: Egress::Open };
    let policy = Policy::parse(EXAMPLE).unwrap().with_usual(usual);
    let Command::Create(mut create) = with(&[]) else { panic!("a create") };
    policy.amend(Some(&name("team-a")), &mut create);
    assert_eq!(create.limits.memory, None, "the usual limit is narrower");
    assert_eq!(create.limits.cpus, Some(2.0), "the usual limit is wider");
    assert_eq!(create.limits.max_lifetime, Some(Duration::from_secs(8 * 3600)));
    assert_eq!((create.labels["team"].as_str(), &create.egress), ("a", &Egress::Agent));
    let Command::Create(mut own) = with(&[]) else { panic!("a create") };
    let before = own.clone();
    policy.amend(Some(&name("me")), &mut own);
    assert_eq!(own, before, "an operator's wish is as it was");
}

#[test]
fn a_caller_sees_its_own_workers_and_those_it_is_given() {
    let policy = Policy::parse(EXAMPLE).unwrap();
    let [a, b, me] = ["team-a", "team-b", "me"].map(name);
    for (caller, owner, seen) in [
        (Some(&a), Some(&a), true),
        (Some(&a), Some(&b), true),
        (Some(&b), Some(&b), false), // Nothing is said of it at all.
        (Some(&a), None, false),
        (None, None, true),
        (None, Some(&a), false),
        (Some(&me), Some(&a), true),
        (Some(&me), None, true),
    ] {
        assert_eq!(policy.sees(caller, owner), seen, "{caller:?} {owner:?}");
    }
    assert!(policy.room(Some(&a), 9).is_ok());
    let full = policy.room(Some(&a), 10).unwrap_err();
    assert_eq!(full.rule.as_deref(), Some("callers.team-a.workers"));
    assert_eq!(full.problem.kind, ErrorKind::Exhausted);
}

#[test]
fn a_file_that_says_nothing_denies_everything() {
    let policy = Policy::parse("").unwrap();
    for command in [with(&[]), command(&[("command", "ping")])] {
        assert!(policy.judge(None, &command).is_err());
        assert!(policy.judge(Some(&name("a")), &command).is_err());
    }
    assert!(!policy.sees(None, None) && !policy.gives(None, "KEY"));
}

proptest! {
    /// Whatever of the keys of a section is taken away, no more is allowed than before.
    #[test]
    fn less_said_is_less_allowed(
        kept in proptest::collection::vec(any::<bool>(), 5),
        agent in proptest::sample::select(vec!["CLAUDE", "CODEX"]),
        module in proptest::sample::select(vec!["", "GIT", "DOCKER"]),
        host in proptest::sample::select(vec!["", "a.com", "b.com", "open"]),
    ) {
        let lines = [
            "commands = \"create\"", "agents = \"CLAUDE\"", "modules = \"GIT\"",
            "egress = \"a.com\"", "credentials = \"*\"",
        ];
        let text = |kept: &dyn Fn(usize) -> bool| {
            let some = lines.iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, line)| *line);
            format!("[default]\n{}", some.collect::<Vec<_>>().join("\n"))
        };
        let wish = command(&[
            ("command", "create"), ("agent_type", agent), ("modules", module), ("egress", host),
            ("worker_id", ID),
        ]);
        let all = Policy::parse(&text(&|_| true)).unwrap().judge(None, &wish);
        let some = Policy::parse(&text(&|at| kept[at])).unwrap().judge(None, &wish);
        prop_assert!(all.is_ok() || some.is_err());
        let right = agent == "CLAUDE" && module != "DOCKER" && host != "b.com" && host != "open";
        prop_assert_eq!(all.is_ok(), right);
    }
}
