//! `thresholds.json` of a model folder: named thresholds with what is to be expected of them, and the calibration of
//! the scores; and the decisions that follow.
//!
//! It belongs to the weights that it names, holds no clock, and ends with a checksum of all before.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::calibration::Calibration;
use crate::durable::OutputFile;
use crate::{Error, Result};

pub mod calibration;
mod interval;

pub(crate) use interval::{Z, wilson};

/// The file's name in the model folder.
pub const THRESHOLDS: &str = "thresholds.json";

/// Version of the file's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 1;

/// The decision on an event whose score reaches no threshold.
pub const ALLOW: &str = "allow";

/// The name of a threshold that was given none.
pub const DEFAULT_NAME: &str = "alert";

const DAMAGED_HELP: &str = "the file is damaged or was edited: delete it, and make it anew with \
                            `ipsight evaluate` and --target-fpr, --target-tpr or --alerts-per-day";

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
    /// The option of `ipsight evaluate` that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::TargetFpr => "--target-fpr",
            Self::TargetTpr => "--target-tpr",
            Self::AlertsPerDay => "--alerts-per-day",
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
        let wrong = |what: String, help: &str| Error::config(criterion.option(), what, help);
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

    /// As it stands on the command line.
    pub fn option(&self) -> String {
        format!("{} {}={}", self.criterion.option(), self.name, self.target)
    }
}

fn is_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !name.is_empty() && name != ALLOW && name.bytes().all(is_valid)
}

/// A named threshold, and the events that it was chosen on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Threshold {
    /// Its name, which is the decision on events that reach it.
    pub name: String,
    /// The anomaly score from which on it is reached.
    pub value: f32,
    /// What it was to keep.
    pub criterion: Criterion,
    /// The rate or the number that it was to keep.
    pub target: f64,
    /// Attacks.
    pub num_attacks: u64,
    /// Those of them that reach it.
    pub num_flagged_attacks: u64,
    /// Ordinary events.
    pub num_ordinary: u64,
    /// Those of them that reach it.
    pub num_flagged_ordinary: u64,
    /// From the first ordinary event to the last, both included, where times were known.
    pub num_seconds: Option<u64>,
    /// What was an attack there: `labelled`, `added` or `random_ipv4`, as in an evaluation.
    pub attacks: String,
    /// As [`Calibration::data_digest`].
    pub data_digest: String,
}

impl Threshold {
    /// The share of attacks that is to be expected to reach it, and its Wilson interval of 95 %.
    pub fn tpr(&self) -> (f64, [f64; 2]) {
        share(self.num_flagged_attacks, self.num_attacks)
    }

    /// The share of ordinary events that is to be expected to reach it, and its Wilson interval of 95 %.
    pub fn fpr(&self) -> (f64, [f64; 2]) {
        share(self.num_flagged_ordinary, self.num_ordinary)
    }

    /// Ordinary events a day that reach it; attacks are left out, as their number in test data is not that of real
    /// life. `None` without times.
    pub fn alerts_per_day(&self) -> Option<f64> {
        self.num_seconds.map(|seconds| self.num_flagged_ordinary as f64 / (seconds as f64 / 86_400.0))
    }

    fn is_sound(&self) -> bool {
        is_name(&self.name)
            && self.value.is_finite()
            && self.num_attacks > 0
            && self.num_ordinary > 0
            && self.num_flagged_attacks <= self.num_attacks
            && self.num_flagged_ordinary <= self.num_ordinary
            && self.num_seconds != Some(0)
    }
}

fn share(count: u64, total: u64) -> (f64, [f64; 2]) {
    (count as f64 / total as f64, wilson(count, total))
}

