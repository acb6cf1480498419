//! What a spec comes to: text, hash and context.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::engine::Confinement;
use crate::image::load::{AgentOverride, Companions, Offer};
use crate::image::source::Sources;

const FRAME_TEXT: &str = "FROM {{base_image}} AS base\n{{#if ca_bundle}}COPY ca-bundle.pem /\n{{/if}}\
    {{#each stages}}FROM base AS {{name}}\n{{body}}\n{{/each}}\
    FROM {{agent.builder}} AS agent\n{{agent.body}}\nFROM base\n\
    {{#each foundation}}{{body}}\n{{/each}}COPY --from=agent /agent/ /\n\
    {{#each modules}}{{body}}\n{{/each}}COPY worker-wrapper /\n";

const OWN_BASE_TEXT: &str = "FROM {{base_image}}\n{{#if ca_bundle}}COPY ca-bundle.pem /\n{{/if}}\
    COPY worker-wrapper /\n";

fn module(position: u32, more: &str, body: &str) -> Vec<u8> {
    format!(
        "+++\nsummary = \"s\"\nversion = \"1\"\nsize = \"small\"\nposition = {position}\n\
         {more}\n+++\n{body}\n"
    )
    .into_bytes()
}

fn agent(more: &str, body: &str) -> Vec<u8> {
    format!(
        "+++\nsummary = \"s\"\nversion = \"7\"\nprotocol = \"lines\"\ncommand = []\n\
         instructions = \"/i\"\n{more}\n+++\n{body}\n"
    )
    .into_bytes()
}

fn sources() -> Sources {
    Sources::from([
        ("frame.hbs".into(), FRAME_TEXT.into()),
        ("own-base.hbs".into(), OWN_BASE_TEXT.into()),
        ("agents/custom.hbs".into(), agent("", "RUN install-{{version}}")),
        (
            "agents/claude.hbs".into(),
            agent(
                "needs = [\"late\"]\nbuilder = \"tools\"\n[sha512]\nx64 = \"ab\"",
                "{{#run cache=\"npm\"}}fetch {{version}} {{digests}}{{/run}}",
            ),
        ),
        ("modules/early.hbs".into(), module(10, "", "RUN early && \"$HOME\" <x>")),
        ("modules/late.hbs".into(), module(20, "needs = [\"early\"]", "RUN late")),
        (
            "modules/also.hbs".into(),
            module(20, "files = [\"start\"]\nstages = [\"tools\"]", "COPY files/start /"),
        ),
        (
            "modules/first.hbs".into(),
            module(
                5,
                "[companion]\ncommand = [\"c\"]\nshared = \"/s\"\nready = \"r\"\nstate = \"/t\"",
                "RUN first",
            ),
        ),
        (
            "stages/tools.hbs".into(),
            "+++\nsummary = \"s\"\nversion = \"1\"\n+++\nRUN tools\n".into(),
        ),
        ("files/start".into(), b"#!/bin/sh\n".to_vec()),
        ("files/unused".into(), b"x".to_vec()),
    ])
}

fn offer(companions: Companions) -> Offer {
    Offer { companions, ..Offer::default() }
}

fn catalogue(sources: &Sources) -> Catalogue {
    Catalogue::from_sources(sources, &offer(Companions::Allowed(Confinement::Privileged))).unwrap()
}

fn modules(names: &[&str]) -> BTreeSet<ModuleName> {
    names.iter().map(|name| ModuleName::parse(name).unwrap()).collect()
}

fn spec() -> ImageSpec {
    ImageSpec {
        agent: AgentType::Custom,
        modules: modules(&["LATE", "ALSO"]),
        base_image: "debian:bookworm-slim".into(),
        base_owner: BaseOwner::Operator,
        base_identity: "sha256:1".into(),
        architecture: "amd64".into(),
        ca_bundle: None,
        wrapper: ContextFile::new(b"wrapper".to_vec()),
    }
}

fn render(spec: &ImageSpec) -> Rendered {
    spec.render(&catalogue(&sources())).unwrap()
}

