//! Images that were built: listed, compared, collected, each with its reason, and never missed.

use std::collections::BTreeSet;
use std::time::Duration;

use worker_tests::harness::{
    Environment, Finished, Installation, Options, Reply, Templates, docker,
};

/// Rules under which every image goes that nothing uses.
const EAGER: &str = "[gc]\nunused = \"1ms\"\nmin_age = \"1ms\"\nmin_free = 0\n";
/// A command that removes images takes its time on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn create(it: &Installation, modules: &str) -> Reply {
    it.command(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", modules),
        ("wait", "running"),
    ])
}

fn delete(it: &Installation, created: &Reply) {
    let id = created.get("worker_id");
    let reply = it.command(&[("command", "delete"), ("worker_id", &id), ("force", "true")]);
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
}

/// Runs `worker-manager` with these arguments to its end.
fn command_line(it: &Installation, arguments: &[&str]) -> Finished {
    it.program(arguments[0], arguments).finish(LIMIT)
}

/// The line of a table that speaks of this image.
fn line<'a>(finished: &'a Finished, holds: &str) -> &'a str {
    let mut lines = finished.stdout.lines();
    let fits = |line: &&str| line.split_whitespace().any(|word| word == holds);
    lines.find(fits).unwrap_or_else(|| panic!("no line about {holds}: {finished:?}"))
}

/// With layers that no image of another test has: only then does a removal free them.
fn quick_with_modules() -> Templates {
    let own = uuid::Uuid::new_v4();
    let module = |file| format!("echo {own} >{file}");
    Templates::quick().module("ONE", &module("/one")).module("TWO", &module("/two"))
}

#[test]
fn an_image_goes_when_nothing_uses_it_and_every_other_stays_with_a_reason() {
    let templates = quick_with_modules();
    let it = Installation::start_with(Options::default().templates(&templates).file(EAGER));
    let stays = create(&it, "ONE");
    let goes = create(&it, "TWO");
    assert!(stays.is_ok() && goes.is_ok(), "{stays:?} {goes:?}{}", it.explain());
    delete(&it, &goes);
    // Of the same name, and not built by this installation.
    let foreign = format!("{}:{}", it.namespace, "0".repeat(64));
    docker(&["tag", &it.environment.base_image, &foreign]);

    let dry = command_line(&it, &["gc", "--dry-run"]);
    assert!(dry.status.success(), "{dry:?}");
    assert!(line(&dry, "CUSTOM+ONE").ends_with("kept              a worker uses it"), "{dry:?}");
    let would = line(&dry, "CUSTOM+TWO");
    assert!(would.contains("would be removed") && would.contains("unused for"), "{dry:?}");
    assert!(dry.stdout.contains("1 image would be removed, 1 kept"), "{dry:?}");
    assert_eq!(it.images().len(), 3);

    let wet = command_line(&it, &["gc"]);
    assert!(wet.status.success(), "{wet:?}");
    assert!(line(&wet, "CUSTOM+TWO").contains(" removed "), "{wet:?}");
    assert!(wet.stdout.contains("1 image removed, 1 kept"), "{wet:?}");
    assert_eq!(it.images().len(), 2);
    assert!(it.images().contains(&foreign));
    let events = it.events();
    let removal = events.iter().find(|e| e.kind() == "removal" && e.get("holds") == "CUSTOM+TWO");
    assert!(removal.is_some_and(|event| event.get("reason").contains("unused for")), "{events:?}");
    let gc = events.iter().rfind(|event| event.kind() == "gc").expect("an event");
    assert_eq!((gc.get("cause"), gc.get("removed")), ("command", "1"), "{gc:?}");
    assert!(gc.get("freed_bytes").parse::<u64>().is_ok_and(|bytes| bytes > 0), "{gc:?}");

    let listed = command_line(&it, &["images", "list"]);
    assert!(line(&listed, "CUSTOM+ONE").ends_with("yes"), "{listed:?}");
    assert!(!listed.stdout.contains("CUSTOM+TWO"), "{listed:?}");
    assert!(create(&it, "TWO").is_ok(), "it is built again");
}

#[test]
fn the_last_image_frees_nothing_of_what_it_is_built_on() {
    let templates = quick_with_modules();
    let it = Installation::start_with(Options::default().templates(&templates).file(EAGER));
    delete(&it, &create(&it, "ONE"));
    let reply = it.command(&[("command", "gc")]);
    let images: serde_json::Value = serde_json::from_str(&reply.get("images")).expect("images");
    let number = |name: &str| images[0][name].as_u64().expect("a number");
    let base = ["image", "inspect", "--format", "{{.Size}}", &it.environment.base_image];
    let base: u64 = docker(&base).parse().expect("a size");
    assert_eq!(images[0]["outcome"], "removed", "{images}");
    assert!(number("frees") > 0 && number("frees") <= number("size") - base, "{base}: {images}");
    let free = ["disk_free_bytes", "disk_free_after_bytes"].map(|name| reply.get(name).parse());
    assert!(matches!(free, [Ok(1_u64..), Ok(1_u64..)]), "{reply:?}");
}

