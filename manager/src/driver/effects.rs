//! What the world wants done.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use worker_protocol::command::Force;
use worker_protocol::{Create, Header, Problem, Reply, RequestName, Secret, WorkerId, rfc3339};

use super::{LaunchError, Outcome};
use crate::caller::Refusal;
use crate::image::{ImageHash, ImageWish, Rendered};
use crate::world::{BuildId, Cause, Course, Origin, Requests, Room, Stage, StepKind, Worker};

/// Something to do outside of the world.
pub enum Effect {
    /// Take a step for a worker.
    Step(WorkerId, Order),
    /// Build an image.
    Build(BuildJob),
    /// End a build that nobody waits for any more.
    EndBuild(BuildId),
    /// Find out which images there are.
    TakeInventory(Cause),
    /// Remove an image.
    RemoveImage(String, ImageHash),
    /// Remove what builds left behind.
    PruneCache(Cause),
    /// Let a worker into Redis again.
    Admit(WorkerId),
    /// Remove what is left of a worker that nobody knows any more.
    Clear(WorkerId),
    /// End a worker's instance at once, while a step for it is under way.
    Hurry(WorkerId),
    /// Say so when a time has come that a worker waits for.
    TellWhen(Timestamp, WorkerId),
    /// Tell what arrives for a worker that stands still: after this entry of its input.
    Mind(WorkerId, String),
    /// Nobody has to be told any more.
    Unmind(WorkerId),
    /// Look at what exists now.
    Look,
    /// Write to Redis, in this order.
    Write(Write),
}

/// A build with all that it needs.
pub struct BuildJob {
    /// Which build.
    pub id: BuildId,
    /// The name of what it makes.
    pub hash: ImageHash,
    /// What it makes.
    pub wish: ImageWish,
    /// From what.
    pub rendered: Arc<Rendered>,
}

/// A step with all that it needs.
pub enum Order {
    /// Find out which image is needed, and whether it is there.
    Resolve(Arc<Create>),
    /// Make and start the instance.
    Launch(Box<LaunchOrder>),
    /// Start the instance that was kept.
    Start(Arc<Create>),
    /// End it, and keep its instance.
    Stop,
    /// Have it stand still, if it has nothing to do.
    Pause,
    /// Let it go on.
    Resume,
    /// Find out how it ended.
    Autopsy,
    /// Take away what it consists of.
    Remove(Force),
}

impl Order {
    /// What comes of it when it fails so.
    #[must_use]
    pub fn failure(&self) -> fn(Problem) -> Outcome {
        match self {
            Self::Resolve(_) => |problem| Outcome::Resolved(Err(problem)),
            Self::Launch(_) => |problem| Outcome::Launched(Err(LaunchError::Failed(problem))),
            Self::Start(_) => |problem| Outcome::Started(Err(problem)),
            Self::Stop => |problem| Outcome::Stopped(Err(problem)),
            Self::Pause => |problem| Outcome::Napped(Err(problem)),
            Self::Resume => |problem| Outcome::Resumed(Err(problem)),
            Self::Autopsy => |problem| Outcome::Autopsied(Err(problem)),
            Self::Remove(_) => |problem| Outcome::Removed(Err(problem)),
        }
    }
}

/// All that making an instance needs.
pub struct LaunchOrder {
    /// The wish.
    pub spec: Arc<Create>,
    /// The tag of the image.
    pub image: String,
    /// The request that made the worker.
    pub request_id: String,
    /// The caller's id.
    pub correlation_id: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Whether an earlier manager may have begun with it.
    pub origin: Origin,
}

/// Something to write to Redis. The outbox writes in order; nothing else writes replies.
pub enum Write {
    /// A worker's record, whole or in part; null takes a field away.
    Record(WorkerId, Map<String, Value>),
    /// The worker is gone: what it leaves behind expires after a time.
    Farewell(WorkerId),
    /// An entry of the events stream.
    Event(Map<String, Value>),
    /// A reply, to one who is then done with, or who still has something to wait for.
    Reply(Header, Reply, Settled),
    /// A reply made from a worker's record and its last sign of life, with what stands in no record.
    Tell(Header, WorkerId, Map<String, Value>),
    /// An entry that could not be understood.
    Dead(Header, Problem),
    /// A command is done with.
    Acknowledge(String),
    /// The first prompt of a worker, once for the request.
    FirstPrompt(RequestName, WorkerId, Secret),
    /// The end of a worker's turn, once for the request.
    Interrupt(RequestName, WorkerId),
    /// A worker has written more to the disk than so many bytes, and is to end.
    OverDisk(WorkerId, u64),
    /// An image is used.
    Touch(ImageHash),
    /// What is known about an image that was built.
    Image(ImageHash, Map<String, Value>),
    /// An image is gone.
    ForgetImage(ImageHash),
}

/// Whether a command is done with when its reply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is acknowledged with the reply.
    Yes,
    /// It is acknowledged later: until then, its entry is what a new manager goes on from.
    Later,
    /// As `Yes`, and no request is remembered: nobody knows whose it would be.
    Forgotten,
}

/// Collects effects.
pub struct Effects {
    /// When this happens.
    pub now: Timestamp,
    /// What is free.
    pub(super) room: Room,
    /// Those who have begun to wait for room, or wait no longer.
    pub(super) moved: Vec<WorkerId>,
    list: Vec<Effect>,
}

impl Effects {
    /// None yet, with what is free for workers.
    #[must_use]
    pub fn new(now: Timestamp, room: Room) -> Self {
        Self { now, room, moved: Vec::new(), list: Vec::new() }
    }

