//! Transcripts: what happens in, what is to be done out. `manager/transcripts/*.txt` hold them, for
//! people to read: `>` is an event, `<` an effect, `#` a remark.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;
use worker_protocol::command::Force;
use worker_protocol::{
    Create, ErrorKind, Keys, LimitName, Problem, Reply, WorkerId, parse_command,
};

use super::*;
use crate::decide::PriorRecord;
use crate::engine::{End, InstanceName, InstanceState};
use crate::image::collect::Stored;
use crate::image::{BaseOwner, ContextFile, ImageSpec, Offer};
use crate::label::Known;
use crate::world::StepKind;

struct Play {
    world: World,
    catalogue: Catalogue,
    now: Timestamp,
    asked_at: Timestamp,
    builds: Vec<BuildId>,
}

#[test]
fn every_transcript_plays_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let written = std::fs::read_to_string(&path).unwrap();
        let actual = play(&written);
        let name = path.display();
        assert!(written == actual, "{name} plays otherwise, namely:\n{actual}");
        played += 1;
    }
    assert!(played >= 6, "only {played} transcripts were found");
}

/// Plays the events of a transcript, and gives it back with the effects that they have.
fn play(written: &str) -> String {
    let mut play = Play {
        world: World::default(),
        catalogue: Catalogue::load(None, &Offer::default()).unwrap(),
        now: Timestamp::UNIX_EPOCH,
        asked_at: Timestamp::UNIX_EPOCH,
        builds: Vec::new(),
    };
    let mut actual = String::new();
    for line in written.lines().filter(|line| !line.starts_with('<')) {
        actual.push_str(line);
        actual.push('\n');
        let Some(happening) = line.strip_prefix("> ") else { continue };
        play.now = play.now.checked_add(SignedDuration::from_secs(1)).unwrap();
        let Some(event) = play.event(happening) else { continue };
        for effect in handle(&mut play.world, &play.catalogue, event, play.now) {
            if let Effect::Build(job) = &effect {
                play.builds.push(job.id);
            }
            actual.push_str(&format!("< {}\n", shown(&effect)));
        }
    }
    actual
}

