//! Which templates there are, what is refused, and how mistakes are told.

use super::*;
use crate::engine::Confinement;
use crate::image::load::{AgentOverride, CatalogueError, Offer};
use crate::image::source::{Sources, embedded};
use std::path::Path;
use worker_protocol::ErrorKind;

const MODULE: &str = "+++\nsummary = \"s\"\nversion = \"1\"\nsize = \"small\"\nposition = 10\n\
                      needs = []\n+++\nRUN {{version}}\n";

const COMPANION: &str = "[companion]\ncommand = [\"/start\"]\nshared = \"/run/shared\"\n\
                         ready = \"ready\"\nstate = \"/var/lib/state\"\n";

fn build(sources: &Sources) -> Result<Catalogue, CatalogueError> {
    Catalogue::from_sources(sources, &Offer::default())
}

fn with(file: &str, text: &str) -> Result<Catalogue, CatalogueError> {
    let mut sources = embedded();
    sources.insert(file.to_owned(), text.into());
    build(&sources)
}

/// A module with these lines in its front matter.
fn module(position: u32, more: &str) -> Vec<u8> {
    MODULE
        .replace("position = 10\nneeds = []\n", &format!("position = {position}\n{more}"))
        .into_bytes()
}

fn modules(names: &[&str]) -> BTreeSet<ModuleName> {
    names.iter().map(|name| ModuleName::parse(name).unwrap()).collect()
}