/// A name of its own for the base image, which goes with the test.
struct Base(String);

impl Base {
    fn of(it: &str) -> Self {
        let name = format!("base-{}:1", uuid::Uuid::new_v4().simple());
        docker(&["tag", it, &name]);
        Self(name)
    }

    /// As a newer one that was pulled: the same name, and another content.
    fn renew(&self) {
        let container = docker(&["create", &self.0, "touch", "/newer"]);
        docker(&["start", "--attach", &container]);
        docker(&["commit", &container, &self.0]);
        docker(&["rm", &container]);
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        docker(&["rmi", "--no-prune", &self.0]);
    }
}

#[test]
fn what_is_listed_is_built_at_the_start_and_again_after_each_change() {
    let base = Base::of(&Environment::read().base_image);
    let mut templates = quick_with_modules();
    let options = Options::default().templates(&templates).file(EAGER);
    let options = options.set("WORKER_BASE_IMAGE", &base.0).set("WORKER_PREBUILD", "CUSTOM+ONE");
    let it = Installation::start_with(options);
    let listed = |number| {
        it.soon("the images of the list", || {
            let images: BTreeSet<_> = it.images().into_iter().collect();
            (images.len() == number).then_some(images)
        })
    };
    let first = listed(1);
    it.manager().stop();
    base.renew();
    it.start_manager();
    let second = listed(2);
    it.manager().stop();
    templates = templates.module("ONE", "echo another >/one");
    it.start_manager();
    let third = listed(3);
    drop(templates);

    let newest: Vec<_> = third.difference(&second).cloned().collect();
    let gc = command_line(&it, &["gc"]);
    assert!(gc.stdout.contains("2 images removed, 1 kept"), "{gc:?}");
    assert!(gc.stdout.contains("it is in the list of prebuilt images"), "{gc:?}");
    assert_eq!(it.images(), newest);
    assert!(first.is_subset(&second) && second.is_subset(&third));
}

#[test]
fn no_create_fails_because_images_are_collected() {
    const LINES: usize = 3;
    const EACH: usize = 25;
    let templates = MODULES.iter().fold(Templates::quick(), |templates, name| {
        templates.module(name, &format!("echo {name} >/{name}"))
    });
    let it = Installation::start_with(Options::default().templates(&templates).file(EAGER));
    // A request of each line is always under way, and a collection beside them.
    let mut lines: Vec<_> = (0..LINES).map(|number| (number, 0, begin(&it, number, 0))).collect();
    let mut removed = 0;
    while !lines.is_empty() {
        let gc = it.command(&[("command", "gc")]);
        assert!(gc.is_ok(), "{gc:?}{}", it.explain());
        removed += gc.get("removed").parse::<usize>().expect("a number");
        lines.retain_mut(|(number, round, request)| {
            let Some(reply) = it.replies(request).pop() else { return true };
            assert_eq!(reply.get("status"), "RUNNING", "{reply:?}{}", it.explain());
            delete(&it, &reply);
            *round += 1;
            *request = begin(&it, *number, *round);
            *round < EACH
        });
    }
    assert!(removed > 10, "only {removed} images were removed beside {} creates", LINES * EACH);
}

/// More than there are lines, so that there is always an image which nobody wants.
const MODULES: [&str; 6] = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX"];

/// Asks for a worker with one of the images, and does not wait.
fn begin(it: &Installation, line: usize, round: usize) -> String {
    it.send(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", MODULES[(line + round) % MODULES.len()]),
        ("wait", "running"),
    ])
}

#[test]
fn what_is_configured_wrongly_stops_the_start_and_is_named() {
    for (text, part) in [
        ("prebuild = [\"CLAUD+GIT\"]", "did you mean `CLAUDE`?"),
        ("prebuild = [\"CUSTOM+GITT\"]", "did you mean `GIT`"),
        ("[gc]\nschedule = \"daily\"", "gc.schedule"),
        ("[gc]\nschedul = \"@daily\"", "schedul"),
    ] {
        let it = Installation::start_with(Options::default().file(text).without_manager());
        let finished = command_line(&it, &["serve"]);
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        assert!(finished.stderr.contains(part), "{part:?} is missing: {finished:?}");
    }
}

