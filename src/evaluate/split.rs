//! A log that is cut in time: what is before the cut is past, what is behind it is evaluated.

use std::fmt;

use crate::data::rfc3339_utc;
use crate::inference::Scorer;
use crate::{At, Error, Result};

/// Where a log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSplit {
    /// Unix seconds of the first evaluated event: those of earlier seconds are past.
    pub first: i64,
    /// Events before it.
    pub num_past: usize,
    /// Events from it on.
    pub num_evaluated: usize,
}

impl TimeSplit {
    /// Cuts events by their times in Unix seconds, so that a share of them, above 0 and below 1, is past. Events of one
    /// second stay together, as past ones.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where no event is left on one side.
    pub fn new(mut times: Vec<i64>, share: f64) -> Result<Self> {
        times.sort_unstable();
        let mut cut = (share * times.len() as f64) as usize;
        while cut > 0 && cut < times.len() && times[cut] == times[cut - 1] {
            cut += 1;
        }
        let first = times.get(cut).filter(|_| cut > 0);
        let first = *first.ok_or_else(|| {
            let what = format!("of {} events none are on one side of the cut", times.len());
            Error::data(At::option("split"), what, "take another share, or data of more seconds")
        })?;
        Ok(Self { first, num_past: cut, num_evaluated: times.len() - cut })
    }

    /// Why figures are too good: what the model has counted of the evaluated events.
    pub fn leak(&self, scorer: &Scorer) -> Option<String> {
        let (_, last) = scorer.detector()?.history.times()?;
        (last >= self.first).then(|| {
            let (last, first) = (rfc3339_utc(last), rfc3339_utc(self.first));
            format!("the model was trained on events up to {last}: train it on those before {first} alone")
        })
    }
}

impl fmt::Display for TimeSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { num_past, num_evaluated, .. } = self;
        let first = rfc3339_utc(self.first);
        write!(f, "{num_past} events before {first} are past, {num_evaluated} from then on are evaluated")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_two_seconds() {
        let split = |times: &[i64], share| TimeSplit::new(times.to_vec(), share).ok();
        let cut = |first, num_past, num_evaluated| Some(TimeSplit { first, num_past, num_evaluated });
        assert_eq!(split(&[5, 1, 4, 2, 3], 0.8), cut(5, 4, 1));
        assert_eq!(split(&[1, 2, 3, 3, 3, 4], 0.5), cut(4, 5, 1));
        assert_eq!(split(&[-9, 1, 2, 3], 0.25), cut(1, 1, 3));
        assert_eq!(split(&[1, 2, 3, 3], 0.8), None);
        assert_eq!(split(&[1, 2, 3], 0.1), None);
        assert_eq!(split(&[], 0.5), None);
    }
}
