//! How events are written in a transcript, and how effects are shown in it.

use super::*;

/// What instances and records hold of the wish.
pub(super) fn spec() -> Create {
    let create = [("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", "cat")]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    match parse_command("0-0", &create, &keys()).1 {
        Ok(Command::Create(spec)) => *spec,
        other => panic!("no create: {other:?}"),
    }
}

/// `w4:user,w5:key,w6:volume,odd:unreadable`, with a grace of ten minutes.
pub(super) fn survey(list: &str) -> Survey {
    let mut survey = Survey { grace: std::time::Duration::from_secs(600), ..Survey::default() };
    for (name, what) in list.split(',').filter_map(|item| item.split_once(':')) {
        let left = match what {
            "unreadable" => {
                survey.unreadable.push(InstanceName(name.to_owned()));
                continue;
            }
            "user" => Left::User,
            "key" => Left::Key(format!("worker:{name}:input")),
            _ => Left::OnHost(what.to_owned()),
        };
        survey.belongings.entry(worker(name)).or_default().insert(left);
    }
    survey
}

/// `runs`, `gone`, or an exit code, with `oom` or the limit that was reached.
pub(super) fn autopsy(what: &str) -> Option<Autopsy> {
    let limit = what.split(' ').nth(1);
    let exit = serde_json::json!({"limit": {"name": limit}});
    let evidence = |exit_code: Option<i64>| Evidence {
        exit_code,
        oom_killed: what.ends_with("oom"),
        limit: LimitName::of_exit(&exit),
        result: Some("the final text".to_owned()),
        ..Evidence::default()
    };
    let code = what.split(' ').next().and_then(|code| code.parse().ok());
    match what {
        "runs" => None,
        "gone" => Some(Autopsy::Gone(evidence(None))),
        _ => Some(Autopsy::Ended(evidence(code))),
    }
}

/// `workers=2 queue_timeout=60s`, as in the table of the configuration.
pub(super) fn capacity(rules: &str) -> Rules {
    let line = |word: &str| match word.split_once('=') {
        Some((name, value)) if value.parse::<u64>().is_ok() => format!("{name} = {value}"),
        Some((name, value)) => format!("{name} = \"{value}\""),
        None => panic!("no rule: {word}"),
    };
    let lines: Vec<_> = rules.split(' ').map(line).collect();
    toml::from_str::<RawCapacity>(&lines.join("\n")).unwrap().check().unwrap()
}

pub(super) fn keys() -> Keys {
    Keys::new("worker").unwrap()
}

/// What Redis remembers, of instances given as `worker:state:STATUS` or `worker:state:STATUS:intent:reason`.
pub(super) fn records(list: &str) -> Vec<RememberedWorker> {
    let one = |item: &str| {
        let mut words = item.split(':');
        let id = worker(words.next()?);
        words.next()?;
        let fields = ["status", "intent", "reason"].into_iter().zip(words);
        let mut fields: BTreeMap<_, _> =
            fields.map(|(name, word)| (name.to_owned(), word.to_owned())).collect();
        if fields.is_empty() {
            return None;
        }
        fields.insert("request_id".to_owned(), format!("r-{}", item.split(':').next()?));
        fields.insert("spec".to_owned(), crate::label::spec_text(&spec()));
        Some(RememberedWorker { id, fields })
    };
    list.split(',').filter_map(one).collect()
}

/// `w1` is the worker of the first id, and so on.
pub(super) fn worker(name: &str) -> WorkerId {
    WorkerId::from_moment(name.trim_start_matches('w').parse().unwrap(), [0; 10])
}

pub(super) fn named(id: WorkerId) -> String {
    let known = (0..100).find(|n| worker(&format!("w{n}")) == id);
    known.map_or_else(|| id.to_string(), |n| format!("w{n}"))
}

/// `7-0 create worker_id=w1 agent_type=CUSTOM prior=replied record=STOPPED:r1`
pub(super) fn arrival(entry: &str, fields: &str) -> Arrival {
    let mut words = fields.split(' ');
    let mut pairs = vec![("command".to_owned(), words.next().unwrap().as_bytes().to_vec())];
    let mut prior = Prior::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        match name {
            "prior" => prior.same_entry = value == "replied",
            "record" => {
                let (status, request) = value.split_once(':').unwrap();
                let status = worker_protocol::Status::from_wire(status).unwrap();
                prior.record =
                    Some(PriorRecord { status, request_id: request.to_owned(), caller: None });
            }
            "worker_id" if value.starts_with('w') => {
                pairs.push((name.to_owned(), worker(value).to_string().into_bytes()));
            }
            _ => pairs.push((name.to_owned(), value.as_bytes().to_vec())),
        }
    }
    let (header, command) = parse_command(entry, &pairs, &keys());
    if prior.same_entry {
        prior.reply = Some(Reply::ok(&header, Timestamp::UNIX_EPOCH, serde_json::Map::new()));
    }
    let by_entry = || worker(entry.split('-').next().unwrap());
    let worker_id = match &command {
        Ok(Command::Create(create)) => Some(create.worker_id.unwrap_or_else(by_entry)),
        other => other.as_ref().ok().and_then(Command::worker_id),
    };
    Arrival { header, command, worker_id, prior, unproven: None }
}