/// With the rates beside the counts that they follow from.
impl Serialize for Threshold {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Told<'a> {
            name: &'a str,
            value: f32,
            criterion: Criterion,
            target: f64,
            tpr: f64,
            tpr_ci: [f64; 2],
            fpr: f64,
            fpr_ci: [f64; 2],
            alerts_per_day: Option<f64>,
            num_attacks: u64,
            num_flagged_attacks: u64,
            num_ordinary: u64,
            num_flagged_ordinary: u64,
            num_seconds: Option<u64>,
            attacks: &'a str,
            data_digest: &'a str,
        }
        let ((tpr, tpr_ci), (fpr, fpr_ci)) = (self.tpr(), self.fpr());
        let told = Told {
            name: &self.name,
            value: self.value,
            criterion: self.criterion,
            target: self.target,
            tpr,
            tpr_ci,
            fpr,
            fpr_ci,
            alerts_per_day: self.alerts_per_day(),
            num_attacks: self.num_attacks,
            num_flagged_attacks: self.num_flagged_attacks,
            num_ordinary: self.num_ordinary,
            num_flagged_ordinary: self.num_flagged_ordinary,
            num_seconds: self.num_seconds,
            attacks: &self.attacks,
            data_digest: &self.data_digest,
        };
        told.serialize(serializer)
    }
}

/// What `thresholds.json` holds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Thresholds {
    /// BLAKE3 of the weights that they belong to, in hexadecimal.
    model: String,
    /// The strictest first; equal ones by their names.
    thresholds: Vec<Threshold>,
    calibration: Calibration,
    /// The odds of an attack, as a multiple of those in the events of the calibration.
    #[serde(skip, default = "one")]
    odds_ratio: f64,
}

fn one() -> f64 {
    1.0
}

/// What is said of a scored event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict<'a> {
    /// The share of the calibration's ordinary events that were less anomalous, 0..=1.
    pub percentile: f32,
    /// The calibrated probability of an attack, 0..=1.
    pub probability: f32,
    /// The name of the strictest threshold that is reached, or [`ALLOW`].
    pub decision: &'a str,
}

impl Thresholds {
    /// The thresholds of `known` and `new` together, a new one in the place of a known one of its name, with a new
    /// calibration.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where a score is infinite.
    pub fn updated(
        known: Option<Self>,
        weights: &str,
        new: &[Threshold],
        calibration: Calibration,
    ) -> Result<Self> {
        let mut thresholds = known.map_or(Vec::new(), |known| known.thresholds);
        thresholds.retain(|known| new.iter().all(|new| new.name != known.name));
        thresholds.extend_from_slice(new);
        thresholds.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
        let updated = Self { model: weights.into(), thresholds, calibration, odds_ratio: 1.0 };
        match updated.find_fault() {
            None => Ok(updated),
            Some(fault) => Err(Error::data(
                "scores",
                format!("they give {fault}"),
                "the model is broken: train again with a lower learning_rate",
            )),
        }
    }

    /// Reads the file of a model folder, or nothing where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be read, [`Error::Data`] where it is damaged, of another version, or of other
    /// weights than those that the manifest names, by their digest.
    pub fn load(folder: &Path, weights: &str) -> Result<Option<Self>> {
        let path = folder.join(THRESHOLDS);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let at = path.display().to_string();
        Self::read(&at, &text, weights).map(Some)
    }

