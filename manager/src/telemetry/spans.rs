//! Which command and worker something belongs to: in the log, and as spans of a trace.
//!
//! A command is a span from its arrival to its reply. The steps that a worker takes because of it
//! are its children, also those after the reply. A caller's own trace goes on where `context` of its
//! command has a `traceparent`, as W3C's Trace Context writes it.

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use worker_protocol::{Command, Header, WorkerId};

use crate::driver::{Arrival, BuildJob, Effect, Event, Order, Write};
use crate::world::World;

/// Commands under way. More than wait at any time; those that were delivered twice and answered
/// before never end, and go when there are so many.
const COMMANDS: usize = 4096;

/// A span of the highest level: who logs nothing but errors needs to know whose they are.
macro_rules! span {
    ($name:literal, $($fields:tt)*) => {
        tracing::error_span!($name, $($fields)*, error = Empty, otel.status_code = Empty)
    };
}

/// Commands and workers that spans belong to.
#[derive(Default)]
pub struct Spans {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By entry.
    commands: HashMap<String, Span>,
    /// What last wanted something of a worker.
    causes: BTreeMap<WorkerId, Context>,
}

impl Spans {
    pub(super) fn event(&self, event: &Event) {
        if let Event::Arrived(arrival) = event {
            self.arrived(arrival);
        }
    }

    pub(super) fn effect(&self, effect: &Effect) {
        let Effect::Write(write) = effect else { return };
        match write {
            Write::Reply(header, reply, _) => {
                let span = self.state().commands.remove(&header.entry_id);
                if let (Some(span), false) = (span, reply.is_ok()) {
                    failed(&span, &reply.text("error"));
                }
            }
            Write::Tell(header, ..) => drop(self.state().commands.remove(&header.entry_id)),
            Write::Farewell(id) => drop(self.state().causes.remove(id)),
            _ => {}
        }
    }

    /// Nothing is under way any more.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
    }

    fn arrived(&self, arrival: &Arrival) {
        let Arrival { header, command, worker_id, .. } = arrival;
        let span = command_span(header);
        if let Some(id) = worker_id {
            span.record("worker", tracing::field::display(id));
        }
        if let Some(caller) = callers_context(header) {
            let _ = span.set_parent(caller);
        }
        let mut state = self.state();
        let context = span.context();
        let acts = !matches!(command, Ok(Command::Status { .. }) | Err(_));
        if let (Some(id), true, true) = (worker_id, acts, is_recorded(&context)) {
            state.causes.insert(*id, remote(&context));
        }
        if state.commands.len() >= COMMANDS {
            state.commands.clear();
        }
        state.commands.entry(header.entry_id.clone()).or_insert(span);
    }

    /// Of a step.
    #[must_use]
    pub fn step(&self, world: &World, id: WorkerId, order: &Order) -> Span {
        let request = world.workers.get(&id).map_or("", |worker| worker.request_id.as_str());
        let span = match order {
            Order::Resolve(_) => span!("resolve", worker = %id, request),
            Order::Launch(launch) => {
                span!("launch", worker = %id, request, image = launch.image)
            }
            Order::Start(_) => span!("start", worker = %id, request),
            Order::Stop => span!("stop", worker = %id, request),
            Order::Pause => span!("pause", worker = %id, request),
            Order::Resume => span!("resume", worker = %id, request),
            Order::Autopsy => span!("autopsy", worker = %id, request),
            Order::Remove(_) => span!("remove", worker = %id, request),
        };
        if let Some(cause) = self.state().causes.get(&id) {
            let _ = span.set_parent(cause.clone());
        }
        span
    }

    /// Of a build, which belongs to the first worker that waits for it.
    #[must_use]
    pub fn build(&self, world: &World, job: &BuildJob) -> Span {
        let span = span!("build", image = %job.hash, holds = %job.wish);
        let first = world.builds.get(&job.hash, job.id).and_then(|build| build.waiting.first());
        let state = self.state();
        if let Some(cause) = first.and_then(|id| state.causes.get(id)) {
            let _ = span.set_parent(cause.clone());
        }
        span
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is tried beside the steps.
#[must_use]
pub fn aside(world: &World, id: WorkerId) -> Span {
    let request = world.workers.get(&id).map_or("", |worker| worker.request_id.as_str());
    span!("aside", worker = %id, request)
}

/// Whatever the span is of came to nothing: `error` in a word.
pub fn failed(span: &Span, error: &str) {
    span.record("error", error);
    span.record("otel.status_code", "ERROR");
}

fn command_span(header: &Header) -> Span {
    let command = super::metrics::known_command(&header.command);
    let (request, correlation) = (&header.request_id, header.correlation_id.as_deref());
    span!("command", command, request, correlation, worker = Empty)
}

/// The span in which the caller sent the command.
fn callers_context(header: &Header) -> Option<Context> {
    let context = header.passed_through.get("context")?.as_object()?;
    let texts = context
        .iter()
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())));
    let texts: HashMap<String, String> = texts.collect();
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &texts);
    is_recorded(&context).then_some(context)
}

/// As of a span elsewhere, so that it need not be kept open for its children.
fn remote(context: &Context) -> Context {
    Context::new().with_remote_span_context(context.span().span_context().clone())
}

fn is_recorded(context: &Context) -> bool {
    context.span().span_context().is_valid()
}
