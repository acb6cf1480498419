//! A request in, an answer out: what each path of the API answers. Pure.

use serde_json::{Value, json};

use super::compose::{self, Beat, Setting, error_body, head};
use super::conversation::{Conversation, MessagesRequest};
use super::directives::{DirectiveError, plan_in};
use super::plan::{Act, Step};
use super::script::Script;
use super::{gemini, responses};

/// How much of a prompt is said back where there is no plan for it.
const ECHO_LIMIT: usize = 200;

/// What a request without tools (a title, a summary) is answered with.
const ASIDE: &str = "Scripted model at work";

/// An answer: a status, and what happens on the connection.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The answer's content type.
    pub content_type: &'static str,
    /// What happens, in order.
    pub beats: Vec<Beat>,
}

impl Answer {
    fn json(status: u16, body: Value) -> Answer {
        Answer { status, content_type: "application/json", beats: vec![Beat::Body(body)] }
    }

    fn error(status: u16, kind: &str, message: &str) -> Answer {
        Answer::json(status, error_body(kind, message))
    }
}

/// The answer to a request. `id` differs from request to request.
pub fn answer(script: &Script, method: &str, path: &str, body: &[u8], id: &str) -> Answer {
    if let (Some(stream), "POST") = (gemini::asks(path), method) {
        let read = |body: &Value| gemini::as_messages(path, body, stream);
        return Dialect::Gemini.answer(script, body, read, id);
    }
    match (method, path) {
        ("POST", "/v1/messages") => Dialect::Messages.answer(script, body, Value::clone, id),
        ("POST", "/v1/responses") => {
            Dialect::Responses.answer(script, body, responses::as_messages, id)
        }
        ("POST", "/v1/messages/count_tokens") => {
            Answer::json(200, json!({"input_tokens": compose::tokens(body.len())}))
        }
        // Agents look whether anybody is there.
        ("GET" | "HEAD", "/") => Answer::json(200, json!({"scripted": true})),
        _ => Answer::error(404, "not_found_error", &format!("there is no {method} {path} here")),
    }
}

/// The API that an agent speaks.
#[derive(Clone, Copy)]
enum Dialect {
    Messages,
    Responses,
    Gemini,
}

