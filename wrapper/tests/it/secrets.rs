//! Secrets, on their whole way to the stream.

use worker_protocol::Secret;
use worker_protocol::boot::BootFile;

use crate::redis_server::{Redis, entries};
use crate::worker::{OUTPUT, Worker, boot, prepare};

/// All that stands in the stream when an agent with a few secrets has ended.
fn told(script: &str) -> String {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, script);
    let env = &mut boot.agent.env;
    for (name, value) in [
        ("MY_API_KEY", "hunter2hunter2"),
        ("DEPLOY_KEY", "-----BEGIN KEY-----\nMIIEpQIBAAKC\n-----END KEY-----\n"),
        ("SERVICE", "ghp_0123456789abcdefghij"),
        ("DATABASE", "postgres://app:s3cr3tpass@db/x"),
        ("USE_TOKEN", "true"),
    ] {
        env.insert(name.into(), Secret::new(value));
    }
    boot.redis.password = Secret::new("pw");
    boot.agent.mcp_file = Some("/dev/null".into());
    boot.files.push(BootFile {
        path: "/dev/null".into(),
        text: r#"{"mcpServers":{"a":{"headers":{"Authorization":"Bearer token-of-mcp"}}}}"#.into(),
    });
    let mut worker = Worker::start(&redis, &boot);
    assert_eq!(worker.code(), 5);
    format!("{:?}", entries(&mut worker.redis, OUTPUT))
}

#[test]
fn no_form_of_a_secret_is_in_the_stream() {
    let all = told(
        "echo key $MY_API_KEY; echo $MY_API_KEY >&2; printf %s $MY_API_KEY | base64; \
         echo \"$DEPLOY_KEY\"; echo \"[$SERVICE]\" >&2; echo $DATABASE; echo Bearer token-of-mcp; \
         printf hunter2; sleep 0.1; echo hunter2; \
         printf '{\"x\":\"\\\\u0061 %s\"}\\n' $MY_API_KEY; echo it is $USE_TOKEN; exit 5",
    );
    for secret in ["hunter2", "aHVudGVy", "MIIEpQ", "ghp_", "s3cr3t", "token-of-mcp"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    for mark in [
        "key ***MY_API_KEY***",
        "***DEPLOY_KEY***",
        "[***SERVICE***]",
        "postgres://app:***DATABASE***@db/x",
        "Bearer ***Authorization***",
        "it is true",
    ] {
        assert!(all.contains(mark), "{mark}: {all}");
    }
}