    fn read(at: &str, text: &[u8], weights: &str) -> Result<Self> {
        let damaged = |what: String| Error::data(at, what, DAMAGED_HELP);
        let document: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| damaged(format!("not JSON: {error}")))?;
        // The version first: a later layout may not read as this one.
        let version = document.get("format_version").and_then(serde_json::Value::as_u64);
        if let Some(version) = version.filter(|version| *version != u64::from(FORMAT_VERSION)) {
            let help = format!("this ipsight reads version {FORMAT_VERSION}; take the one that wrote it");
            return Err(Error::data(at, format!("format version {version}"), help));
        }
        let body = text.len().checked_sub(seal(b"").len()).map(|len| &text[..len]);
        if version.is_none() || body.is_none_or(|body| !text.ends_with(seal(body).as_bytes())) {
            return Err(damaged("its checksum is wrong".into()));
        }
        let found: Self = serde_json::from_value(document)
            .map_err(|error| damaged(format!("not the thresholds of a model: {error}")))?;
        if found.model != weights {
            return Err(Error::data(
                at,
                "it was made for other weights than those in this folder",
                "delete it, and choose thresholds for these weights with `ipsight evaluate` and --target-fpr, \
                 --target-tpr or --alerts-per-day",
            ));
        }
        match found.find_fault() {
            None => Ok(found),
            Some(fault) => Err(damaged(format!("it holds {fault}"))),
        }
    }

    fn find_fault(&self) -> Option<&'static str> {
        let fault = self.calibration.find_fault();
        fault.or_else(|| match self.thresholds.iter().all(Threshold::is_sound) {
            true if self.thresholds.is_sorted_by(|a, b| a.value >= b.value) => None,
            _ => Some("thresholds that make no sense"),
        })
    }

    /// Writes the file into a model folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where that fails.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(THRESHOLDS);
        let mut file = OutputFile::create(&path)?;
        file.write_all(self.text().as_bytes()).map_err(Error::io("write", &path))?;
        file.commit()
    }

    /// The file's text: a line for each threshold, and one for the tables, which nobody reads.
    fn text(&self) -> String {
        let thresholds: Vec<String> =
            self.thresholds.iter().map(|threshold| format!("    {}", json(threshold))).collect();
        let body = format!(
            "{{\n  \"format_version\": {FORMAT_VERSION},\n  \"model\": {},\n  \"thresholds\": [\n{}\n  ],\n  \
             \"calibration\": {},\n",
            json(&self.model),
            thresholds.join(",\n"),
            json(&self.calibration)
        );
        let seal = seal(body.as_bytes());
        body + &seal
    }

    /// The thresholds, the strictest first.
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    /// What scores mean.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Moves the probabilities to another base rate of attacks than that of the calibration, by Bayes' rule: attacks
    /// and ordinary events are taken to score as they did there.
    pub fn set_attack_prior(&mut self, attack_prior: f64) {
        let odds = |probability: f64| probability / (1.0 - probability);
        self.odds_ratio = odds(attack_prior) / odds(self.calibration.attack_prior());
    }

    /// What is to be said of an event by its anomaly score.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the score is not a number.
    pub fn verdict(&self, anomaly_score: f32) -> Result<Verdict<'_>> {
        if anomaly_score.is_nan() {
            let help = "the model is broken: train again with a lower learning_rate";
            return Err(Error::data("scores", "a score is not a number", help));
        }
        let reached = self.thresholds.iter().find(|threshold| anomaly_score >= threshold.value);
        let probability = self.calibration.probability(anomaly_score);
        let odds = probability * self.odds_ratio;
        Ok(Verdict {
            percentile: self.calibration.percentile(anomaly_score) as f32,
            probability: (odds / (odds + 1.0 - probability)) as f32,
            decision: reached.map_or(ALLOW, |threshold| &threshold.name),
        })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("string keys and finite numbers")
}

