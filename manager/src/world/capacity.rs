//! How much there may be at once, and who waits for room.
//!
//! ```text
//!   no permit ──► place ──────────────► start ──────────► place, while it runs
//!        │ too many workers   │ too many starts, or the host is full
//!        └── waits            └── waits
//! ```
//!
//! A worker needs a place before anything is done for it, and keeps it until it has ended. To be
//! made or started it needs a start too, and has it until it runs. Where there is no room it waits
//! in one of two queues; who waits for a start is ahead of all who wait for a place. A worker that
//! an earlier manager let run has its place, whatever the limit is now.

use jiff::SignedDuration;
use worker_protocol::{ErrorKind, Problem, WorkerId};

use super::{Queue, StepKind, Worker, World};
use crate::engine::{Disk, Memory};

/// What the operator allows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Workers that run or are made at once; none: any number.
    pub workers: Option<usize>,
    /// Workers that are made or started at once; none: any number.
    pub starts: Option<usize>,
    /// Workers that may wait; none: any number.
    pub queue: Option<usize>,
    /// How long each may wait; none: for ever.
    pub queue_timeout: Option<SignedDuration>,
    /// The label whose values are callers that take turns.
    pub fair_by: Option<String>,
    /// Bytes of disk that must be free for a start.
    pub min_free_disk: Option<u64>,
    /// Bytes of memory that must be available for a start.
    pub min_free_memory: Option<u64>,
}

/// How the host stood when it was last looked at. What cannot be seen is none, and no obstacle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostRoom {
    /// Where images and containers are.
    pub disk: Option<Disk>,
    /// The machine's.
    pub memory: Option<Memory>,
}

/// How far a worker has been let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permit {
    /// Not at all.
    #[default]
    None,
    /// It is one of the workers that there may be.
    Place,
    /// It may be started besides.
    Start,
}

/// What is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// For workers.
    pub places: usize,
    /// For starts.
    pub starts: usize,
}

/// Rules, the host, and those who wait.
#[derive(Debug, Default)]
pub struct Capacity {
    /// What the operator allows.
    pub rules: Rules,
    /// How the host stands.
    pub host: HostRoom,
    for_place: Queue,
    for_start: Queue,
}

impl StepKind {
    /// What a worker needs for this step.
    #[must_use]
    pub fn needs(self) -> Permit {
        match self {
            Self::Resolve => Permit::Place,
            Self::Launch | Self::Start => Permit::Start,
            Self::Stop | Self::Pause | Self::Resume | Self::Autopsy | Self::Remove(_) => {
                Permit::None
            }
        }
    }
}

impl Room {
    /// Lets a worker in as far as there is room, but no further than it needs.
    pub fn let_in(&mut self, mut permit: Permit, needs: Permit) -> Permit {
        if permit == Permit::None && needs > Permit::None && self.places > 0 {
            self.places -= 1;
            permit = Permit::Place;
        }
        if permit == Permit::Place && needs > Permit::Place && self.starts > 0 {
            self.starts -= 1;
            permit = Permit::Start;
        }
        permit
    }
}

impl Capacity {
    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.for_place.len() + self.for_start.len()
    }

    /// All who wait.
    #[must_use]
    pub fn queued(&self) -> Vec<WorkerId> {
        self.for_start.iter().chain(self.for_place.iter()).collect()
    }

    /// How many go before it and it, among those who wait.
    #[must_use]
    pub fn place(&self, id: WorkerId) -> Option<usize> {
        let behind_starts = || Some(self.for_start.len() + self.for_place.place(id)?);
        self.for_start.place(id).or_else(behind_starts)
    }

    /// Puts a worker into the queue for what it lacks.
    pub fn join(&mut self, worker: &Worker) {
        let label = self.rules.fair_by.as_ref().and_then(|name| worker.spec.labels.get(name));
        let caller = label.map_or("", String::as_str);
        match worker.permit {
            Permit::None => self.for_place.join(caller, worker.id),
            Permit::Place | Permit::Start => self.for_start.join(caller, worker.id),
        }
    }

    /// Takes a worker out.
    pub fn leave(&mut self, id: WorkerId) {
        self.for_place.leave(id);
        self.for_start.leave(id);
    }

    /// Takes out who goes next where there is room, with what he then has.
    pub fn next(&mut self, room: Room) -> Option<(WorkerId, Permit)> {
        let first = |queue: &mut Queue, free: usize| (free > 0).then(|| queue.call()).flatten();
        if let Some(id) = first(&mut self.for_start, room.starts) {
            return Some((id, Permit::Start));
        }
        Some((first(&mut self.for_place, room.places)?, Permit::Place))
    }

    /// What the host has too little of for another start.
    fn lack(&self) -> Option<String> {
        let disk = self.host.disk.map(|disk| disk.free);
        let memory = self.host.memory.map(|memory| memory.available);
        let short = |have: Option<u64>, least: Option<u64>, what: &str, key: &str| {
            let (have, least) = (have?, least?);
            (have < least).then(|| {
                let (have, least) = (size(have), size(least));
                format!("the host has {have} of {what}, and a start needs {least} (`{key}`)")
            })
        };
        let rules = &self.rules;
        short(memory, rules.min_free_memory, "available memory", "capacity.min_free_memory")
            .or_else(|| short(disk, rules.min_free_disk, "free disk", "capacity.min_free_disk"))
    }
}

