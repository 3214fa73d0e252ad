//! Flags that several verbs have.

use std::str::FromStr;

use clap::Args;
use ipsight::config::DeviceChoice;
use ipsight::device::{self, ComputeDevice};
use ipsight::{Error, Event, Result, Scorer, Unseen};

/// The flag that chooses a device.
#[derive(Args)]
pub struct DeviceArg {
    /// Where to compute: auto takes a hardware GPU if there is one, else the CPU [auto, wgpu, ndarray]
    #[arg(long, value_name = "DEVICE", value_parser = parse_choice::<DeviceChoice>, hide_possible_values = true)]
    pub device: Option<DeviceChoice>,
}

impl DeviceArg {
    pub fn choose(&self) -> Result<ComputeDevice> {
        device::choose(self.device.unwrap_or_default())
    }
}

/// The flag that says what becomes of entities that the model was not trained on.
#[derive(Args)]
pub struct UnseenArg {
    /// What to do with an entity that the model was not trained on. A model with a usage history: score by its counts,
    /// which are 0 (the default), or error. A model of the engine alone: flag scores it by its row of the table, which
    /// others may share (the default); prior as the mean of all entities; error refuses it
    #[arg(long, value_name = "CHOICE", value_parser = parse_choice::<Unseen>)]
    pub unseen: Option<Unseen>,
}

impl UnseenArg {
    /// Sets the choice, where one was given.
    pub fn apply(&self, scorer: &mut Scorer) -> Result<()> {
        self.unseen.map_or(Ok(()), |unseen| scorer.set_unseen(unseen))
    }
}

/// Refuses an event, which stands `at` some place, of an entity that the model was not trained on, where that was chosen.
pub fn check_seen(scorer: &Scorer, event: Event, at: impl std::fmt::Display) -> Result<()> {
    let [what, help] = Unseen::REFUSED;
    scorer.first_refused(&[event]).map_or(Ok(()), |_| Err(Error::data(at.to_string(), what, help)))
}

/// The value of a flag that takes one of some names; the error is the help for a value that is none of them.
pub fn parse_choice<T: FromStr<Err = Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|error: Error| error.help().unwrap_or_default())
}

/// A base rate of attacks.
pub fn parse_prior(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(prior) if 0.0 < prior && prior < 1.0 => Ok(prior),
        _ => Err("a number above 0 and below 1".into()),
    }
}