/// The end of the file: the checksum of what is before it.
fn seal(body: &[u8]) -> String {
    format!("  \"blake3\": \"{}\"\n}}\n", blake3::hash(body).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thresholds::calibration::CalibrationBuilder;

    fn threshold(name: &str, value: f32) -> Threshold {
        Threshold {
            name: name.into(),
            value,
            criterion: Criterion::TargetFpr,
            target: 0.1,
            num_attacks: 4,
            num_flagged_attacks: 3,
            num_ordinary: 10,
            num_flagged_ordinary: 1,
            num_seconds: Some(43_200),
            attacks: "labelled".into(),
            data_digest: "d".into(),
        }
    }

    fn thresholds(thresholds: Vec<Threshold>) -> Thresholds {
        let mut builder = CalibrationBuilder::new(10);
        for (score, attacks, ordinary) in [(3.5, 3, 1), (1.25, 1, 4), (-2.0, 0, 5)] {
            builder.add(score, attacks, ordinary);
        }
        let calibration = builder.finish("d".into()).unwrap();
        Thresholds { model: "weights".into(), thresholds, calibration, odds_ratio: 1.0 }
    }

    fn sample() -> Thresholds {
        thresholds(vec![threshold("investigate", 3.5), threshold("step_up", 1.1)])
    }

    #[test]
    fn the_decision_is_the_strictest_threshold_that_is_reached() {
        let found = sample();
        let next_below = |value: f32| f32::from_bits(value.to_bits() - 1);
        for (score, decision) in [
            (f32::INFINITY, "investigate"),
            (3.5, "investigate"),
            (next_below(3.5), "step_up"),
            (1.1, "step_up"),
            (next_below(1.1), ALLOW),
            (f32::NEG_INFINITY, ALLOW),
        ] {
            assert_eq!(found.verdict(score).unwrap().decision, decision, "{score}");
        }
        assert_eq!(found.verdict(f32::NAN).unwrap_err().exit_code(), 3);
        let percentiles = [-3.0, -2.0, 1.25, 3.5, 4.0].map(|s| found.verdict(s).unwrap().percentile);
        assert_eq!(percentiles, [0.0, 0.0, 0.5, 0.9, 1.0]);
    }

    /// At 3/5 of one half (with the events more) odds of 3/2 in 4 attacks among 14 events, that is prior odds of
    /// 2/5: a likelihood ratio of 15/4, which at prior odds of 1/99 is odds of 15/396.
    #[test]
    fn another_base_rate_moves_probabilities_by_bayes_rule() {
        let mut found = sample();
        assert_eq!(found.verdict(3.5).unwrap().probability, 0.6);
        found.set_attack_prior(0.01);
        assert!((found.verdict(3.5).unwrap().probability - 15.0 / 411.0).abs() < 1e-7);
        found.set_attack_prior(found.calibration.attack_prior());
        assert_eq!(found.verdict(3.5).unwrap().probability, 0.6);
    }

    #[test]
    fn what_was_written_reads_back_and_nothing_else_does() {
        let written = sample();
        let text = written.text();
        assert_eq!(Thresholds::read("t", text.as_bytes(), "weights").unwrap(), written);
        assert!(text.contains("\"tpr\":0.75,") && text.contains("\"alerts_per_day\":2.0,"), "{text}");
        for len in 0..text.len() {
            let error = Thresholds::read("t", &text.as_bytes()[..len], "weights").unwrap_err();
            assert_eq!(error.exit_code(), 3, "{len} bytes: {error}");
            assert!(error.help().unwrap().contains("delete it"), "{error:?}");
        }
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            let error = Thresholds::read("t", &bytes, "weights").unwrap_err();
            assert_eq!(error.exit_code(), 3, "byte {i}: {error}");
        }
        let other = Thresholds::read("t", text.as_bytes(), "others").unwrap_err();
        assert!(other.to_string().contains("other weights"), "{other}");
        let later = text.replace("\"format_version\": 1", "\"format_version\": 2");
        let later = Thresholds::read("t", later.as_bytes(), "weights").unwrap_err();
        assert!(later.to_string().contains("version 2"), "{later}");
    }

    /// A checksum proves nothing about who wrote it.
    #[test]
    fn tables_that_make_no_sense_are_refused_with_a_good_checksum_too() {
        let read = |found: &Thresholds| Thresholds::read("t", found.text().as_bytes(), "weights");
        assert!(read(&thresholds(vec![])).is_ok());
        let good = threshold("a", 1.0);
        for wrong in [
            vec![threshold("allow", 1.0)],
            vec![threshold("", 1.0)],
            vec![threshold("a", 1.0), threshold("b", 2.0)],
            vec![threshold("a", f32::INFINITY)],
            vec![Threshold { num_flagged_attacks: 5, ..good.clone() }],
            vec![Threshold { num_seconds: Some(0), ..good }],
        ] {
            let wrong = thresholds(wrong);
            assert_eq!(read(&wrong).unwrap_err().exit_code(), 3, "{wrong:?}");
        }
        let text = sample().text();
        for (from, to) in [("[-2.0,", "[5.0,"), ("[3.5,9,10]", "[3.5,9,11]"), ("[-2.0,0,5]", "[-2.0,0,7]")] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from} in {text}");
            let body = &changed[..changed.len() - seal(b"").len()];
            let sealed = format!("{body}{}", seal(body.as_bytes()));
            let error = Thresholds::read("t", sealed.as_bytes(), "weights").unwrap_err();
            assert!(error.to_string().contains("order"), "{from}: {error}");
        }
    }

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