/// The whole chain, as it is printed.
fn said(result: Result<Catalogue, CatalogueError>) -> String {
    let error = result.unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn a_module_that_is_not_known_is_refused_with_the_nearest_and_all() {
    let catalogue = Catalogue::load(None, &Offer::default()).unwrap();
    let custom = catalogue.agent(AgentType::Custom).unwrap();
    let problem = catalogue.check_modules(custom, &modules(&["GITT"])).unwrap_err();
    assert_eq!(problem.kind, ErrorKind::Malformed);
    for part in ["`modules` holds GITT", "did you mean `GIT`", "CURL, "] {
        assert!(problem.message.contains(part), "{problem}");
    }
}

#[test]
fn an_agent_without_a_template_is_refused_with_those_that_have_one() {
    let mut sources = embedded();
    sources.remove("agents/claude.hbs").unwrap();
    let problem = build(&sources).unwrap().agent(AgentType::Claude).unwrap_err().clone();
    assert_eq!(problem.kind, ErrorKind::Refused);
    assert!(problem.message.contains("CUSTOM"), "{problem}");
}

#[test]
fn a_template_with_a_mistake_is_named_with_the_mistake() {
    let bad = "modules/bad.hbs";
    let head = |from: &str, to: &str| MODULE.replace(from, to);
    let companion = |from: &str, to: &str| head("needs = []\n", &COMPANION.replace(from, to));
    let cases = [
        (bad, head("{{version}}", "{{verion}}"), "bad.hbs does not render: line 8, column "),
        (bad, head("{{version}}", "{{#if}}"), "bad.hbs does not render: line 8, column "),
        (bad, head("RUN {{version}}", "\n{{apt}}"), "line 9, column 1: `apt` takes the names"),
        (bad, head("needs", "neds"), "bad.hbs: line 6: unknown field `neds`"),
        (bad, head("[]", "[\"GTI\"]"), "which is no module, did you mean `GIT`; the modules"),
        (bad, head("[]", "[\"bad\"]"), "bad.hbs needs bad, which must"),
        (bad, head("needs = []", "stages = [\"nod\"]"), "bad.hbs needs nod, which is no stage"),
        (bad, head("needs = []", "files = [\"x\"]"), "bad.hbs needs x, which is no file"),
        (bad, companion("[\"/start\"]", "[]"), "bad.hbs does not render: companion: `command`"),
        (bad, companion("/run/shared", "shared"), "must be absolute paths"),
        (bad, companion("/var/lib/state", "/run/shared"), "must be two folders"),
        (bad, companion("\"ready\"", "\"a/b\""), "`ready` must be"),
        ("frame.hbs", "\nFROM {{base_imag}}".into(), "frame.hbs does not render: line 2, column "),
        ("frame.hbs", "\nFROM {{base_image".into(), "frame.hbs does not render: line 2, column "),
        ("frame.hbs", "FROM {{base_image}}".into(), "is not in its result; it must use all of"),
        ("own-base.hbs", "FROM {{base_imag}}".into(), "own-base.hbs does not render"),
        ("agents/robot.hbs", MODULE.into(), "robot.hbs: a template is frame.hbs, own-base.hbs, "),
        ("stages/Base.hbs", MODULE.into(), "Base.hbs: a template is"),
        ("stages/base.hbs", MODULE.into(), "neither `base` nor `agent`"),
        ("modules/a-b.hbs", MODULE.into(), "a-b.hbs: a template is"),
        ("module/git.hbs", MODULE.into(), "module/git.hbs: a template is"),
        ("other.hbs", MODULE.into(), "other.hbs: a template is"),
    ];
    for (file, text, expected) in cases {
        let message = said(with(file, &text));
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let mut sources = embedded();
    sources.insert(bad.to_owned(), vec![0xff]);
    assert!(said(build(&sources)).contains("bad.hbs is not UTF-8"));
}

#[test]
fn the_operators_templates_come_beside_and_in_place_of_the_embedded_ones() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["modules", "files"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("README.md"), "no template").unwrap();
    std::fs::write(folder.path().join("files/tool"), [0xff, 0]).unwrap();
    for name in ["git", "mine"] {
        std::fs::write(folder.path().join(format!("modules/{name}.hbs")), MODULE).unwrap();
    }
    let catalogue = Catalogue::load(Some(folder.path()), &Offer::default()).unwrap();
    for name in ["GIT", "MINE"] {
        let text = &catalogue.module(name).unwrap().text;
        assert_eq!(text.with(crate::engine::CacheMounts::No), "RUN 1");
    }
    assert!(catalogue.module("CURL").is_some());
    assert!(catalogue.files.contains_key("tool"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let message = said(Catalogue::load(Some(Path::new("/no/such/folder")), &Offer::default()));
    assert!(message.contains("/no/such/folder"), "{message}");
}

#[test]
fn a_change_of_an_agent_that_cannot_be_is_named() {
    let change = |agent, version: &str, digest: &str| {
        let sha512 = [("x64".to_owned(), digest.to_owned())].into();
        let one = AgentOverride { version: version.to_owned(), sha512 };
        let offer = Offer { agents: [(agent, one)].into(), ..Offer::default() };
        let mut sources = embedded();
        sources.remove("agents/claude.hbs");
        said(Catalogue::from_sources(&sources, &offer))
    };
    let digest = "a".repeat(128);
    for (message, expected) in [
        (change(AgentType::Claude, "1", &digest), "agent CLAUDE: it has no image template"),
        (change(AgentType::Custom, "1; evil", &digest), "`version` must be like"),
        (change(AgentType::Custom, "-x", &digest), "`version` must be like"),
        (change(AgentType::Custom, "", &digest), "`version` must be like"),
        (change(AgentType::Custom, "1", "abc"), "`sha512.x64` must be 128 hexadecimal"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}

/// The built-in templates with three modules more: two bring a companion, one needs the first.
fn with_companions() -> Sources {
    let mut sources = embedded();
    let engine = format!("[env]\nHOST = \"engine\"\nSHARED = \"module\"\n{COMPANION}");
    sources.insert("modules/engine.hbs".into(), module(900, &engine));
    sources.insert("modules/other.hbs".into(), module(901, COMPANION));
    sources.insert("modules/compose.hbs".into(), module(910, "needs = [\"engine\"]\n"));
    let agent = String::from_utf8(sources["agents/custom.hbs"].clone()).unwrap();
    let agent = agent.replacen("\n+++\n", "\n[env]\nSHARED = \"agent\"\n+++\n", 1);
    sources.insert("agents/custom.hbs".into(), agent.into_bytes());
    sources
}

#[test]
fn a_module_with_a_companion_needs_the_operators_leave() {
    let catalogue = build(&with_companions()).unwrap();
    let custom = catalogue.agent(AgentType::Custom).unwrap();
    for (wanted, which) in [
        (["ENGINE"], "module ENGINE is off"),
        (["COMPOSE"], "what was asked for needs the module ENGINE, which is off"),
    ] {
        let problem = catalogue.check_modules(custom, &modules(&wanted)).unwrap_err();
        assert_eq!(problem.kind, ErrorKind::Refused);
        for part in [
            which,
            "commands the machine it runs on",
            "docker = \"privileged\"",
            "docker = \"sysbox\"",
            "worker-manager.toml",
            "WORKER_DOCKER",
            "docs/security.md",
        ] {
            assert!(problem.message.contains(part), "{part}: {problem}");
        }
    }
    assert!(catalogue.check_modules(custom, &modules(&["GIT"])).is_ok());
}

#[test]
fn a_companion_that_is_allowed_comes_with_its_module_but_there_is_one() {
    let companions = Companions::Allowed(Confinement::Privileged);
    let offer = Offer { companions: companions.clone(), ..Offer::default() };
    let catalogue = Catalogue::from_sources(&with_companions(), &offer).unwrap();
    assert_eq!(catalogue.companions(), &companions);
    let custom = catalogue.agent(AgentType::Custom).unwrap();
    let wanted = modules(&["COMPOSE"]);
    catalogue.check_modules(custom, &wanted).unwrap();
    let plan = catalogue.companion(custom, &wanted).unwrap();
    let plan = plan.plan(Confinement::Privileged, BTreeMap::new());
    assert_eq!((plan.shared.as_str(), plan.ready.as_str()), ("/run/shared", "ready"));
    assert_eq!((plan.state.as_str(), plan.command), ("/var/lib/state", vec!["/start".to_owned()]));
    assert_eq!(catalogue.companion(custom, &modules(&["GIT"])), None);

    let both = modules(&["OTHER", "COMPOSE"]);
    let problem = catalogue.check_modules(custom, &both).unwrap_err();
    assert_eq!(problem.kind, ErrorKind::Refused);
    assert!(problem.message.contains("ENGINE and OTHER cannot be combined"), "{problem}");
}

#[test]
fn modules_add_to_the_environment_and_the_agent_has_the_last_word() {
    let catalogue = build(&with_companions()).unwrap();
    let custom = catalogue.agent(AgentType::Custom).unwrap();
    let with = catalogue.environment(custom, &modules(&["COMPOSE"]));
    assert_eq!((with["HOST"].as_str(), with["SHARED"].as_str()), ("engine", "agent"));
    let without = catalogue.environment(custom, &modules(&["GIT"]));
    assert_eq!((without.get("HOST"), without["SHARED"].as_str()), (None, "agent"));
}

/// An image is what its hash says: by a variable, or by a file of the vendor's own format.
#[test]
fn no_vendors_agent_updates_itself() {
    let sources = embedded();
    let catalogue = build(&sources).unwrap();
    let says = |agent: AgentType, text: &str| {
        let head = &catalogue.agent(agent).unwrap().head;
        let mut variables = head.env.iter().map(|(name, value)| format!("{name}={value}"));
        let mut files = head
            .files
            .iter()
            .map(|name| String::from_utf8_lossy(&sources[&format!("files/{name}")]).into_owned());
        variables.any(|variable| variable == text) || files.any(|file| file.contains(text))
    };
    assert!(says(AgentType::Claude, "DISABLE_AUTOUPDATER=1"));
    assert!(says(AgentType::Factory, "FACTORY_DROID_AUTO_UPDATE_ENABLED=false"));
    assert!(says(AgentType::Codex, "check_for_update_on_startup = false"));
    assert!(says(AgentType::Gemini, "\"enableAutoUpdate\": false"));
    assert!(says(AgentType::Opencode, "OPENCODE_DISABLE_AUTOUPDATE=true"));
}
