//! Figures, and how they are printed.

use std::fmt;
use std::time::Duration;

/// Times of one thing, measured many times, in the order of measuring.
#[derive(Default)]
pub(crate) struct Series {
    millis: Vec<f64>,
}

impl Series {
    /// Adds one.
    pub(crate) fn push(&mut self, time: Duration) {
        self.millis.push(time.as_secs_f64() * 1000.0);
    }

    fn summary(&self) -> String {
        let edge = |pick: fn(f64, f64) -> f64| self.millis.iter().copied().fold(f64::NAN, pick);
        let (least, most) = (edge(f64::min), edge(f64::max));
        format!("{least:.2} / {:.2} / {most:.2}", median(&self.millis))
    }

    /// What each measurement took more than the one beside it.
    fn more_than(&self, other: &Self) -> Vec<f64> {
        self.millis.iter().zip(&other.millis).map(|(ours, floor)| ours - floor).collect()
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

struct Row {
    what: &'static str,
    floor: Series,
    ours: Series,
    target: f64,
}

/// Floor beside ours, one thing a row. What is added is the median over the pairs, so that a machine
/// that slows down for a while slows both of a pair.
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
        writeln!(f, "| ms: min / median / max | floor | ours | added | ratio | target | pairs |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for Row { what, floor, ours, target } in &self.rows {
            let added = median(&ours.more_than(floor));
            let ratio = median(&ours.millis) / median(&floor.millis);
            let (floors, our, n) = (floor.summary(), ours.summary(), ours.millis.len());
            writeln!(
                f,
                "| {what} | {floors} | {our} | **{added:.2}** | {ratio:.2} | < {target} | {n} |"
            )?;
        }
        Ok(())
    }
}
