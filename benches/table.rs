//! One line a measure: what it is, what came out, over which range, beside which limit, and whether that is the target.

use crate::Res;
use crate::slices::{Series, median, quantile};
use serde::Serialize;
use std::io::Write as _;

/// What is wanted of a figure.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Only to be known.
    None,
}

/// A line of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) samples: usize,
    /// Absolute figures, and what they were measured against.
    pub(crate) beside: String,
    pub(crate) target: Target,
    pub(crate) met: Option<bool>,
}

impl Row {
    pub(crate) fn new(measure: impl Into<String>, unit: &'static str, values: &[f64], target: Target) -> Row {
        let figure = median(values);
        let met = match target {
            Target::AtLeast(wanted) => Some(figure >= wanted),
            Target::AtMost(wanted) => Some(figure <= wanted),
            Target::None => None,
        };
        let (low, high) = (quantile(values, 0.0), quantile(values, 1.0));
        let beside = String::new();
        Row { measure: measure.into(), unit, median: figure, low, high, samples: values.len(), beside, target, met }
    }

    /// A rate as a part of its limit.
    pub(crate) fn ratio(measure: impl Into<String>, series: &Series, limit: &str, target: Target) -> Row {
        let (work, bound) = (median(&series.work), median(&series.limit));
        Row::new(measure, "x", &series.ratios, target).beside(format!(
            "{}/s; {limit} {}/s",
            thousands(work),
            thousands(bound)
        ))
    }

    pub(crate) fn beside(self, beside: impl Into<String>) -> Row {
        Row { beside: beside.into(), ..self }
    }

    pub(crate) fn and(mut self, more: &str) -> Row {
        self.beside += more;
        self
    }

    fn cells(&self) -> [String; 6] {
        let target = match self.target {
            Target::AtLeast(wanted) => format!(">= {wanted}"),
            Target::AtMost(wanted) => format!("<= {wanted}"),
            Target::None => String::new(),
        };
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        [
            self.measure.clone(),
            format!("{} {}", figure(self.median), self.unit),
            format!("{}..{}", figure(self.low), figure(self.high)),
            target,
            verdict.into(),
            self.beside.clone(),
        ]
    }
}

/// Three digits that mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => thousands(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints everything, as a table or as a line of JSON each.
pub(crate) fn print(rows: &[Row], about: &serde_json::Value, json: bool) -> Res<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{about}")?;
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
        return Ok(());
    }
    for (name, value) in about.as_object().into_iter().flatten() {
        writeln!(out, "{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))?;
    }
    let head = ["measure", "median", "range", "target", "", "beside"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    writeln!(out)?;
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text += &format!("{cell:width$}  ");
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
