//! The file `thresholds.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::threshold::Threshold;
use super::wanted::ALLOW;
use crate::{Error, Result};

/// The file's name in the model folder.
pub const THRESHOLDS: &str = "thresholds.json";

/// Version of the file's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 1;

const DAMAGED_HELP: &str = "the file is damaged or was edited: delete it, and choose thresholds again with \
                            `ipsight evaluate` and target_fpr, target_tpr or alerts_per_day";

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

    /// Reads the text of a file of these weights. `at` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Data`], as [`Thresholds::load`].
    pub(crate) fn read(at: &str, text: &[u8], weights: &str) -> Result<Self> {
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
                "delete it, and choose thresholds for these weights with `ipsight evaluate` and target_fpr, \
                 target_tpr or alerts_per_day",
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

    /// The file's text: a line for each threshold, and one for the tables, which nobody reads.
    pub(crate) fn text(&self) -> String {
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
    use crate::thresholds::Criterion;
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
}
