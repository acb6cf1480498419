//! Files: the agent writes where it may, and nowhere that root reads or writes.

use worker_tests::harness::{Installation, Worker};

use super::{assert_held, tries};

#[test]
fn nothing_is_writable_but_workspace_home_and_places_for_everybody() {
    let it = Installation::start();
    let worker = tries(
        &it,
        r#"
        for folder in / /bin /etc /etc/worker /lib /opt /root /run /run/worker /sbin /srv /usr/bin \
            /usr/libexec /usr/local/bin /var /var/lib /var/lib/worker /home; do
          (: >$folder/by-the-agent) 2>/dev/null && echo got $folder
        done
        (: >/usr/libexec/worker-wrapper) 2>/dev/null && echo got wrapper
        mv /usr/libexec /usr/elsewhere 2>/dev/null && echo got rename
        mv /workspace /elsewhere 2>/dev/null && echo got workspace
        cat /var/lib/worker/boot.json >/dev/null 2>&1 && echo got document
        for folder in /tmp /var/tmp /workspace ~ /dev/shm; do
          (: >$folder/by-the-agent) && echo may write $folder
        done
        for folder in /tmp /workspace ~; do
          cp /bin/true $folder/program && $folder/program && echo may run in $folder
        done
        "#,
    );
    let home = "/home/worker";
    let may = ["/tmp", "/var/tmp", "/workspace", home, "/dev/shm"];
    let mut may: Vec<_> = may.iter().map(|folder| format!("may write {folder}")).collect();
    may.extend(["/tmp", "/workspace", home].map(|folder| format!("may run in {folder}")));
    assert_held(&worker, &may.iter().map(String::as_str).collect::<Vec<_>>());
    // Root in the worker has no more of the image, only its own places.
    let root = worker.root(
        "for folder in / /etc /usr/bin /usr/libexec /var/lib; do
           (: >$folder/by-root) 2>/dev/null && echo got $folder
         done; : >/var/lib/worker/by-root && echo may keep",
    );
    assert_eq!(root, "may keep");
}

/// What root wrote in the agent's places, or the agent in root's.
fn misplaced(worker: &Worker<'_>) -> String {
    worker.from_host(
        "cd $WRAPPER/root
         find workspace home tmp -mindepth 1 -user 0
         find var/lib/worker run/worker etc/worker ! -user 0",
    )
}

#[test]
fn links_and_pipes_that_the_agent_leaves_lead_root_nowhere() {
    let it = Installation::start();
    let script = r#"
        set +e
        if [ -e /workspace/been-here ]; then
          cat /etc/worker/AGENTS.md; echo
        else
          touch /workspace/been-here
          cd / && rm -rf ~/.config ~/.profile
          ln -s /var/lib/worker ~/.config
          ln -s /etc/passwd /workspace/AGENTS.md
          ln -s /var/lib/worker/boot.json /tmp/boot.json
          mkfifo /workspace/CLAUDE.md /tmp/gate ~/.profile /workspace/.mcp.json
          ln /etc/worker/AGENTS.md /workspace/hard 2>/dev/null && echo got a hard link
          ln -s /workspace /workspace/loop
          mkdir -p /tmp/worker/spool && ln -s /etc /tmp/worker/spool/output
          rm -rf /var/lib/worker/* /etc/worker/* 2>/dev/null
          ls /var/lib/worker/boot.json /etc/worker/AGENTS.md >/dev/null && echo may look
        fi"#;
    let command = serde_json::json!(["/bin/sh", "-c", format!("{script}\nexec cat")]).to_string();
    let fields = [
        ("agent_type", "CUSTOM"),
        ("agent_command", &*command),
        ("instructions", "as the caller wrote them"),
    ];
    let worker = it.worker(&fields);
    worker.prompt("all tried");
    worker.prints("all tried");
    assert_held(&worker, &["may look"]);
    assert_eq!(misplaced(&worker), "");

    let send = |command: &str| it.command(&[("command", command), ("worker_id", &worker.id)]);
    assert!(send("stop").is_ok());
    worker.becomes("STOPPED");
    assert!(send("start").is_ok());
    worker.prints("as the caller wrote them");
    worker.prompt("still here");
    worker.prints("still here");
    assert_eq!(misplaced(&worker), "");
    assert!(worker.root("cat /etc/passwd").contains("root:"), "nothing was written through a link");
}
