//! What is asked of a threshold.

use serde::{Deserialize, Serialize};

use crate::{At, Error, Result};

/// The decision on an event whose score reaches no threshold.
pub const ALLOW: &str = "allow";

/// The name of a threshold that was given none.
pub const DEFAULT_NAME: &str = "alert";

/// What a threshold is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The lowest threshold that flags at most this share of the ordinary events.
    TargetFpr,
    /// The highest threshold that flags at least this share of the attacks.
    TargetTpr,
    /// The lowest threshold that flags at most so many ordinary events a day.
    AlertsPerDay,
}

impl Criterion {
    /// Its name, as in `thresholds.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TargetFpr => "target_fpr",
            Self::TargetTpr => "target_tpr",
            Self::AlertsPerDay => "alerts_per_day",
        }
    }
}

/// A threshold that is to be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedThreshold {
    /// Its name: of `a-z`, `0-9`, `_` and `-`, and not [`ALLOW`].
    pub name: String,
    /// What it is to keep.
    pub criterion: Criterion,
    /// The rate, 0..=1, or the alerts a day, 0 or more.
    pub target: f64,
}

impl WantedThreshold {
    /// Reads `NAME=TARGET`, or `TARGET` alone for the name [`DEFAULT_NAME`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the name or the target is not one.
    pub fn parse(criterion: Criterion, text: &str) -> Result<Self> {
        let (name, number) = text.split_once('=').unwrap_or((DEFAULT_NAME, text));
        let wrong = |what: String, help: &str| Error::config(At::option(criterion.name()), what, help);
        if name == ALLOW {
            let what = "no threshold can have the name `allow`".into();
            return Err(wrong(what, "it is the decision where no threshold is reached: take another"));
        }
        if !is_name(name) {
            let help = "take letters a-z, digits, _ and -, for example step_up=0.01";
            return Err(wrong(format!("`{name}` is not a name"), help));
        }
        let highest = if criterion == Criterion::AlertsPerDay { f64::MAX } else { 1.0 };
        let target = number.parse().ok().filter(|target| (0.0..=highest).contains(target));
        let help = match criterion {
            Criterion::AlertsPerDay => "give the alerts a day, for example step_up=500",
            _ => "give a share from 0 to 1, for example step_up=0.01",
        };
        let target = target.ok_or_else(|| wrong(format!("`{number}` is not a number in range"), help))?;
        Ok(Self { name: name.into(), criterion, target })
    }

    /// Where errors say that it is: its criterion with `NAME=TARGET`.
    pub fn at(&self) -> At {
        At::option_of(self.criterion.name(), format_args!("{}={}", self.name, self.target))
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !name.is_empty() && name != ALLOW && name.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_targets_are_checked() {
        let parse = |text: &str| WantedThreshold::parse(Criterion::TargetFpr, text);
        let found = parse("step-up_2=0.25").unwrap();
        assert_eq!((found.name.as_str(), found.target), ("step-up_2", 0.25));
        assert_eq!(parse("1e-3").unwrap().name, DEFAULT_NAME);
        for wrong in
            ["allow=0.1", "=0.1", "Step=0.1", "a b=0.1", "\u{e9}=0.1", "a=1.1", "a=-0.1", "a=nan", "a=", ""]
        {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        let alerts = |text: &str| WantedThreshold::parse(Criterion::AlertsPerDay, text);
        assert_eq!(alerts("a=1500").unwrap().target, 1500.0);
        assert!(alerts("a=inf").is_err() && alerts("a=-1").is_err());
    }
}
