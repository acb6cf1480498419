//! Transcripts: what happens in, what is to be done out. `manager/transcripts/*.txt` hold them, for
//! people to read: `>` is an event, `<` an effect, `#` a remark.

mod crowd;
mod notation;

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::path::Path;
use worker_protocol::command::Force;
use worker_protocol::{
    Create, ErrorKind, Keys, LimitName, Problem, Reply, WorkerId, parse_command,
};

use self::notation::*;
use super::*;
use crate::config::RawCapacity;
use crate::decide::PriorRecord;
use crate::engine::{End, InstanceName, InstanceState, Memory};
use crate::image::collect::Stored;
use crate::image::{BaseOwner, ContextFile, ImageSpec, Offer};
use crate::label::Known;
use crate::orphan::Left;
use crate::world::{HostRoom, Pruned, Rules, StepKind};

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
    let mut play = Play::new();
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
    fn new() -> Self {
        Self {
            world: World::default(),
            catalogue: Catalogue::load(None, &Offer::default()).unwrap(),
            now: Timestamp::UNIX_EPOCH,
            asked_at: Timestamp::UNIX_EPOCH,
            builds: Vec::new(),
        }
    }

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
            ("capacity", rules) => {
                self.world.capacity.rules = capacity(rules);
                return None;
            }
            ("memory", megabytes) => {
                let available = megabytes.parse::<u64>().unwrap() * 1_000_000;
                let memory = Some(Memory { available, total: u64::MAX });
                Event::HostSeen(HostRoom { memory, disk: None })
            }
            ("due", id) if id.starts_with('w') => Event::Due(worker(id)),
            ("tick", _) => Event::Tick,
            ("redis", _) => Event::RedisReturned,
            ("begin", found) => Event::Begun { records: records(found), found: self.found(found) },
            ("listed", found) => {
                Event::Listed { asked_at: self.asked_at, found: self.found(found) }
            }
            ("unseen", _) => Event::Unseen,
            ("ended", id) => Event::InstanceEnded(worker(id)),
            ("started-outside", id) => Event::InstanceStarted(worker(id)),
            ("idle", ids) => Event::Idle(ids.split(',').map(worker).collect()),
            ("called", id) => Event::Called(worker(id)),
            ("over-disk", ids) => {
                Event::OverDisk(ids.split(',').map(|id| (worker(id), 1 << 30)).collect())
            }
            ("built", result) => self.built(1, result),
            ("built-late", result) => self.built(2, result),
            ("building", line) => {
                let step = BuildStep { step: 1, of: 9, line: line.to_owned() };
                Event::BuildWent(self.hash(), *self.builds.last().unwrap(), step)
            }
            ("in-advance", state) => Event::InAdvance(vec![self.prebuild(state == "present")]),
            ("due", "disk") => Event::CollectionDue(Cause::Disk),
            ("due", _) => Event::CollectionDue(Cause::Schedule),
            ("inventory", images) => Event::Inventoried(Ok(self.inventory(images)), None),
            ("surveyed", list) => Event::Surveyed(survey(list)),
            ("cleared", rest) => {
                let (id, how) = rest.split_once(' ').unwrap();
                let failed = Problem::new(ErrorKind::EngineUnavailable, how);
                Event::Cleared(worker(id), if how == "ok" { Ok(()) } else { Err(failed) })
            }
            ("image-removed", "ok") => Event::ImageRemoved(self.removing(), Ok(())),
            ("image-removed", why) => {
                let problem = Problem::new(ErrorKind::EngineUnavailable, why);
                Event::ImageRemoved(self.removing(), Err(problem))
            }
            ("pruned", bytes) => {
                Event::CachePruned(Ok(Pruned { bytes: bytes.parse().unwrap(), disk: None }))
            }
            (
                "napped" | "resumed" | "resolved" | "launched" | "started" | "stopped"
                | "autopsied" | "removed",
                rest,
            ) => {
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
            ("started", "unavailable") => Outcome::Started(Err(unavailable())),
            ("started", why) => Outcome::Started(Err(Problem::new(ErrorKind::StartFailed, why))),
            ("stopped", "unavailable") => Outcome::Stopped(Err(unavailable())),
            ("stopped", what) => Outcome::Stopped(Ok(autopsy(what).unwrap())),
            ("napped", "unavailable") => Outcome::Napped(Err(unavailable())),
            ("napped", "awake") => Outcome::Napped(Ok(Nap::Awake)),
            ("napped", seconds) => {
                let seconds = seconds.strip_prefix("for ").map(|text| text.parse().unwrap());
                let wake_at = seconds.map(|s| self.now + SignedDuration::from_secs(s));
                Outcome::Napped(Ok(Nap::Asleep { after: "7-0".to_owned(), wake_at }))
            }
            ("resumed", "ok") => Outcome::Resumed(Ok(())),
            ("resumed", _) => Outcome::Resumed(Err(unavailable())),
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
            others: std::collections::BTreeSet::new(),
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
                token: None,
                spec: spec(),
            };
            Found {
                name: InstanceName(id.into()),
                labels: known.write("worker"),
                state: match state.split(':').next().unwrap() {
                    "running" => InstanceState::Running,
                    "paused" => InstanceState::Paused,
                    "created" => InstanceState::Created,
                    _ => InstanceState::Ended(End { code: 0, oom_killed: false, at: None }),
                },
                ip_address: None,
                networks: std::collections::BTreeSet::new(),
                started_at: None,
            }
        };
        // Of what is left, only the record is there.
        let is_there = |item: &&str| !item.is_empty() && !item.contains(":left");
        list.split(',').filter(is_there).map(one).collect()
    }
}