fn classic(spec: &ImageSpec) -> String {
    render(spec).dockerfile(CacheMounts::No).to_owned()
}

#[test]
fn what_an_agent_needs_comes_before_it_and_the_other_modules_after_it_each_in_order() {
    assert_eq!(
        classic(&spec()),
        "FROM debian:bookworm-slim AS base\nFROM base AS tools\nRUN tools\n\
         FROM base AS agent\nRUN install-7\nFROM base\nCOPY --from=agent /agent/ /\n\
         RUN early && \"$HOME\" <x>\nCOPY files/start /\nRUN late\nCOPY worker-wrapper /\n"
    );
    let claude =
        ImageSpec { agent: AgentType::Claude, modules: modules(&["FIRST", "EARLY"]), ..spec() };
    assert_eq!(
        classic(&claude),
        "FROM debian:bookworm-slim AS base\nFROM base AS tools\nRUN tools\n\
         FROM tools AS agent\nRUN fetch 7 x64=ab \\\n && find /var/cache/worker -mindepth 1 -delete\n\
         FROM base\nRUN early && \"$HOME\" <x>\nRUN late\nCOPY --from=agent /agent/ /\n\
         RUN first\nCOPY worker-wrapper /\n"
    );
}

/// Computed by another program from the texts above: SHA-256 over each field with its length, as
/// eight bytes, before it.
#[test]
fn known_wishes_have_known_hashes() {
    let claude = ImageSpec { agent: AgentType::Claude, modules: modules(&[]), ..spec() };
    let own = ImageSpec { base_owner: BaseOwner::Caller, modules: modules(&[]), ..spec() };
    let bundle = ImageSpec { ca_bundle: Some(ContextFile::new(b"ca".to_vec())), ..spec() };
    for (spec, golden) in [
        (spec(), "56ce4532de298495ebb0c108bbf17e193a5335dd73465430116a4826babc0ae1"),
        (claude, "9806d1179a4988da72563b9589a23f0cb5cb78f15c8dfc717695de71993ee87e"),
        (own, "f179a6bd1c69b86be730de9d1ec70e785546db45261ecc6f856a8e153218ac09"),
        (bundle, "3d9b3fe20a01f4ca670e43fa5f4a88d2288ee4c914a09662e74efce105c6445b"),
    ] {
        assert_eq!(render(&spec).hash.to_string(), golden, "{spec:?}");
        assert_eq!(render(&spec).hash.tag("worker"), format!("worker:{golden}"));
    }
}

#[test]
fn order_and_duplicates_and_needs_that_are_named_do_not_matter() {
    let hash = render(&spec()).hash;
    for names in [vec!["ALSO", "LATE"], vec!["late", "also", "LATE"], vec!["EARLY", "LATE", "ALSO"]]
    {
        assert_eq!(render(&ImageSpec { modules: modules(&names), ..spec() }).hash, hash);
    }
    let claude = ImageSpec { agent: AgentType::Claude, modules: modules(&[]), ..spec() };
    let named = ImageSpec { modules: modules(&["EARLY", "LATE"]), ..claude.clone() };
    assert_eq!(render(&named).hash, render(&claude).hash, "the agent's needs are in it anyway");
}

const NAMES: [&str; 6] = ["ALSO", "also", "EARLY", "LATE", "late", "FIRST"];

proptest! {
    /// Of modules, what counts is the set of those that come along: no order, no number, no case.
    #[test]
    fn two_lists_of_modules_have_one_hash_if_and_only_if_they_bring_the_same(
        one in proptest::collection::vec(select(NAMES.to_vec()), 0..6),
        other in proptest::collection::vec(select(NAMES.to_vec()), 0..6),
    ) {
        let brought = |names: &[&str]| {
            let mut all = modules(names);
            if all.iter().any(|name| name.as_str() == "LATE") {
                all.extend(modules(&["EARLY"]));
            }
            all
        };
        let hash = |names: &[&str]| render(&ImageSpec { modules: modules(names), ..spec() }).hash;
        prop_assert_eq!(brought(&one) == brought(&other), hash(&one) == hash(&other));
    }
}

