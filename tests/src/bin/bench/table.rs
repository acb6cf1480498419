//! Figures, and how they are printed.

use std::fmt;
use std::time::Duration;

/// Times of one thing, measured many times.
#[derive(Default)]
pub(crate) struct Series {
    times: Vec<Duration>,
}

impl Series {
    /// Adds one.
    pub(crate) fn push(&mut self, time: Duration) {
        self.times.push(time);
        self.times.sort();
    }

    fn median(&self) -> f64 {
        let middle = self.times.len() / 2;
        match self.times.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => millis(self.times[middle]),
            _ => f64::midpoint(millis(self.times[middle - 1]), millis(self.times[middle])),
        }
    }

    fn summary(&self) -> String {
        let edge = |time: Option<&Duration>| time.map_or(f64::NAN, |time| millis(*time));
        let (least, most) = (edge(self.times.first()), edge(self.times.last()));
        format!("{least:.2} / {:.2} / {most:.2}", self.median())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

struct Row {
    what: &'static str,
    floor: Series,
    ours: Series,
    target: f64,
}

/// Floor beside ours, one thing a row.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row; `target` is the most milliseconds that ours may take more than the floor.
    pub(crate) fn add(&mut self, what: &'static str, floor: Series, ours: Series, target: f64) {
        self.rows.push(Row { what, floor, ours, target });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what, in ms: min / median / max | floor | ours | added | times | target | n |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for Row { what, floor, ours, target } in &self.rows {
            let added = ours.median() - floor.median();
            let times = ours.median() / floor.median();
            let (floors, our, n) = (floor.summary(), ours.summary(), ours.times.len());
            writeln!(
                f,
                "| {what} | {floors} | {our} | **{added:.2}** | {times:.2} | < {target} | {n} |"
            )?;
        }
        Ok(())
    }
}
