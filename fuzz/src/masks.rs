//! Secrets in what an agent prints.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use worker_protocol::boot::{BootKeys, Bounds, RedisAccess};
use worker_protocol::create::{Life, Restart};
use worker_protocol::{AgentProtocol, Boot, Output, OutputKind, Secret, Source, WorkerId};
use worker_wrapper::frame::Line;
use worker_wrapper::mask::Masks;

use crate::agents::agent;

const SECRETS: [(&str, &str); 3] = [
    ("API_KEY", "abababab"),
    ("DEPLOY_TOKEN", "-----BEGIN-----\nab\"cdefgh\n"),
    ("DATABASE_URL", "redis://user:passpass@host/0"),
];

static MASKS: LazyLock<Masks> = LazyLock::new(|| {
    let mut agent = agent(AgentProtocol::Lines);
    agent.env = SECRETS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())))
        .collect::<BTreeMap<_, _>>();
    let redis = RedisAccess {
        url: "redis://redis:6379/0".to_owned(),
        username: "worker".to_owned(),
        password: Secret::new("0123456789".to_owned()),
    };
    let key = |name: &str| format!("fuzz:{name}");
    let keys = BootKeys { input: key("input"), output: key("output"), heartbeat: key("heartbeat") };
    Masks::of(&Boot {
        worker_id: WorkerId::from_moment(0, [0; 10]),
        redis,
        keys,
        agent,
        life: Life::Interactive,
        restart: Restart::default(),
        files: Vec::new(),
        policy: None,
        bounds: Bounds::default(),
        operators: Default::default(),
        token: Some(Secret::new("fedcba9876543210")),
    })
});

/// No secret is left in a line or an entry, wherever it stood in it.
pub(crate) fn mask(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut line = Line { full_bytes: text.len() + 1, text: text.clone(), cut: true };
    MASKS.line(&mut line);
    let mut output = Output::new(OutputKind::Stdout, Source::Agent, text.clone());
    output.data = serde_json::from_str(&text).ok();
    output.raw = Some(text);
    MASKS.output(&mut output);
    let data = output.data.map(|data| data.to_string()).unwrap_or_default();
    let raw = output.raw.unwrap_or_default();
    for secret in ["fedcba9876543210", "abababab", "-----BEGIN-----", "passpass", "0123456789"] {
        for text in [&line.text, &output.content, &data, &raw] {
            assert!(!text.contains(secret), "{secret} is left in {text}");
        }
    }
}
