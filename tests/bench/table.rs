//! What is printed: one aligned table for people, one line of JSON for programs. Knows no process.

use serde::Serialize;

use crate::stage::Stage;
use crate::{Failure, measure, say};

/// How Clearspan is held against the pass-through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Compare {
    /// Clearspan ÷ pass-through.
    Ratio,
    /// Clearspan − pass-through.
    Difference,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    /// Pass-through, Clearspan, and who stands beside them.
    pub(crate) values: [Option<f64>; 3],
    pub(crate) compare: Compare,
    /// The comparison, once for each round.
    pub(crate) compared: Vec<f64>,
    /// The same with who stands beside them.
    pub(crate) beside: Vec<f64>,
    /// The comparison's middle should not be above this.
    pub(crate) aim: Option<f64>,
}

impl Row {
    /// From each proxy's values, one for each round.
    pub(crate) fn new(
        measure: String,
        unit: &'static str,
        rounds: &[Vec<f64>; 3],
        compare: Compare,
        aim: Option<f64>,
    ) -> Self {
        let [passthrough, clearspan, beside] = rounds;
        let to = |others: &[f64]| {
            let pairs = others.iter().zip(clearspan);
            let compared = pairs.map(|(other, ours)| match compare {
                Compare::Ratio => ours / other,
                Compare::Difference => ours - other,
            });
            compared.collect()
        };
        let (compared, beside) = (to(passthrough), to(beside));
        let values = rounds.each_ref().map(|values| median(values));
        Self { measure, unit, values, compare, compared, beside, aim }
    }

    fn cells(&self) -> [String; 9] {
        let value = |value: Option<f64>| {
            value.map_or("-".to_owned(), |value| format!("{value:.1} {}", self.unit))
        };
        let compared = |value: f64| match self.compare {
            Compare::Ratio => format!("{value:.2}×"),
            Compare::Difference => format!("{value:+.1} {}", self.unit),
        };
        let middle = median(&self.compared);
        let met =
            middle.zip(self.aim).map(|(middle, aim)| if middle <= aim { "yes" } else { "no" });
        let lowest = self.compared.iter().copied().reduce(f64::min);
        let highest = self.compared.iter().copied().reduce(f64::max);
        let [passthrough, clearspan, beside] = self.values;
        [
            self.measure.clone(),
            value(passthrough),
            value(clearspan),
            value(beside),
            middle.map_or("-".to_owned(), compared),
            lowest.zip(highest).map_or("-".to_owned(), |(low, high)| {
                format!("{} … {}", compared(low), compared(high))
            }),
            self.aim.map_or("-".to_owned(), |aim| format!("≤ {}", compared(aim))),
            met.unwrap_or("-").to_owned(),
            median(&self.beside).map_or("-".to_owned(), compared),
        ]
    }
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Prints everything.
pub(crate) fn print(rows: &[Row], stage: &Stage) -> Result<(), Failure> {
    let beside = if stage.against.is_some() { "other build" } else { "nginx" };
    let to_beside = format!("clearspan to {beside}");
    let head = [
        "measure",
        "pass-through",
        "clearspan",
        beside,
        "clearspan to pass-through",
        "in the rounds",
        "aim",
        "met",
        &to_beside,
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    say(&measure::machine())?;
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widest(&lines, column);
            let space = " ".repeat(width - cell.chars().count());
            let cell = cell.as_str();
            let cell = if column == 0 { [cell, &space] } else { [&space, cell] }.concat();
            text = text + if column == 0 { "" } else { "  " } + &cell;
        }
        say(text.trim_end())?;
    }
    say(&stage.account()?)?;
    for note in &stage.notes {
        say(&format!("note: {note}"))?;
    }
    say(&serde_json::to_string(rows)?)
}

fn widest(lines: &[[String; 9]], column: usize) -> usize {
    let cells = lines.iter().filter_map(|line| line.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
}