pub(super) fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Step(id, order) => {
            let kind = match order {
                Order::Resolve(_) => StepKind::Resolve,
                Order::Launch(_) => StepKind::Launch,
                Order::Start(_) => StepKind::Start,
                Order::Stop => StepKind::Stop,
                Order::Pause => StepKind::Pause,
                Order::Resume => StepKind::Resume,
                Order::Autopsy => StepKind::Autopsy,
                Order::Remove(force) => StepKind::Remove(*force),
            };
            let word = match kind {
                StepKind::Resolve => "resolve",
                StepKind::Launch => "launch",
                StepKind::Start => "start",
                StepKind::Stop => "stop",
                StepKind::Pause => "pause",
                StepKind::Resume => "resume",
                StepKind::Autopsy => "autopsy",
                StepKind::Remove(Force::No) => "remove",
                StepKind::Remove(Force::Yes) => "remove by force",
            };
            format!("step {} {word}", named(*id))
        }
        Effect::Build(job) => format!("build {}", job.wish),
        Effect::TakeInventory(cause) => format!("take inventory for {}", cause.as_str()),
        Effect::RemoveImage(..) => "remove the image".to_owned(),
        Effect::PruneCache(_) => "remove what builds left".to_owned(),
        Effect::Admit(id) => format!("admit {} to redis", named(*id)),
        Effect::Clear(id) => format!("clear what is left of {}", named(*id)),
        Effect::Hurry(id) => format!("end {} at once", named(*id)),
        Effect::Mind(id, after) => format!("mind the input of {} after {after}", named(*id)),
        Effect::Unmind(id) => format!("mind the input of {} no more", named(*id)),
        Effect::Look => "look".to_owned(),
        Effect::EndBuild(_) => "end the build".to_owned(),
        Effect::TellWhen(at, id) => format!("tell {} at {at}", named(*id)),
        Effect::Write(write) => shown_write(write),
    }
}

pub(super) fn shown_write(write: &Write) -> String {
    let text = |map: &serde_json::Map<String, serde_json::Value>, names: &[&str]| {
        let words = names.iter().filter_map(|name| Some(map.get(*name)?.as_str()?.to_owned()));
        words.collect::<Vec<_>>().join(" ").replace('\n', "\\n")
    };
    match write {
        Write::Record(id, fields) => {
            format!("record {} {}", named(*id), text(fields, &["status", "reason"]))
        }
        Write::Farewell(id) => format!("farewell {}", named(*id)),
        Write::Event(fields) => {
            let words = text(fields, &["type", "status", "holds", "reason", "error", "line"]);
            let numbers = ["removed", "kept", "not_removed", "cache_bytes"].into_iter();
            let numbers = numbers.filter_map(|name| Some(format!(" {name}={}", fields.get(name)?)));
            format!("event {words}{}", numbers.collect::<String>())
        }
        Write::Reply(header, reply, settled) => {
            let all: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&reply.to_json()).unwrap();
            let word = |name: &str| match all.get(name) {
                Some(serde_json::Value::String(text)) => Some(text.replace('\n', "\\n")),
                Some(other) => Some(format!("{name}={other}")),
                None => None,
            };
            let names = [
                "status",
                "queue_place",
                "already",
                "error",
                "message",
                "result",
                "removed",
                "kept",
                "images",
            ];
            let words: Vec<_> = names.iter().filter_map(|name| word(name)).collect();
            let ok = if reply.is_ok() { "ok" } else { "failed" };
            let later = if *settled == Settled::Later { ", acknowledged later" } else { "" };
            format!("reply to {}: {ok} {}{later}", header.entry_id, words.join(" "))
        }
        Write::Tell(header, id, more) => {
            let more = ["queue_place", "message"].into_iter().filter_map(|name| more.get(name));
            let more: String = more.map(|value| format!(", {value}")).collect();
            format!("reply to {} with the record of {}{more}", header.entry_id, named(*id))
        }
        Write::Dead(header, _) => format!("dead {}", header.entry_id),
        Write::Acknowledge(entry) => format!("acknowledge {entry}"),
        Write::OverDisk(id, limit) => format!("end {} over its disk of {limit}", named(*id)),
        Write::Interrupt(_, id) => format!("interrupt the turn of {}", named(*id)),
        Write::FirstPrompt(_, id, _) => format!("first prompt of {}", named(*id)),
        Write::Touch(_) => "touch the image".to_owned(),
        Write::Image(..) => "note the image".to_owned(),
        Write::ForgetImage(_) => "forget the image".to_owned(),
    }
}
