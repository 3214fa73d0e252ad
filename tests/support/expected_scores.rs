//! Which of two models a server's answer is from.

use std::path::Path;

use serde_json::Value;

use super::ipsight;
use super::server::Client;

/// The two models below the root of a fixture.
pub const MODELS: [&str; 2] = ["run/model", "other/model"];

/// Scores of the same weights differ by rounding only; those of the two models by much more.
const TOLERANCE: f64 = 1e-4;

/// Events, and the scores that `ipsight score` gives them by each model.
pub struct ExpectedScores {
    /// Rows of CSV: the body of a request.
    pub events: String,
    scores: [Vec<f64>; 2],
}

impl ExpectedScores {
    /// Scores the first events of `logins/test.csv`.
    pub fn new(root: &Path, num_events: usize) -> Self {
        let text = std::fs::read_to_string(root.join("logins/test.csv")).unwrap();
        let events: String = text.lines().take(num_events).map(|line| format!("{line}\n")).collect();
        let scores: [Vec<f64>; 2] = MODELS.map(|model| {
            let args = ["score", "--model", model, "--device", "ndarray", "--format", "jsonl"];
            let scored = ipsight(root, &args, events.as_bytes()).expect(0, &[]).json_lines();
            scored.iter().map(|row| row["dot_product"].as_f64().unwrap()).collect()
        });
        let differ = scores[0].iter().zip(&scores[1]).filter(|(a, b)| (*a - *b).abs() > 100.0 * TOLERANCE);
        assert!(differ.count() > num_events / 2, "the models score alike: a mixture would not be seen");
        Self { events, scores }
    }

    /// Asks a path for scores of the events, and returns the position of the model that they are from; an error where
    /// they are from neither, or from both.
    pub fn which(&self, client: &mut Client, path: &str) -> Result<usize, String> {
        let answer = client.post(path, "text/csv", &self.events).map_err(|error| error.to_string())?;
        self.model_of(answer)
    }

    /// As [`ExpectedScores::which`], of a status and a body.
    pub fn model_of(&self, (status, body): (u16, String)) -> Result<usize, String> {
        let document: Value = serde_json::from_str(&body).unwrap_or_default();
        let predictions = document["predictions"].as_array().filter(|_| status == 200);
        let predictions = predictions.ok_or_else(|| format!("{status} {body}"))?;
        let scores: Vec<f64> = predictions.iter().filter_map(|row| row["dot_product"].as_f64()).collect();
        let is = |model: &Vec<f64>| {
            scores.len() == model.len() && scores.iter().zip(model).all(|(a, b)| (a - b).abs() < TOLERANCE)
        };
        self.scores.iter().position(is).ok_or_else(|| format!("scores of no model, or of two: {body}"))
    }
}
