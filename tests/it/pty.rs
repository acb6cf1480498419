//! The `pty` protocol: an interactive program on a terminal.

use worker_tests::harness::Installation;

#[test]
fn a_shell_on_a_terminal_takes_prompts_keys_and_sizes() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("protocol", "pty"),
        ("agent_command", r#"["bash", "--norc", "--noprofile", "-i"]"#),
    ]);
    let shows = |text: &str| {
        worker.says(text, |entry| {
            let rows = entry.data()["rows"].as_array().cloned().unwrap_or_default();
            entry.kind() == "stdout" && rows.iter().any(|row| row == text)
        })
    };
    // The terminal is the agent's, also by its name.
    let turn = worker.prompt("echo by name > $(tty); stty size");
    assert_eq!(worker.turn_end(&turn).data()["outcome"], "success");
    shows("by name");
    shows("24 80");
    worker.input(&[("type", "resize"), ("cols", "100"), ("rows", "30")]);
    worker.input(&[("type", "keys"), ("content", "stty size; id -u; echo -n\r")]);
    let screen = shows("30 100");
    assert_eq!(screen.data()["size"]["cols"], 100);
    shows("1000");
    worker.input(&[("type", "keys"), ("content", "exit 5\r")]);
    assert_eq!(worker.comes_to("exit").data()["code"], 5);
    assert_eq!(worker.becomes("FAILED")["exit_code"], "5");
}
