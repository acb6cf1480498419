//! Who goes next, when there is not room for all.
//!
//! Each caller has a line. The callers take turns, one worker each; within a line, who came first
//! goes first. So nobody waits for more than one worker of each other caller before each of his own.

use std::collections::VecDeque;
use worker_protocol::WorkerId;

/// Workers that wait.
#[derive(Debug, Default)]
pub struct Queue {
    /// In the order of their turns. None is empty.
    lines: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    caller: String,
    workers: VecDeque<WorkerId>,
}

impl Queue {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.iter().map(|line| line.workers.len()).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Joins the end of a caller's line; who stands there already stays where he is. A caller who
    /// had no line gets the last turn.
    pub fn join(&mut self, caller: &str, id: WorkerId) {
        match self.lines.iter_mut().find(|line| line.caller == caller) {
            Some(line) if line.workers.contains(&id) => {}
            Some(line) => line.workers.push_back(id),
            None => {
                self.lines.push_back(Line { caller: caller.to_owned(), workers: [id].into() });
            }
        }
    }

    /// Leaves, wherever he stands.
    pub fn leave(&mut self, id: WorkerId) {
        for line in &mut self.lines {
            line.workers.retain(|other| *other != id);
        }
        self.lines.retain(|line| !line.workers.is_empty());
    }

    /// Takes out who goes next, and gives his caller the last turn.
    pub fn call(&mut self) -> Option<WorkerId> {
        let mut line = self.lines.pop_front()?;
        let id = line.workers.pop_front();
        if !line.workers.is_empty() {
            self.lines.push_back(line);
        }
        id
    }

    /// How many go before him and he: 1 is next. None, when he does not wait.
    #[must_use]
    pub fn place(&self, id: WorkerId) -> Option<usize> {
        let stands = |line: &Line| line.workers.iter().position(|other| *other == id);
        let (turn, before) =
            self.lines.iter().enumerate().find_map(|(turn, line)| Some((turn, stands(line)?)))?;
        // Callers whose turn comes earlier let one more go than those whose turn comes later.
        let go_before = |(other, line): (usize, &Line)| {
            line.workers.len().min(before + usize::from(other < turn))
        };
        Some(1 + self.lines.iter().enumerate().map(go_before).sum::<usize>())
    }

    /// All who wait, line by line.
    pub fn iter(&self) -> impl Iterator<Item = WorkerId> {
        self.lines.iter().flat_map(|line| line.workers.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn worker(number: u64) -> WorkerId {
        WorkerId::from_moment(number, [0; 10])
    }

    fn queue(callers: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (number, caller) in (1..).zip(callers) {
            queue.join(caller, worker(number));
        }
        queue
    }

    fn order(mut queue: Queue) -> Vec<WorkerId> {
        std::iter::from_fn(|| queue.call()).collect()
    }

    #[test]
    fn callers_take_turns() {
        let numbers = [1, 4, 2, 5, 3].map(worker);
        assert_eq!(order(queue(&["a", "a", "a", "b", "b"])), numbers);
    }

    #[test]
    fn who_joins_twice_stands_once_and_who_leaves_is_not_called() {
        let mut queue = queue(&["a", "a", "b"]);
        queue.join("a", worker(1));
        queue.leave(worker(2));
        assert_eq!((queue.len(), queue.place(worker(2))), (2, None));
        assert_eq!(order(queue), [1, 3].map(worker));
    }

    #[test]
    fn a_caller_who_comes_again_and_again_does_not_keep_another_from_his_turn() {
        let mut queue = queue(&["a", "a", "a"]);
        let mut went = Vec::new();
        for number in 10..13 {
            queue.join("b", worker(number));
            went.extend([queue.call(), queue.call()].into_iter().flatten());
        }
        assert_eq!(went, [1, 10, 2, 11, 3, 12].map(worker));
    }

    proptest! {
        /// Whatever joins, leaves and goes: each place is the true one, each caller's own order is
        /// kept, and who waits goes at the latest after one of each other caller for each turn of
        /// his own.
        #[test]
        fn places_are_true_and_nobody_starves(
            steps in prop::collection::vec((0_u8..5, 0_u8..4), 1..60)
        ) {
            let mut queue = Queue::default();
            let mut joined = 0;
            for (what, caller) in steps {
                match what {
                    0 => drop(queue.call()),
                    1 => queue.leave(worker(joined / 2)),
                    _ => {
                        joined += 1;
                        queue.join(&caller.to_string(), worker(joined));
                    }
                }
            }
            let callers = queue.lines.len();
            let told: Vec<_> = queue.iter().map(|id| (id, queue.place(id))).collect();
            let lines: Vec<Vec<_>> =
                queue.lines.iter().map(|line| line.workers.iter().copied().collect()).collect();
            let went = order(queue);
            for (id, place) in told {
                prop_assert_eq!(place, went.iter().position(|other| *other == id).map(|at| at + 1));
            }
            for line in lines {
                let own: Vec<_> = went.iter().filter(|id| line.contains(id)).copied().collect();
                prop_assert_eq!(&own, &line);
                for (before, id) in line.iter().enumerate() {
                    let at = went.iter().position(|other| other == id).unwrap_or(usize::MAX);
                    prop_assert!(at < (before + 1) * callers);
                }
            }
        }
    }
}