impl World {
    /// What is free. Those who wait come before others.
    #[must_use]
    pub fn room(&self) -> Room {
        let rules = &self.capacity.rules;
        if self.capacity.lack().is_some() {
            return Room::default();
        }
        let left = |most: Option<usize>, permit: Permit| {
            most.map_or(usize::MAX, |most| most.saturating_sub(self.let_in(permit)))
        };
        Room {
            places: left(rules.workers, Permit::Place),
            starts: left(rules.starts, Permit::Start),
        }
    }

    /// What is free for somebody who comes now.
    #[must_use]
    pub fn room_for_another(&self) -> Room {
        let Room { places, starts } = self.room();
        let unless = |queue: &Queue, free| if queue.is_empty() { free } else { 0 };
        Room {
            places: unless(&self.capacity.for_place, places),
            starts: unless(&self.capacity.for_start, starts),
        }
    }

    /// Why nobody can come now, not even to wait.
    #[must_use]
    pub fn is_full(&self) -> Option<Problem> {
        let waiting = self.capacity.waiting();
        let most = self.capacity.rules.queue.filter(|most| waiting >= *most)?;
        let room = self.room_for_another();
        (room.places == 0 || room.starts == 0).then(|| {
            let why = self.obstacle(Permit::None).unwrap_or_default();
            let queue = format!("{waiting} of {most} who may wait do (`capacity.queue`)");
            let message = format!("{why}; {queue}: send it later, as another request");
            Problem::new(ErrorKind::Exhausted, message)
        })
    }

    /// What stands in the way of a worker that has been let in so far, for people.
    #[must_use]
    pub fn obstacle(&self, permit: Permit) -> Option<String> {
        let rules = &self.capacity.rules;
        let taken = |most: Option<usize>, least: Permit, what: &str| {
            let (most, taken) = (most?, self.let_in(least));
            (taken >= most).then(|| format!("{taken} of {most} {what}"))
        };
        let places = || {
            let what = "places for workers are taken (`capacity.workers`)";
            taken(rules.workers, Permit::Place, what)
        };
        let starts = || {
            let what = "starts are under way (`capacity.starts`)";
            taken(rules.starts, Permit::Start, what)
        };
        let places = (permit == Permit::None).then(places).flatten();
        self.capacity.lack().or(places).or_else(starts)
    }

    fn let_in(&self, permit: Permit) -> usize {
        self.workers.values().filter(|worker| worker.permit >= permit).count()
    }
}

/// In the notation of the configuration.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{}k", bytes >> 10),
        megabytes @ 1..1024 => format!("{megabytes}m"),
        megabytes => format!("{}.{}g", megabytes >> 10, ((megabytes % 1024) * 10) >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_they_are_configured() {
        for (bytes, told) in
            [(5 << 10, "5k"), (300 << 20, "300m"), (1 << 30, "1.0g"), (9_u64 << 29, "4.5g")]
        {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn who_needs_a_start_needs_a_place_first() {
        let mut room = Room { places: 1, starts: 0 };
        assert_eq!(room.let_in(Permit::None, Permit::Start), Permit::Place);
        assert_eq!(room.let_in(Permit::None, Permit::Place), Permit::None);
        assert_eq!(room.let_in(Permit::None, Permit::None), Permit::None);
        let mut room = Room { places: 0, starts: 1 };
        assert_eq!(room.let_in(Permit::None, Permit::Start), Permit::None);
        assert_eq!(room.let_in(Permit::Place, Permit::Start), Permit::Start);
        assert_eq!(room, Room::default());
    }
}