impl Play {
    fn event(&mut self, line: &str) -> Option<Event> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match (verb, rest) {
            ("wait", seconds) => {
                let seconds = SignedDuration::from_secs(seconds.parse().unwrap());
                self.now = self.now.checked_add(seconds).unwrap();
                return None;
            }
            ("ask", _) => {
                self.asked_at = self.now;
                return None;
            }
            ("tick", _) => Event::Tick,
            ("redis", _) => Event::RedisReturned,
            ("begin", found) => {
                let left = found.split(',').filter(|item| is_left(item));
                let left = left.filter_map(|item| item.split(':').next()).map(worker).collect();
                Event::Begun { records: records(found), found: self.found(found), left }
            }
            ("listed", found) => {
                Event::Listed { asked_at: self.asked_at, found: self.found(found) }
            }
            ("ended", id) => Event::InstanceEnded(worker(id)),
            ("built", result) => self.built(1, result),
            ("built-late", result) => self.built(2, result),
            ("building", line) => {
                let step = BuildStep { step: 1, of: 9, line: line.to_owned() };
                Event::BuildWent(self.hash(), *self.builds.last().unwrap(), step)
            }
            ("in-advance", state) => Event::InAdvance(vec![self.prebuild(state == "present")]),
            ("due", "disk") => Event::CollectionDue(Cause::Disk),
            ("due", _) => Event::CollectionDue(Cause::Schedule),
            ("inventory", images) => Event::Inventoried(Ok(self.inventory(images))),
            ("image-removed", "ok") => Event::ImageRemoved(self.removing(), Ok(())),
            ("image-removed", why) => {
                let problem = Problem::new(ErrorKind::EngineUnavailable, why);
                Event::ImageRemoved(self.removing(), Err(problem))
            }
            ("pruned", bytes) => Event::CachePruned(Ok(bytes.parse().unwrap())),
            ("resolved" | "launched" | "started" | "stopped" | "autopsied" | "removed", rest) => {
                let (id, what) = rest.split_once(' ').unwrap();
                Event::Done(worker(id), self.outcome(verb, what))
            }
            (entry, fields) => Event::Arrived(Box::new(arrival(entry, fields))),
        })
    }

    fn outcome(&self, verb: &str, what: &str) -> Outcome {
        let unavailable = || Problem::new(ErrorKind::EngineUnavailable, "no engine");
        match (verb, what) {
            ("resolved", "unavailable") => Outcome::Resolved(Err(unavailable())),
            ("resolved", _) => Outcome::Resolved(Ok(self.resolution(what == "present"))),
            ("launched", "ok") => {
                let ip_address = Some("10.0.0.9".to_owned());
                Outcome::Launched(Ok(Launch { ip_address, started_at: None }))
            }
            ("launched", "without image") => {
                let problem = Problem::new(ErrorKind::StartFailed, "the image is gone");
                Outcome::Launched(Err(LaunchError::NoImage(problem)))
            }
            ("launched", why) => {
                let problem = Problem::new(ErrorKind::StartFailed, why);
                Outcome::Launched(Err(LaunchError::Failed(problem)))
            }
            ("started", "ok") => {
                let launch = Launch { ip_address: None, started_at: None };
                Outcome::Started(Ok(Start { image: "worker:image".into(), launch }))
            }
            ("started", why) => Outcome::Started(Err(Problem::new(ErrorKind::StartFailed, why))),
            ("stopped", "unavailable") => Outcome::Stopped(Err(unavailable())),
            ("stopped", what) => Outcome::Stopped(Ok(autopsy(what).unwrap())),
            ("autopsied", _) => Outcome::Autopsied(Ok(autopsy(what))),
            (_, "ok") => Outcome::Removed(Ok(Evidence::default())),
            _ => Outcome::Removed(Err(unavailable())),
        }
    }

    fn rendered(&self) -> Rendered {
        let spec = ImageSpec {
            agent: worker_protocol::AgentType::Custom,
            modules: std::collections::BTreeSet::new(),
            base_image: "base".into(),
            base_owner: BaseOwner::Operator,
            base_identity: "sha256:0".into(),
            architecture: "amd64".into(),
            ca_bundle: None,
            wrapper: ContextFile::new(b"wrapper".to_vec()),
        };
        spec.render(&self.catalogue).unwrap()
    }

    fn hash(&self) -> ImageHash {
        self.rendered().hash
    }

    fn resolution(&self, present: bool) -> Resolution {
        let rendered = Arc::new(self.rendered());
        let hash = rendered.hash.clone();
        Resolution { image: Image { tag: "worker:image".into(), hash }, rendered, present }
    }

    /// The end of the last build but so many.
    fn built(&self, back: usize, result: &str) -> Event {
        let result = match result {
            "ok" => Ok(ImageFacts { id: "i".into(), size: 5 }),
            reason => {
                let last_lines = vec!["the last line".to_owned()];
                Err(BuildError::Failed { reason: reason.to_owned(), last_lines })
            }
        };
        Event::Built(self.hash(), self.builds[self.builds.len() - back], result)
    }

    fn prebuild(&self, present: bool) -> Prebuild {
        let Resolution { image, rendered, .. } = self.resolution(present);
        Prebuild { wish: "CUSTOM".parse().unwrap(), image, rendered, present }
    }

    /// `old,used,own`: an image that nobody has used for long, one that an instance uses, and the
    /// one that `resolved` and `built` speak of, unused for long as well.
    fn inventory(&self, list: &str) -> Inventory {
        let image = |word: &str| {
            let other = format!("{:0>64}", word.len());
            let hash = match word {
                "own" => self.hash(),
                _ => ImageHash::parse(&other).unwrap(),
            };
            Stored {
                tag: hash.tag("worker"),
                hash,
                holds: word.to_owned(),
                base: "debian".to_owned(),
                size: 5,
                layers: Vec::new(),
                built_at: None,
                last_used: self.now - SignedDuration::from_hours(24 * 9),
                used: word == "used",
            }
        };
        Inventory {
            images: list.split(',').map(image).collect(),
            disk: None,
            cache: 7,
            rules: crate::config::Gc::default().rules,
        }
    }

    fn removing(&self) -> ImageHash {
        let sweep = self.world.sweeps.current.as_ref().unwrap();
        sweep.removing.clone().unwrap()
    }

    /// `w1:running,w2:created,w3:ended`
    fn found(&self, list: &str) -> Vec<Found> {
        let one = |item: &str| {
            let (id, state) = item.split_once(':').unwrap();
            let known = Known {
                id: worker(id),
                request_id: format!("r-{id}"),
                correlation_id: None,
                created_at: Timestamp::UNIX_EPOCH,
                image: "worker:image".into(),
                admission: crate::store::Admission("0".into()),
                spec: spec(),
            };
            Found {
                name: InstanceName(id.into()),
                labels: known.write("worker"),
                state: match state.split(':').next().unwrap() {
                    "running" => InstanceState::Running,
                    "created" => InstanceState::Created,
                    _ => InstanceState::Ended(End { code: 0, oom_killed: false, at: None }),
                },
                ip_address: None,
                started_at: None,
            }
        };
        let instances = list.split(',').filter(|item| !item.is_empty() && !is_left(item));
        instances.map(one).collect()
    }
}

