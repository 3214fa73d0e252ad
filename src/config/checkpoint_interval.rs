use std::str::FromStr;

use crate::{Error, Result};

/// How often a training writes a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointInterval {
    /// Never, nor where a signal stops it.
    Off,
    /// After every so many steps, `1..=1_000_000_000`.
    Steps(u64),
    /// After the first step that ends so many minutes after the last one, `1..=10_080`.
    Minutes(u64),
    /// After every so many epochs, their validation included, `1..=1_000_000`; not after the last of the run.
    Epochs(u64),
}

const MAX_STEPS: u64 = 1_000_000_000;

/// A week.
const MAX_MINUTES: u64 = 10_080;

const MAX_EPOCHS: u64 = 1_000_000;

impl FromStr for CheckpointInterval {
    type Err = Error;

    /// Reads `off`, `N steps`, `N minutes` or `N epochs`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |problem: &str, help: String| {
            let what = format!("checkpoint_interval = {text:?} {problem}");
            Err(Error::config("training.checkpoint_interval", what, help))
        };
        if text == "off" {
            return Ok(Self::Off);
        }
        let is_number = |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let Some((count, unit)) = text.split_once(' ').filter(|(count, _)| is_number(count)) else {
            return refuse("is not a valid value", FORMS.into());
        };
        let (interval, max, unit): (fn(u64) -> Self, _, _) = match unit {
            "step" | "steps" => (Self::Steps, MAX_STEPS, "steps"),
            "minute" | "minutes" => (Self::Minutes, MAX_MINUTES, "minutes"),
            "epoch" | "epochs" => (Self::Epochs, MAX_EPOCHS, "epochs"),
            _ => return refuse("is not a valid value", FORMS.into()),
        };
        match count.parse() {
            Ok(count) if (1..=max).contains(&count) => Ok(interval(count)),
            _ => refuse("is out of range", format!("allowed: 1..={max} {unit}")),
        }
    }
}

const FORMS: &str = r#"write "15 minutes", "10000 steps", "1 epochs" or "off""#;
