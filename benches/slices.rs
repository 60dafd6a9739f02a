//! Slices of work between slices of a limit, so that both are measured on the same machine in the same seconds.
//!
//! **Invariant.** Each slice of work has a slice of the limit before and after it; a ratio is the one over the mean of these
//! two. Figures are medians with their range; a ratio never mixes two runs.

use crate::Res;
use std::time::Duration;

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Slicing {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

/// Something that goes on for about so long and tells how much of it was done a second.
pub(crate) type Slice<'a> = dyn FnMut(Duration) -> Res<f64> + 'a;

/// What the slices of one work came to.
#[derive(Clone, Default)]
pub(crate) struct Series {
    /// Each slice over its neighbours.
    pub(crate) ratios: Vec<f64>,
    /// Done a second.
    pub(crate) work: Vec<f64>,
    /// The limit's rate beside it.
    pub(crate) limit: Vec<f64>,
}

/// limit, work 1, limit, work 2, limit ... for so many rounds, after one that does not count.
pub(crate) fn alternate(slicing: Slicing, limit: &mut Slice<'_>, works: &mut [&mut Slice<'_>]) -> Res<Vec<Series>> {
    let mut series = vec![Series::default(); works.len()];
    let mut before = limit(slicing.slice)?;
    for round in 0..=slicing.rounds {
        for (work, series) in works.iter_mut().zip(&mut series) {
            let done = work(slicing.slice)?;
            let after = limit(slicing.slice)?;
            let beside = f64::midpoint(before, after);
            if round > 0 {
                series.ratios.push(done / beside);
                series.work.push(done);
                series.limit.push(beside);
            }
            before = after;
        }
    }
    Ok(series)
}

/// The value below which `part` of all lie; the median for 0.5.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