impl Dialect {
    /// The answer to a request, which `read` turns into one of the Messages API.
    fn answer(
        self,
        script: &Script,
        body: &[u8],
        read: impl FnOnce(&Value) -> Value,
        id: &str,
    ) -> Answer {
        let request = serde_json::from_slice(body)
            .and_then(|body| serde_json::from_value::<MessagesRequest>(read(&body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.refusal(&error.to_string()),
        };
        let conversation = request.conversation();
        let step = match step(script, &request, &conversation) {
            Ok(step) => step,
            Err(error) => return self.refusal(&error.to_string()),
        };
        if let Some(error) = self.error_instead(&step, request.stream) {
            return error;
        }
        let setting = Setting {
            id,
            model: &request.model,
            request_bytes: body.len(),
            result: conversation.result.as_deref(),
        };
        let beats = match (self, request.stream) {
            (Self::Messages, true) => compose::stream(&step, &setting),
            (Self::Messages, false) => compose::whole(&step, &setting),
            (Self::Responses, _) => responses::stream(&step, &setting),
            (Self::Gemini, true) => gemini::stream(&step, &setting),
            (Self::Gemini, false) => gemini::whole(&step, &setting),
        };
        let content_type =
            if request.stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        Answer { status: 200, content_type, beats }
    }

    fn refusal(self, message: &str) -> Answer {
        self.error(400, "invalid_request_error", message)
    }

    fn error(self, status: u16, kind: &str, message: &str) -> Answer {
        match self {
            Self::Messages => Answer::error(status, kind, message),
            Self::Responses => Answer::json(status, responses::error_body(kind, message)),
            Self::Gemini => Answer::json(status, gemini::error_body(status, kind, message)),
        }
    }

    /// The error that takes the answer's place: a stream can begin and fail later, a whole message
    /// cannot.
    fn error_instead(self, step: &Step, stream: bool) -> Option<Answer> {
        let reach = if stream { 1 } else { step.len() };
        step.iter().take(reach).find_map(|act| match act {
            Act::Error { status, kind, message } => Some(self.error(*status, kind, message)),
            _ => None,
        })
    }
}

fn step(
    script: &Script,
    request: &MessagesRequest,
    conversation: &Conversation,
) -> Result<Step, DirectiveError> {
    if !request.is_work() {
        return Ok(vec![Act::Say(request.aside.clone().unwrap_or_else(|| ASIDE.to_owned()))]);
    }
    let prompt = &conversation.prompt;
    if let Some(plan) = plan_in(prompt)? {
        return Ok(plan.step(conversation.answers));
    }
    if let Some(plan) = script.plan_for(prompt) {
        return Ok(plan.step(conversation.answers));
    }
    Ok(vec![Act::Say(format!("You said: {}", head(prompt, ECHO_LIMIT)))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ask(script: &Script, messages: Value, stream: bool) -> Answer {
        let body = json!({"model": "m-1", "stream": stream, "messages": messages,
                          "tools": [{"name": "Bash"}]});
        answer(script, "POST", "/v1/messages", body.to_string().as_bytes(), "7")
    }

    fn prompt(text: &str, stream: bool) -> Answer {
        ask(&Script::empty(), json!([{"role": "user", "content": text}]), stream)
    }

    fn body(answer: &Answer) -> &Value {
        match answer.beats.last() {
            Some(Beat::Body(body)) => body,
            other => panic!("no whole answer: {other:?}"),
        }
    }

    fn events(answer: &Answer) -> Vec<&str> {
        let types = answer.beats.iter().map(|beat| match beat {
            Beat::Event(event) => event["type"].as_str().unwrap(),
            Beat::Pause(_) => "PAUSE",
            Beat::Break => "BREAK",
            Beat::Body(_) => "BODY",
        });
        types.collect()
    }

    #[test]
    fn a_prompt_without_a_plan_is_said_back() {
        assert_eq!(body(&prompt("hello", false))["content"][0]["text"], "You said: hello");
        let long = prompt(&"ä".repeat(1000), false);
        assert!(body(&long)["content"][0]["text"].as_str().unwrap().len() <= 10 + ECHO_LIMIT);
    }

    #[test]
    fn directives_go_before_the_script_and_the_script_before_the_echo() {
        let script =
            Script::parse(r#"[{"when": "hello", "steps": [[{"say": "scripted"}]]}]"#).unwrap();
        for (text, said) in [
            ("hello\n@model say directed", "directed"),
            ("hello", "scripted"),
            ("hullo", "You said: hullo"),
        ] {
            let answer = ask(&script, json!([{"role": "user", "content": text}]), false);
            assert_eq!(body(&answer)["content"][0]["text"], said);
        }
    }

    #[test]
    fn a_stream_has_the_frames_of_the_api_in_order() {
        let answer = prompt("@model say Hi.\n@model tool Bash {\"command\":\"ls\"}", true);
        let block = ["content_block_start", "content_block_delta", "content_block_stop"];
        let expected =
            [&["message_start", "ping"][..], &block, &block, &["message_delta", "message_stop"]];
        assert_eq!(events(&answer), expected.concat());
        let Beat::Event(start) = &answer.beats[5] else { panic!("{answer:?}") };
        assert_eq!(start["content_block"]["id"], "toolu_7_1");
        let Beat::Event(delta) = &answer.beats[8] else { panic!("{answer:?}") };
        assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn a_tools_answer_is_quoted_in_the_next_step() {
        let messages = json!([
            {"role": "user", "content": "@model tool Bash {}\n@model then\n@model quote"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "git version 2\n"}]},
        ]);
        let answer = ask(&Script::empty(), messages, false);
        assert_eq!(body(&answer)["content"][0]["text"], "git version 2");
        assert_eq!(body(&answer)["stop_reason"], "end_turn");
    }

    #[test]
    fn an_error_is_a_status_first_and_an_event_later() {
        let first = prompt("@model error 529 overloaded_error Overloaded", true);
        assert_eq!((first.status, events(&first)), (529, vec!["BODY"]));
        assert_eq!(body(&first)["error"]["type"], "overloaded_error");
        let later = prompt("@model say Well\n@model error 529 overloaded_error Overloaded", true);
        assert_eq!((later.status, events(&later).pop()), (200, Some("error")));
    }

    #[test]
    fn faults_stand_where_the_plan_has_them() {
        let stall = prompt("@model say Well\n@model stall 3", true);
        assert_eq!(stall.beats[5], Beat::Pause(Some(Duration::from_secs(3))));
        assert_eq!(events(&stall).pop(), Some("message_stop"));
        let close = prompt("@model say Well\n@model close\n@model say never", true);
        assert_eq!(events(&close)[4..], ["content_block_stop", "BREAK"]);
        let drip = prompt("@model drip 5 one two", true);
        assert_eq!(events(&drip).iter().filter(|event| **event == "PAUSE").count(), 2);
    }

    #[test]
    fn what_is_not_there_and_what_is_not_understood_is_said() {
        let script = Script::empty();
        assert_eq!(answer(&script, "GET", "/v1/files", b"", "7").status, 404);
        assert_eq!(answer(&script, "POST", "/v1/messages", b"{", "7").status, 400);
        let mistake = prompt("@model shout", true);
        assert_eq!(mistake.status, 400);
        assert_eq!(body(&mistake)["error"]["message"], "unknown directive `shout`");
        assert_eq!(answer(&script, "HEAD", "/", b"", "7").status, 200);
    }

    #[test]
    fn a_request_without_tools_gets_a_short_text_whatever_it_says() {
        let request = json!({"messages": [{"role": "user", "content": "@model stall"}]});
        let answer =
            answer(&Script::empty(), "POST", "/v1/messages", request.to_string().as_bytes(), "7");
        assert_eq!(body(&answer)["content"][0]["text"], ASIDE);
    }
}
