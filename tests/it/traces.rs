//! Spans, as a collector gets them.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use worker_tests::harness::{Installation, Options};

type Seen = Arc<Mutex<Vec<Span>>>;

/// A collector of traces by OTLP over HTTP.
struct Collector {
    address: SocketAddr,
    seen: Seen,
    _runtime: Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let seen = Seen::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&seen));
        runtime.spawn(axum::serve(listener, routes).into_future());
        Self { address, seen, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Span> {
        self.seen.lock().expect("spans").clone()
    }
}

async fn take(State(seen): State<Seen>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    seen.lock().expect("spans").extend(scopes.flat_map(|scope| scope.spans));
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == name);
    match found.and_then(|pair| pair.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

#[test]
fn a_command_and_the_steps_that_it_causes_are_one_trace_of_the_callers() {
    let collector = Collector::start();
    let endpoint = format!("http://{}", collector.address);
    let it =
        Installation::start_with(Options::default().set("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
    let callers = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = it.send_document(&serde_json::json!({
        "command": "create",
        "agent_type": "CUSTOM",
        "agent_command": "cat",
        "wait": "running",
        "env": {"PRIVATE": "hunter2-and-more"},
        "context": {"traceparent": format!("00-{callers}-00f067aa0ba902b7-01")},
    }));
    let worker = it.reply(&request).get("worker_id");
    let delete = it.command(&[("command", "delete"), ("worker_id", &worker)]);
    assert!(delete.is_ok(), "{delete:?}");
    assert!(it.manager().stop().status.success());
    let spans = collector.spans();
    let find = |name: &str| {
        let of_it = |span: &&Span| span.name == name && text(&span.attributes, "worker") == worker;
        spans.iter().find(of_it).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let create = find("command");
    assert_eq!(text(&create.attributes, "command"), "create");
    assert_eq!(text(&create.attributes, "request"), request);
    let hex: String = create.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, callers);
    for step in ["resolve", "launch"] {
        let step = find(step);
        assert_eq!(step.trace_id, create.trace_id);
        assert_eq!(step.parent_span_id, create.span_id);
        assert_eq!(text(&step.attributes, "request"), request);
        assert!(step.end_time_unix_nano > step.start_time_unix_nano);
    }
    assert!(text(&find("launch").attributes, "image").starts_with(&it.namespace));
    let remove = find("remove");
    assert_ne!(remove.trace_id, create.trace_id, "it is the delete's");
    let all = format!("{spans:?}");
    assert!(!all.contains("hunter2") && !all.contains("scripted-key"), "a secret is in a span");
}

#[test]
fn a_collector_that_is_away_costs_nothing() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    let it =
        Installation::start_with(Options::default().set("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
    for _ in 0..20 {
        assert!(it.command(&[("command", "ping")]).is_ok());
    }
    assert!(it.manager().stop().status.success());
}