#[test]
fn without_a_manager_nothing_is_collected_and_that_is_said_at_once() {
    let it = Installation::start_with(Options::default().without_manager());
    let finished = command_line(&it, &["gc", "--dry-run"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:?}");
    assert!(finished.stderr.contains("no manager answered"), "{finished:?}");
}

#[test]
fn what_a_create_can_name_is_listed() {
    let templates = Templates::empty().module("ODD", "true");
    let it = Installation::start_with(Options::default().templates(&templates).without_manager());
    let listed = command_line(&it, &["modules"]);
    assert!(listed.status.success(), "{listed:?}");
    assert!(line(&listed, "ODD").ends_with("ODD for a test"), "{listed:?}");
    for name in ["GIT", "CURL", "CLAUDE", "CUSTOM"] {
        assert!(line(&listed, name).starts_with(name), "{listed:?}");
    }
}

#[test]
fn ten_variants_of_one_agent_share_over_95_percent_and_one_more_adds_its_own_layers_only() {
    const VARIANTS: [&str; 10] = [
        "CLAUDE",
        "CLAUDE+CURL",
        "CLAUDE+GIT",
        "CLAUDE+CURL+GIT",
        "CLAUDE+PYTHON",
        "CLAUDE+GIT+PYTHON",
        "CLAUDE+CURL+GIT+PYTHON",
        "CLAUDE+GITHUB_CLI",
        "CLAUDE+CURL+GITHUB_CLI",
        "CLAUDE+GITHUB_CLI+PYTHON",
    ];
    let templates = Templates::empty().module("ONE", "echo one >/one");
    let wanted = [&VARIANTS[..], &["CLAUDE+GIT+ONE"]].concat();
    let it = Installation::start_with(
        Options::default().templates(&templates).set("WORKER_PREBUILD", &wanted.join(" ")),
    );
    // What a first build of each takes on a fresh machine.
    let all = wanted.len();
    it.until("all images", Duration::from_secs(900), || (it.images().len() == all).then_some(()));
    let layers = command_line(&it, &[&["images", "layers"], &VARIANTS[..]].concat());
    assert!(layers.status.success(), "{layers:?}");
    let last = layers.stdout.lines().last().expect("a sum");
    let shared = last.split("; ").nth(1).and_then(|words| words.split(' ').next());
    let shared: f64 = shared.and_then(|number| number.parse().ok()).expect("a number");
    assert!(last.starts_with("10 images: ") && shared > 95.0, "{}", layers.stdout);

    let missing = command_line(&it, &["images", "layers", "CLAUDE", "CLAUDE+NODE"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("not built, and not in the sum: CLAUDE+NODE"), "{missing:?}");
    // A file of its own is all that the module adds, and the wrapper is copied on top of it.
    let wrapper = std::fs::metadata(&it.environment.wrapper).expect("the wrapper").len();
    let own = command_line(&it, &["images", "layers", "CLAUDE+GIT", "CLAUDE+GIT+ONE"]);
    let own = line(&own, "CLAUDE+GIT+ONE").split("  ").filter(|cell| !cell.trim().is_empty());
    let own: Vec<_> = own.map(str::trim).collect();
    assert!(megabytes(own[2]) < wrapper as f64 / 1e6 + 0.1, "{own:?}");
}

/// Names, rights, owners and sizes of all files, in order.
fn files(image: &str) -> String {
    let container = docker(&["create", image]);
    let export = format!("docker export {container} | tar --list --verbose --numeric-owner");
    // Without the time. What an engine puts into every container at its start differs by nothing.
    let listed = format!("{export} | awk '{{ $4 = $5 = \"\"; print }}' | sort");
    let output = std::process::Command::new("sh").args(["-c", &listed]).output();
    docker(&["rm", &container]);
    String::from_utf8_lossy(&output.expect("a list of files").stdout).into_owned()
}

#[test]
fn both_builders_make_the_same_image_under_the_same_name() {
    let mut made = Vec::new();
    for builder in ["classic", "buildkit"] {
        let it = Installation::start_with(Options::default().set("WORKER_BUILDER", builder));
        let worker = it.worker(&[
            ("agent_type", "CUSTOM"),
            ("agent_command", r#"["cat"]"#),
            ("modules", "CURL"),
        ]);
        let image = worker.record()["image"].clone();
        let (_, hash) = image.rsplit_once(':').expect("a hash");
        made.push((hash.to_owned(), files(&image)));
    }
    assert_eq!(made[0].0, made[1].0);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (classic, buildkit) = (lines(&made[0].1), lines(&made[1].1));
    assert!(classic.len() > 3000, "{} files are not a system", classic.len());
    let differing = classic.iter().zip(&buildkit).find(|(one, other)| one != other);
    assert_eq!((differing, classic.len()), (None, buildkit.len()));
}

/// A size of a table in MB.
fn megabytes(cell: &str) -> f64 {
    let (number, unit) = cell.split_once(' ').expect("a number and a unit");
    let number: f64 = number.parse().expect("a number");
    match unit {
        "B" => number / 1e6,
        "kB" => number / 1e3,
        "MB" => number,
        _ => number * 1e3,
    }
}