#[test]
fn how_a_companion_is_confined_and_which_builder_builds_do_not_matter() {
    let spec = ImageSpec { modules: modules(&["FIRST"]), ..spec() };
    let runtime = Companions::Allowed(Confinement::Runtime("sysbox-runc".into()));
    let other = Catalogue::from_sources(&sources(), &offer(runtime)).unwrap();
    let (one, two) = (render(&spec), spec.render(&other).unwrap());
    assert_eq!(one.hash, two.hash);
    assert_eq!(one.context(CacheMounts::No), two.context(CacheMounts::No));
    let claude = ImageSpec { agent: AgentType::Claude, ..spec };
    let text = |mounts| render(&claude).dockerfile(mounts).to_owned();
    assert_ne!(text(CacheMounts::Yes), text(CacheMounts::No), "one hash for two texts");
}

#[test]
fn whatever_changes_the_image_changes_the_hash() {
    let file = |text: &str| ContextFile::new(text.as_bytes().to_vec());
    let own = ImageSpec { base_owner: BaseOwner::Caller, modules: modules(&[]), ..spec() };
    let changed = [
        ImageSpec { modules: modules(&["LATE"]), ..spec() },
        ImageSpec { modules: modules(&[]), ..spec() },
        ImageSpec { agent: AgentType::Claude, ..spec() },
        ImageSpec { base_image: "debian:trixie-slim".into(), ..spec() },
        ImageSpec { base_identity: "sha256:2".into(), ..spec() },
        ImageSpec { architecture: "arm64".into(), ..spec() },
        ImageSpec { ca_bundle: Some(file("ca")), ..spec() },
        ImageSpec { ca_bundle: Some(file("another ca")), ..spec() },
        ImageSpec { wrapper: file("another wrapper"), ..spec() },
        // The same bytes, divided in another way.
        ImageSpec { base_identity: "sha256:1a".into(), architecture: "md64".into(), ..spec() },
        ImageSpec { base_identity: "sha256:2".into(), ..own.clone() },
        ImageSpec { ca_bundle: Some(file("ca")), ..own.clone() },
        own,
    ];
    let mut hashes: BTreeSet<_> = changed.iter().map(|spec| render(spec).hash).collect();
    let texts = [
        "frame.hbs",
        "agents/custom.hbs",
        "modules/late.hbs",
        "modules/early.hbs",
        "stages/tools.hbs",
        "files/start",
    ];
    for file in texts {
        let mut sources = sources();
        sources.get_mut(file).unwrap().extend(b"RUN more\n");
        hashes.insert(spec().render(&catalogue(&sources)).unwrap().hash);
    }
    assert!(!hashes.contains(&render(&spec()).hash));
    assert_eq!(hashes.len(), changed.len() + texts.len());
}

#[test]
fn what_is_not_in_the_image_does_not_change_the_hash() {
    let mut sources = sources();
    for (file, text) in [
        ("files/unused", "y"),
        ("agents/claude.hbs", "RUN more\n"),
        ("modules/first.hbs", "RUN more\n"),
        ("own-base.hbs", "RUN more\n"),
    ] {
        sources.get_mut(file).unwrap().extend(text.as_bytes());
    }
    let bare = ImageSpec { modules: modules(&["LATE"]), ..spec() };
    let before = render(&bare).hash;
    sources.get_mut("stages/tools.hbs").unwrap().extend(b"RUN more\n");
    assert_eq!(bare.render(&catalogue(&sources)).unwrap().hash, before);
}