    /// The effects, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Effect> {
        self.list
    }

    /// Adds one.
    pub fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Adds something to write.
    pub fn write(&mut self, write: Write) {
        self.push(Effect::Write(write));
    }

    /// Starts the next step of a worker, if there is one to take, and room.
    pub fn advance(&mut self, worker: &mut Worker) {
        let Some(step) = worker.next(self.now) else { return };
        let waited = worker.queued.is_some();
        if !self.let_in(worker, step) {
            if !waited {
                self.announce(worker);
            }
            return;
        }
        if step != StepKind::Resume {
            self.unmind(worker);
        }
        worker.busy = Some(step);
        let order = match step {
            StepKind::Resolve => Order::Resolve(Arc::clone(&worker.spec)),
            StepKind::Launch => match &worker.stage {
                Stage::Imaged { image } => Order::Launch(Box::new(LaunchOrder {
                    spec: Arc::clone(&worker.spec),
                    image: image.tag.clone(),
                    request_id: worker.request_id.clone(),
                    correlation_id: worker.correlation_id.clone(),
                    created_at: worker.created_at,
                    origin: worker.origin,
                })),
                _ => return,
            },
            StepKind::Start => Order::Start(Arc::clone(&worker.spec)),
            StepKind::Stop => Order::Stop,
            StepKind::Pause => Order::Pause,
            StepKind::Resume => Order::Resume,
            StepKind::Autopsy => Order::Autopsy,
            StepKind::Remove(force) => Order::Remove(force),
        };
        self.push(Effect::Step(worker.id, order));
    }

    /// Nobody has to be told any more what arrives for a worker that stands still.
    pub fn unmind(&mut self, worker: &Worker) {
        if matches!(worker.course, Course::Paused { .. }) {
            self.push(Effect::Unmind(worker.id));
        }
    }

    /// Looks at how a worker ended, unless a step for it is under way.
    pub fn autopsy(&mut self, worker: &mut Worker) {
        if worker.busy.is_none() {
            self.unmind(worker);
            worker.busy = Some(StepKind::Autopsy);
            self.push(Effect::Step(worker.id, Order::Autopsy));
        }
    }

    /// Tells the world outside how a worker stands: record and event.
    pub fn announce(&mut self, worker: &Worker) {
        self.write(Write::Record(worker.id, worker.record()));
        let mut event = self.event("worker");
        event.insert("worker_id".to_owned(), json!(worker.id.to_string()));
        event.insert("status".to_owned(), json!(worker.status().as_str()));
        event.insert("reason".to_owned(), json!(worker.reason()));
        if let Some(problem) = worker.end().and_then(|end| end.problem.as_ref()) {
            event.insert("error".to_owned(), json!(problem.kind.as_str()));
            event.insert("message".to_owned(), json!(problem.message));
        }
        if worker.restarts.next_at.is_some() {
            event.insert("message".to_owned(), json!(worker.restarts.message));
        }
        event.insert("request_id".to_owned(), json!(worker.request_id));
        event.insert("correlation_id".to_owned(), json!(worker.correlation_id));
        event.insert("caller".to_owned(), json!(worker.spec.caller));
        self.write(Write::Event(event));
    }

    /// The image of a worker that runs or ran is used until now.
    pub fn touch_image(&mut self, worker: &Worker) {
        if let Stage::Running { image, .. } = &worker.stage
            && let Some(hash) = ImageHash::of_tag(image)
        {
            self.write(Write::Touch(hash));
        }
    }

    /// An event of a type, to be filled.
    #[must_use]
    pub fn event(&self, kind: &str) -> Map<String, Value> {
        let mut event = Map::new();
        event.insert("type".to_owned(), json!(kind));
        event.insert("timestamp".to_owned(), json!(rfc3339(self.now)));
        event
    }

    /// Replies that it is done.
    pub fn succeed(
        &mut self,
        requests: &mut Requests,
        header: Header,
        content: Map<String, Value>,
    ) {
        let reply = Reply::ok(&header, self.now, content);
        self.reply(requests, header, reply, Settled::Yes);
    }

    /// Replies that it failed.
    pub fn fail(
        &mut self,
        requests: &mut Requests,
        header: Header,
        problem: &Problem,
        content: Map<String, Value>,
    ) {
        let reply = Reply::failed(&header, self.now, problem, content);
        self.reply(requests, header, reply, Settled::Yes);
    }

    /// Replies that it is not carried out, and by which rule.
    pub fn refuse(&mut self, requests: &mut Requests, header: Header, refusal: &Refusal) {
        self.fail(requests, header, &refusal.problem, named(refusal));
    }

    /// The same, where nobody knows who asks: it is no request of anybody's.
    pub fn turn_away(&mut self, header: Header, refusal: &Refusal) {
        let reply = Reply::failed(&header, self.now, &refusal.problem, named(refusal));
        self.write(Write::Reply(header, reply, Settled::Forgotten));
    }

    /// Replies, to everybody who asked the same.
    pub fn reply(
        &mut self,
        requests: &mut Requests,
        header: Header,
        reply: Reply,
        settled: Settled,
    ) {
        let others = requests.answered(&header.request(), &reply, self.now);
        self.write(Write::Reply(header, reply.clone(), settled));
        for other in others {
            self.write(Write::Reply(other, reply.clone(), Settled::Yes));
        }
    }
}

fn named(refusal: &Refusal) -> Map<String, Value> {
    Map::from_iter([("rule".to_owned(), json!(refusal.rule))])
}