/// What instances and records hold of the wish.
fn spec() -> Create {
    let create = [("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", "cat")]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    match parse_command("0-0", &create, &keys()).1 {
        Ok(Command::Create(spec)) => *spec,
        other => panic!("no create: {other:?}"),
    }
}

/// `w4:left`: its instance is gone, and something is left of it.
fn is_left(item: &str) -> bool {
    item.split(':').nth(1) == Some("left")
}

/// `runs`, `gone`, or an exit code, with `oom` or the limit that was reached.
fn autopsy(what: &str) -> Option<Autopsy> {
    let limit = what.split(' ').nth(1);
    let exit = serde_json::json!({"limit": {"name": limit}});
    let evidence = |exit_code: Option<i64>| Evidence {
        exit_code,
        oom_killed: what.ends_with("oom"),
        limit: LimitName::of_exit(&exit),
        result: Some("the final text".to_owned()),
        ..Evidence::default()
    };
    let code = what.split(' ').next().and_then(|code| code.parse().ok());
    match what {
        "runs" => None,
        "gone" => Some(Autopsy::Gone(evidence(None))),
        _ => Some(Autopsy::Ended(evidence(code))),
    }
}

fn keys() -> Keys {
    Keys::new("worker").unwrap()
}

/// What Redis remembers, of instances given as `worker:state:STATUS` or `worker:state:STATUS:intent`,
/// or with the reason behind it.
fn records(list: &str) -> Vec<RememberedWorker> {
    let one = |item: &str| {
        let mut words = item.split(':');
        let id = worker(words.next()?);
        words.next()?;
        let fields = ["status", "intent", "reason"].into_iter().zip(words);
        let mut fields: BTreeMap<_, _> =
            fields.map(|(name, word)| (name.to_owned(), word.to_owned())).collect();
        if fields.is_empty() {
            return None;
        }
        fields.insert("spec".to_owned(), crate::label::spec_text(&spec()));
        Some(RememberedWorker { id, fields })
    };
    list.split(',').filter_map(one).collect()
}

/// `w1` is the worker of the first id, and so on.
fn worker(name: &str) -> WorkerId {
    WorkerId::from_moment(name.trim_start_matches('w').parse().unwrap(), [0; 10])
}

fn named(id: WorkerId) -> String {
    let known = (0..100).find(|n| worker(&format!("w{n}")) == id);
    known.map_or_else(|| id.to_string(), |n| format!("w{n}"))
}

/// `7-0 create worker_id=w1 agent_type=CUSTOM prior=replied record=STOPPED:r1`
fn arrival(entry: &str, fields: &str) -> Arrival {
    let mut words = fields.split(' ');
    let mut pairs = vec![("command".to_owned(), words.next().unwrap().as_bytes().to_vec())];
    let mut prior = Prior::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        match name {
            "prior" => prior.same_entry = value == "replied",
            "record" => {
                let (status, request) = value.split_once(':').unwrap();
                let status = worker_protocol::Status::from_wire(status).unwrap();
                prior.record = Some(PriorRecord { status, request_id: request.to_owned() });
            }
            "worker_id" if value.starts_with('w') => {
                pairs.push((name.to_owned(), worker(value).to_string().into_bytes()));
            }
            _ => pairs.push((name.to_owned(), value.as_bytes().to_vec())),
        }
    }
    let (header, command) = parse_command(entry, &pairs, &keys());
    if prior.same_entry {
        prior.reply = Some(Reply::ok(&header, Timestamp::UNIX_EPOCH, serde_json::Map::new()));
    }
    let by_entry = || worker(entry.split('-').next().unwrap());
    let worker_id = match &command {
        Ok(Command::Create(create)) => Some(create.worker_id.unwrap_or_else(by_entry)),
        other => other.as_ref().ok().and_then(Command::worker_id),
    };
    Arrival { header, command, worker_id, prior }
}

fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Step(id, order) => {
            let kind = match order {
                Order::Resolve(_) => StepKind::Resolve,
                Order::Launch(_) => StepKind::Launch,
                Order::Start(_) => StepKind::Start,
                Order::Stop => StepKind::Stop,
                Order::Autopsy => StepKind::Autopsy,
                Order::Remove(force) => StepKind::Remove(*force),
            };
            let word = match kind {
                StepKind::Resolve => "resolve",
                StepKind::Launch => "launch",
                StepKind::Start => "start",
                StepKind::Stop => "stop",
                StepKind::Autopsy => "autopsy",
                StepKind::Remove(Force::No) => "remove",
                StepKind::Remove(Force::Yes) => "remove by force",
            };
            format!("step {} {word}", named(*id))
        }
        Effect::Build(job) => format!("build {}", job.wish),
        Effect::TakeInventory(cause) => format!("take inventory for {}", cause.as_str()),
        Effect::RemoveImage(..) => "remove the image".to_owned(),
        Effect::PruneCache(_) => "remove what builds left".to_owned(),
        Effect::Admit(id) => format!("admit {} to redis", named(*id)),
        Effect::Clear(id) => format!("clear what is left of {}", named(*id)),
        Effect::Hurry(id) => format!("end {} at once", named(*id)),
        Effect::EndBuild(_) => "end the build".to_owned(),
        Effect::Write(write) => shown_write(write),
    }
}

fn shown_write(write: &Write) -> String {
    let text = |map: &serde_json::Map<String, serde_json::Value>, names: &[&str]| {
        let words = names.iter().filter_map(|name| Some(map.get(*name)?.as_str()?.to_owned()));
        words.collect::<Vec<_>>().join(" ").replace('\n', "\\n")
    };
    match write {
        Write::Record(id, fields) => {
            format!("record {} {}", named(*id), text(fields, &["status", "reason"]))
        }
        Write::Farewell(id) => format!("farewell {}", named(*id)),
        Write::Event(fields) => {
            let words = text(fields, &["type", "status", "holds", "reason", "error", "line"]);
            let numbers = ["removed", "kept", "not_removed", "cache_bytes"].into_iter();
            let numbers = numbers.filter_map(|name| Some(format!(" {name}={}", fields.get(name)?)));
            format!("event {words}{}", numbers.collect::<String>())
        }
        Write::Reply(header, reply, settled) => {
            let all: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&reply.to_json()).unwrap();
            let word = |name: &str| match all.get(name) {
                Some(serde_json::Value::String(text)) => Some(text.replace('\n', "\\n")),
                Some(other) => Some(format!("{name}={other}")),
                None => None,
            };
            let names =
                ["status", "already", "error", "message", "result", "removed", "kept", "images"];
            let words: Vec<_> = names.iter().filter_map(|name| word(name)).collect();
            let ok = if reply.is_ok() { "ok" } else { "failed" };
            let later = if *settled == Settled::Later { ", acknowledged later" } else { "" };
            format!("reply to {}: {ok} {}{later}", header.entry_id, words.join(" "))
        }
        Write::Tell(header, id) => {
            format!("reply to {} with the record of {}", header.entry_id, named(*id))
        }
        Write::Dead(header, _) => format!("dead {}", header.entry_id),
        Write::Acknowledge(entry) => format!("acknowledge {entry}"),
        Write::Interrupt(_, id) => format!("interrupt the turn of {}", named(*id)),
        Write::FirstPrompt(_, id, _) => format!("first prompt of {}", named(*id)),
        Write::Touch(_) => "touch the image".to_owned(),
        Write::Image(..) => "note the image".to_owned(),
        Write::ForgetImage(_) => "forget the image".to_owned(),
    }
}
