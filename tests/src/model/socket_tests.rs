//! The scripted model over a real socket: what a client reads, byte for byte.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Script, ScriptedModel};

const PATIENCE: Duration = Duration::from_secs(10);

async fn model() -> ScriptedModel {
    let any_port = "127.0.0.1:0".parse().unwrap();
    ScriptedModel::start(any_port, Script::empty()).await.unwrap()
}

async fn send(model: &ScriptedModel, prompt: &str, stream: bool) -> TcpStream {
    let body = json!({
        "model": "m-1",
        "stream": stream,
        "system": [{"type": "text", "text": "be brief"}],
        "tools": [{"name": "Bash"}],
        "messages": [{"role": "user", "content": prompt}],
    });
    let body = body.to_string();
    let head = format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: model\r\nx-api-key: secret\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(model.addr()).await.unwrap();
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    connection
}

/// Everything until the server hangs up, in order or not.
async fn rest(mut connection: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = connection.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the answer ends in time");
    String::from_utf8(bytes).unwrap()
}

/// Reads until a text has come.
async fn until(connection: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(wanted) {
        let read = tokio::time::timeout(PATIENCE, connection.read(&mut bytes));
        let count = read.await.expect("something comes in time").unwrap();
        assert_ne!(count, 0, "the connection ended before {wanted}: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

/// The body of a chunked answer, and whether its last chunk came.
fn body(answer: &str) -> (String, bool) {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    (body, false)
}

fn events(body: &str) -> Vec<Value> {
    let frames = body.split_terminator("\n\n").map(|frame| {
        let (event, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event.strip_prefix("event: ").unwrap(), data["type"]);
        data
    });
    frames.collect()
}

fn text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
}

#[tokio::test]
async fn a_stream_is_framed_as_events() {
    let model = model().await;
    let answer =
        rest(send(&model, "grüße, and a text that takes several pieces", true).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    let (body, complete) = body(&answer);
    let events = events(&body);
    assert!(complete);
    assert_eq!(events.first().unwrap()["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    assert_eq!(text(&events), "You said: grüße, and a text that takes several pieces");
}

#[tokio::test]
async fn a_whole_message_is_one_json_document() {
    let model = model().await;
    let answer = rest(send(&model, "@model long 100000", false).await).await;
    let message: Value = serde_json::from_str(&body(&answer).0).unwrap();
    assert_eq!(message["content"][0]["text"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn an_error_has_its_status() {
    let model = model().await;
    let prompt = "@model error 529 overloaded_error Overloaded";
    let answer = rest(send(&model, prompt, true).await).await;
    assert!(answer.starts_with("HTTP/1.1 529 "), "{answer}");
    let error: Value = serde_json::from_str(&body(&answer).0).unwrap();
    let expected = json!({"type": "overloaded_error", "message": "Overloaded"});
    assert_eq!(error["error"], expected);
}

#[tokio::test]
async fn a_broken_connection_breaks_after_what_was_said() {
    let model = model().await;
    let answer = rest(send(&model, "@model say Well\n@model close", true).await).await;
    let (body, complete) = body(&answer);
    assert_eq!(text(&events(&body)), "Well");
    assert!(!complete);
}

#[tokio::test]
async fn a_stalled_answer_begins_and_ends_with_the_model() {
    let model = model().await;
    let mut connection = send(&model, "@model say Well\n@model stall", true).await;
    until(&mut connection, "Well").await;
    drop(model);
    assert!(!rest(connection).await.contains("message_stop"));
}

#[tokio::test]
async fn requests_are_remembered_without_the_values_of_their_headers() {
    let model = model().await;
    rest(send(&model, "hello", true).await).await;
    let seen = model.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].status), ("/v1/messages", 200));
    assert!(seen[0].is_work());
    assert_eq!(seen[0].system(), "be brief");
    assert!(seen[0].mentions("hell") && seen[0].mentions("brief"));
    assert!(!seen[0].mentions("goodbye"));
    assert_eq!(seen[0].body["messages"][0]["content"], "hello");
    assert!(seen[0].headers.contains(&"x-api-key".to_owned()));
    assert!(!serde_json::to_string(&seen).unwrap().contains("secret"));
}
