//! A log that is cut in time: what is before the cut is past, what is behind it is evaluated.

use std::fmt;

use serde::Serialize;

use crate::data::rfc3339_utc;
use crate::inference::Scorer;
use crate::{At, Error, Result};

/// Where a log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimeSplit {
    /// Unix seconds of the first evaluated event: those of earlier seconds are past.
    pub first: i64,
    /// Unix seconds before which the evaluated events lie; none where all later ones are evaluated.
    pub end: Option<i64>,
    /// Events before it.
    pub num_past: usize,
    /// Events from it on, up to the end.
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
        Ok(Self { first, end: None, num_past: cut, num_evaluated: times.len() - cut })
    }

    /// Cuts events by their times in Unix seconds into `num_folds + 1` parts of about as many events: in each fold one
    /// part is evaluated and all parts before it are past (scikit-learn's `TimeSeriesSplit`). Events of one second stay
    /// together.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where a part has no event.
    pub fn folds(mut times: Vec<i64>, num_folds: usize) -> Result<Vec<Self>> {
        times.sort_unstable();
        // Events before a part: no second is in two.
        let cut_before = |part: usize| {
            let second = times.get(part * times.len() / (num_folds + 1)).copied();
            second.map_or(times.len(), |second| times.partition_point(|time| *time < second))
        };
        let cuts: Vec<usize> = (1..=num_folds + 1).map(cut_before).collect();
        if cuts[0] == 0 || cuts.windows(2).any(|pair| pair[0] == pair[1]) {
            let what =
                format!("{} events are too few, or of too few seconds, for {num_folds} folds", times.len());
            return Err(Error::data(At::option("folds"), what, "take fewer folds, or more data"));
        }
        let fold = |pair: &[usize]| {
            let (cut, end) = (pair[0], pair[1]);
            Self { first: times[cut], end: times.get(end).copied(), num_past: cut, num_evaluated: end - cut }
        };
        Ok(cuts.windows(2).map(fold).collect())
    }

    /// Whether an event of this second is evaluated.
    pub fn evaluates(&self, seconds: i64) -> bool {
        self.first <= seconds && self.end.is_none_or(|end| seconds < end)
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
        let end = self.end.map_or("on".into(), |end| format!("to {}", rfc3339_utc(end)));
        write!(f, "{num_past} events before {first} are past, {num_evaluated} from then {end} are evaluated")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_two_seconds() {
        let split = |times: &[i64], share| TimeSplit::new(times.to_vec(), share).ok();
        let cut =
            |first, num_past, num_evaluated| Some(TimeSplit { first, end: None, num_past, num_evaluated });
        assert_eq!(split(&[5, 1, 4, 2, 3], 0.8), cut(5, 4, 1));
        assert_eq!(split(&[1, 2, 3, 3, 3, 4], 0.5), cut(4, 5, 1));
        assert_eq!(split(&[-9, 1, 2, 3], 0.25), cut(1, 1, 3));
        assert_eq!(split(&[1, 2, 3, 3], 0.8), None);
        assert_eq!(split(&[1, 2, 3], 0.1), None);
        assert_eq!(split(&[], 0.5), None);
    }

    #[test]
    fn folds_follow_each_other() {
        let folds = |times: &[i64], num_folds| TimeSplit::folds(times.to_vec(), num_folds).ok();
        let fold = |first, end, num_past, num_evaluated| TimeSplit { first, end, num_past, num_evaluated };
        let found = folds(&[6, 1, 2, 5, 3, 4], 2).unwrap();
        assert_eq!(found, [fold(3, Some(5), 2, 2), fold(5, None, 4, 2)]);
        // A second that would be cut belongs to the later part.
        let found = folds(&[1, 2, 2, 2, 3, 4], 2).unwrap();
        assert_eq!(found, [fold(2, Some(3), 1, 3), fold(3, None, 4, 2)]);
        assert!(
            found[0].evaluates(2)
                && !found[0].evaluates(1)
                && !found[0].evaluates(3)
                && found[1].evaluates(9)
        );
        for (times, num_folds) in [(&[1, 1, 1, 1][..], 1), (&[1, 2], 2), (&[1, 2, 2, 2, 2, 2], 2), (&[], 1)] {
            assert_eq!(folds(times, num_folds), None, "{times:?}");
        }
    }
}