#[test]
fn another_version_of_an_agent_is_another_image_and_loses_the_digests_of_the_first() {
    let claude = ImageSpec { agent: AgentType::Claude, modules: modules(&[]), ..spec() };
    let with = |version: &str, sha512: &[(&str, String)]| {
        let sha512 =
            sha512.iter().map(|(name, digest)| ((*name).to_owned(), digest.clone())).collect();
        let one = AgentOverride { version: version.to_owned(), sha512 };
        let offer = Offer { agents: [(AgentType::Claude, one)].into(), ..Offer::default() };
        let catalogue = Catalogue::from_sources(&sources(), &offer).unwrap();
        assert_eq!(catalogue.agent(AgentType::Claude).unwrap().head.version, version);
        claude.render(&catalogue).unwrap()
    };
    let digest = "0".repeat(128);
    let (bare, full) = (with("8.0.1", &[]), with("8.0.1", &[("arm64", digest.clone())]));
    let text = |rendered: &Rendered| rendered.dockerfile(CacheMounts::No).to_owned();
    assert!(text(&bare).contains("RUN fetch 8.0.1 \\\n"), "{}", text(&bare));
    assert!(text(&full).contains(&format!("RUN fetch 8.0.1 arm64={digest} \\\n")));
    let hashes = BTreeSet::from([render(&claude).hash, bare.hash, full.hash]);
    assert_eq!(hashes.len(), 3);
}

fn entries(context: &[u8]) -> Vec<(String, u32, u64)> {
    let mut archive = tar::Archive::new(context);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = header.path().unwrap().display().to_string();
        (path, header.mode().unwrap(), header.mtime().unwrap())
    });
    entries.collect()
}

#[test]
fn the_context_holds_what_the_dockerfile_copies_and_is_the_same_each_time() {
    let spec = ImageSpec { ca_bundle: Some(ContextFile::new(b"ca".to_vec())), ..spec() };
    let context = render(&spec).context(CacheMounts::No);
    assert_eq!(context, render(&spec).context(CacheMounts::No));
    let expected = [
        ("Dockerfile", 0o644, 0),
        ("ca-bundle.pem", 0o644, 0),
        ("files/start", 0o755, 0),
        ("users/workspace", 0o755, 0),
        ("roots/tmp", 0o1777, 0),
        ("worker-wrapper", 0o755, 0),
    ];
    assert_eq!(entries(&context), expected.map(|(path, mode, time)| (path.to_owned(), mode, time)));
}

#[test]
fn to_a_callers_image_nothing_is_added_but_the_wrapper_unless_modules_are_wanted() {
    let own = ImageSpec {
        base_image: "example.org/own:1".into(),
        base_owner: BaseOwner::Caller,
        modules: modules(&[]),
        ..spec()
    };
    assert_eq!(classic(&own), "FROM example.org/own:1\nCOPY worker-wrapper /\n");
    let with_modules = ImageSpec { modules: modules(&["EARLY"]), ..own };
    assert!(classic(&with_modules).contains("RUN install-7"), "{}", classic(&with_modules));
}

#[test]
fn a_base_image_cannot_bring_lines_of_its_own() {
    for name in ["", "debian\nRUN evil", "debian evil", "debian\"$(evil)"] {
        let spec = ImageSpec { base_image: name.into(), ..spec() };
        let problem = spec.render(&catalogue(&sources())).unwrap_err();
        assert!(problem.message.starts_with("`base_image` must be"), "{problem}");
    }
}

#[test]
fn every_agent_renders_with_every_module_and_nothing_is_left_to_fill_in() {
    let offer = offer(Companions::Allowed(Confinement::Privileged));
    let catalogue = Catalogue::load(None, &offer).unwrap();
    let modules: BTreeSet<_> = catalogue.modules().map(|module| module.name.clone()).collect();
    for template in catalogue.agents() {
        let ca_bundle = Some(ContextFile::new(b"ca".to_vec()));
        let spec =
            ImageSpec { agent: template.agent, modules: modules.clone(), ca_bundle, ..spec() };
        let rendered = spec.render(&catalogue).unwrap();
        for mounts in [CacheMounts::No, CacheMounts::Yes] {
            let text = rendered.dockerfile(mounts);
            assert!(!text.contains("{{") && !text.contains("# syntax"), "{text}");
            assert_eq!(text.contains("--mount="), mounts == CacheMounts::Yes, "{text}");
            for name in &modules {
                assert!(text.contains(&format!("# module {name}")), "{name} in {text}");
            }
        }
    }
}
