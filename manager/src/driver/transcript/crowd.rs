//! Whatever happens in a crowd: no more are let in than may be, and none waits while there is room.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;
use crate::world::{Permit, Stage, Worker};

const PLACES: usize = 3;
const STARTS: usize = 2;

/// What happens to the worker of this number, of those that it can happen to.
fn happening(play: &Play, what: u8, number: usize, entry: usize) -> Option<String> {
    let choose = |fits: fn(&Worker) -> bool| {
        let all: Vec<_> = play.world.workers.values().filter(|worker| fits(worker)).collect();
        all.get(number.checked_rem(all.len())?).map(|worker| (named(worker.id), worker.busy))
    };
    let command = |verb: &str, name: String| format!("{entry}-0 {verb} worker_id={name}");
    Some(match what {
        0 | 1 => {
            let (team, restart) = (number % 3, ["never", "on-failure:1"][number % 2]);
            let labels = format!(r#"{{"team":"{team}"}}"#);
            format!(
                "{entry}-0 create agent_type=CUSTOM agent_command=cat labels={labels} \
                 restart={restart}"
            )
        }
        2..=5 => {
            let (name, step) = choose(|worker| worker.busy.is_some())?;
            match step? {
                StepKind::Resolve => format!("resolved {name} present"),
                StepKind::Launch if what == 2 => format!("launched {name} no luck"),
                StepKind::Launch => format!("launched {name} ok"),
                StepKind::Start if what == 2 => format!("started {name} no luck"),
                StepKind::Start => format!("started {name} ok"),
                StepKind::Stop => format!("stopped {name} 0"),
                StepKind::Pause | StepKind::Resume => return None, // Nobody is idle here.
                StepKind::Autopsy => format!("autopsied {name} {}", number % 2),
                StepKind::Remove(_) => format!("removed {name} ok"),
            }
        }
        6 => format!("ended {}", choose(|one| matches!(one.stage, Stage::Running { .. }))?.0),
        7 => command("delete", choose(|_| true)?.0),
        8 => command("stop", choose(|_| true)?.0),
        9 => command("start", choose(|_| true)?.0),
        10 => format!("memory {}", [1, 1000][number % 2]),
        _ => "tick".to_owned(),
    })
}

fn check(world: &World) {
    let count = |fits: &dyn Fn(&Worker) -> bool| {
        world.workers.values().filter(|worker| fits(worker)).count()
    };
    let places = count(&|worker| worker.permit >= Permit::Place);
    let starts = count(&|worker| worker.permit == Permit::Start);
    assert!(places <= PLACES && starts <= STARTS, "{places} places, {starts} starts");
    let waits = |permit| count(&|worker| worker.queued.is_some() && worker.permit == permit);
    let room = world.room();
    assert!(room.places == 0 || waits(Permit::None) == 0, "a place is empty");
    assert!(room.starts == 0 || waits(Permit::Place) == 0, "a start is free");
    let queue: BTreeSet<_> = world.capacity.queued().into_iter().collect();
    let told = world.workers.values().filter(|worker| worker.queued.is_some());
    assert_eq!(queue, told.map(|worker| worker.id).collect());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crowd_fills_the_room_and_not_more(
        steps in prop::collection::vec((0_u8..12, 0_usize..50), 1..90)
    ) {
        let mut play = Play::new();
        let rules = "workers=3 starts=2 fair_by=team min_free_memory=500m queue_timeout=20s";
        play.world.capacity.rules = capacity(rules);
        for (entry, (what, number)) in (1..).zip(steps) {
            play.now = play.now.checked_add(SignedDuration::from_secs(1)).unwrap();
            let Some(line) = happening(&play, what, number, entry) else { continue };
            let Some(event) = play.event(&line) else { continue };
            let _ = handle(&mut play.world, &play.catalogue, event, play.now);
            check(&play.world);
        }
    }
}
