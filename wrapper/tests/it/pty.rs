//! The `pty` protocol: an interactive program on a terminal, told by what stands on its screen.

use serde_json::{Value, json};
use worker_protocol::create::Life;
use worker_protocol::{AgentProtocol, Boot, OutputKind};

use crate::redis_server::{Entry, Redis, pending, until};
use crate::worker::{INPUT, Worker, boot, prepare};

fn terminal(redis: &Redis, script: &str) -> Boot {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, script);
    boot.agent.protocol = AgentProtocol::Pty;
    boot
}

fn start(redis: &Redis, script: &str) -> Worker {
    Worker::start(redis, &terminal(redis, script))
}

fn data(entry: &Entry) -> Value {
    serde_json::from_str(&entry["data"]).unwrap()
}

/// The first screen of which something is so.
fn screen(worker: &mut Worker, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let fitting = |worker: &mut Worker, last: &mut Value| {
        let said = worker.said();
        let screens = said.iter().filter(|e| e["type"] == OutputKind::Stdout.as_str());
        let screens: Vec<_> = screens.map(data).collect();
        *last = screens.last().cloned().unwrap_or_default();
        screens.into_iter().find(|screen| fits(screen))
    };
    let begin = std::time::Instant::now();
    loop {
        if let Some(screen) = fitting(worker, &mut last) {
            return screen;
        }
        assert!(begin.elapsed() < crate::redis_server::DEADLINE, "no screen with {what}: {last}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn shows(worker: &mut Worker, row: &str) -> Value {
    screen(worker, row, |screen| rows(screen).iter().any(|shown| shown == row))
}

fn rows(screen: &Value) -> Vec<String> {
    let rows = screen["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_shell_is_typed_to_and_its_screen_comes_out() {
    let redis = Redis::start();
    let mut worker = start(&redis, "PS1='$ ' exec bash --norc --noprofile -i");
    let turn = worker.send(&["prompt", "tty >/dev/null && echo $((6*7)) on $TERM"]);
    let screen = shows(&mut worker, "42 on xterm-256color");
    assert_eq!((rows(&screen).len(), &screen["size"]), (24, &json!({"rows": 24, "cols": 80})));
    assert_eq!(screen["alternate"], false);
    let end = worker.heard("turn_completed", "");
    assert_eq!((&end["turn"], &data(&end)["outcome"]), (&turn, &json!("success")));
    // Its jobs are its own: control and C reaches what is in the foreground.
    worker.send(&["prompt", "echo begun; sleep 1000; echo code $?"]);
    shows(&mut worker, "begun");
    worker.send(&["type", "interrupt"]);
    worker.send(&["prompt", "echo code $?"]);
    shows(&mut worker, "code 130");
    worker.send(&["prompt", "exit 3"]);
    assert_eq!(worker.code(), 3);
    assert_eq!(worker.said().last().unwrap()["type"], "exit");
}

#[test]
fn keys_go_in_as_they_are() {
    let redis = Redis::start();
    // Up, and an escape, as a program in raw mode reads them.
    let script = "stty raw -echo; echo ready; head -c 4 | od -An -tx1 | tr -d ' \\n'; stty cooked; \
                  exec sleep 1000";
    let mut worker = start(&redis, script);
    shows(&mut worker, "ready");
    worker.send(&["type", "keys", "content", "\u{1b}[A\u{1b}"]);
    screen(&mut worker, "the keys", |s| rows(s).iter().any(|row| row.contains("1b5b411b")));
    until("every acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
}

#[test]
fn a_program_that_draws_the_whole_screen_is_seen_as_it_stands() {
    let redis = Redis::start();
    let script = r"stty -echo; printf 'before'; printf '\033[?1049h\033[2J\033[3;5Htitle\033[24;1H~ status\033[?25l'
        read -r key; printf '\033[3;5H\033[Kchanged\033[10;7H\033[?25h'
        read -r key; printf '\033[?1049l'; exec cat";
    let mut worker = start(&redis, script);
    let drawn = screen(&mut worker, "the first drawing", |s| s["alternate"] == true);
    let drawn_rows = rows(&drawn);
    assert_eq!((drawn_rows[2].as_str(), drawn_rows[23].as_str()), ("    title", "~ status"));
    assert_eq!(drawn["cursor"]["visible"], false);
    worker.send(&["type", "keys", "content", "\r"]);
    let changed = shows(&mut worker, "    changed");
    assert!(!rows(&changed).iter().any(|row| row.contains("title")), "{changed}");
    worker.send(&["type", "keys", "content", "\r"]);
    let back = screen(&mut worker, "the first screen again", |s| {
        s["alternate"] == false && rows(s)[0].starts_with("before")
    });
    assert_eq!(back["cursor"]["visible"], true);
}

#[test]
fn a_program_learns_its_new_size_and_the_screen_is_told_on_request() {
    let redis = Redis::start();
    let mut worker =
        start(&redis, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done");
    shows(&mut worker, "ready");
    worker.send(&["type", "resize", "cols", "132", "rows", "50"]);
    let screen = shows(&mut worker, "50 132");
    assert_eq!(screen["size"], json!({"rows": 50, "cols": 132}));
    assert_eq!(rows(&screen).len(), 50);
    let count = |worker: &mut Worker| {
        worker.said().iter().filter(|entry| entry["type"] == "stdout").count()
    };
    let before = count(&mut worker);
    worker.send(&["type", "resize", "cols", "132", "rows", "50"]);
    until("the same screen again", || (count(&mut worker) > before).then_some(()));
}

#[test]
fn a_flood_is_a_few_screens_and_the_last_one_is_the_final_state() {
    let redis = Redis::start();
    let mut worker = start(&redis, "seq 1 300000; printf 'the end'; exit 0");
    assert_eq!(worker.code(), 0);
    let said = worker.said();
    let screens: Vec<_> = said.iter().filter(|entry| entry["type"] == "stdout").collect();
    let last = rows(&data(screens.last().unwrap()));
    assert_eq!((last[22].as_str(), last[23].as_str()), ("300000", "the end"));
    assert!(screens.len() < 200, "{} screens", screens.len());
}

#[test]
fn wide_characters_take_two_columns_and_halves_are_put_together() {
    let redis = Redis::start();
    let script =
        r"printf '\346\227'; sleep 0.2; printf '\245\346\234\254 e\314\201'; exec sleep 1000";
    let mut worker = start(&redis, script);
    let screen = shows(&mut worker, "日本 e\u{301}");
    assert_eq!(screen["cursor"], json!({"row": 0, "col": 6, "visible": true}));
}

#[test]
fn a_terminal_answers_where_its_cursor_is() {
    let redis = Redis::start();
    let script =
        r"stty raw -echo; printf '\033[5;9H\033[6n'; head -c 6 | tail -c 5; exec sleep 1000";
    let mut worker = start(&redis, script);
    screen(&mut worker, "the answer", |s| rows(s)[4].contains("[5;9R"));
}

#[test]
fn a_shell_at_work_is_ended_in_order_and_headless_ones_with_their_input() {
    let redis = Redis::start();
    let mut worker = start(&redis, "PS1='$ ' exec bash --norc --noprofile -i");
    screen(&mut worker, "its prompt", |s| rows(s)[0].starts_with('$'));
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    let exit = worker.heard("exit", "");
    assert_ne!(data(&exit)["signal"], "SIGKILL", "{exit:?}");

    let redis = Redis::start();
    let mut boot = terminal(&redis, "while read -r line; do echo got $line; done; exit 4");
    boot.life = Life::Headless;
    let mut worker = Worker::start(&redis, &boot);
    worker.send(&["prompt", "task"]);
    assert_eq!(worker.code(), 4);
    shows(&mut worker, "got task");
}
