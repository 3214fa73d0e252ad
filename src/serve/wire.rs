//! SageMaker's formats of requests and responses, and no other file knows them.
//!
//! Source: [IP Insights inference data formats](https://docs.aws.amazon.com/sagemaker/latest/dg/ip-insights-inference-data-formats.html).
//! Nothing is refused for its `Content-Type` or `Accept`: SDKs send none, and curl sends one that is wrong.

use axum::http::HeaderValue;

use super::json_records::{Form, event_of_line, events_of_json};
use super::reading::Reading;
use super::refusal::Refusal;
use crate::Event;
use crate::data::events_of_csv;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const JSON_LINES: HeaderValue = HeaderValue::from_static("application/jsonlines");
pub const CSV: HeaderValue = HeaderValue::from_static("text/csv");

/// How the records of a request are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFormat {
    Csv,
    Json,
    JsonLines,
}

impl RequestFormat {
    /// The format that `Content-Type` names, in any case and with any parameters; else what the body looks like.
    pub fn of(content_type: Option<&HeaderValue>, body: &[u8]) -> Self {
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/csv" => Self::Csv,
            "application/json" => Self::Json,
            "application/jsonlines" | "application/x-jsonlines" | "application/jsonl" => Self::JsonLines,
            _ => Self::guess(body),
        }
    }

    fn guess(body: &[u8]) -> Self {
        let body = body.trim_ascii_start();
        if !body.starts_with(b"{") {
            return Self::Csv;
        }
        match body[1..].trim_ascii_start().starts_with(b"\"instances\"") {
            true => Self::Json,
            false => Self::JsonLines,
        }
    }
}

/// How the scores of a response are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    /// One document.
    Json,
    /// One object a line.
    JsonLines,
    /// A score a line, which a batch transform can join to its input's lines; the reference has no such response.
    Csv,
}

/// What a client wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub format: ResponseFormat,
    /// The embeddings too.
    pub is_verbose: bool,
}

impl Accept {
    /// What `Accept` asks for: the first type of its list that there is. Without one JSON Lines are answered with
    /// JSON Lines, and all else with JSON.
    pub fn of(accept: Option<&HeaderValue>, request: RequestFormat) -> Self {
        let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = accept.split(',').find_map(|part| {
            let mut parts = part.split(';').map(|part| part.trim().to_ascii_lowercase());
            let format = match parts.next()?.as_str() {
                "application/json" => ResponseFormat::Json,
                "application/jsonlines" | "application/x-jsonlines" | "application/jsonl" => {
                    ResponseFormat::JsonLines
                }
                "text/csv" => ResponseFormat::Csv,
                _ => return None,
            };
            let is_verbose = parts.any(|part| {
                part.split_once('=')
                    .is_some_and(|(key, value)| (key.trim(), value.trim()) == ("verbose", "true"))
            });
            Some(Self { format, is_verbose })
        });
        let format = match request {
            RequestFormat::JsonLines => ResponseFormat::JsonLines,
            RequestFormat::Csv | RequestFormat::Json => ResponseFormat::Json,
        };
        known.unwrap_or(Self { format, is_verbose: false })
    }

    /// The type of the response.
    pub fn content_type(self) -> HeaderValue {
        match self.format {
            ResponseFormat::Json => JSON,
            ResponseFormat::JsonLines => JSON_LINES,
            ResponseFormat::Csv => CSV,
        }
    }
}

/// The events of a request.
///
/// # Errors
///
/// 400 that names the first record that is no event, 413 where there are too many.
pub fn parse(body: &[u8], format: RequestFormat, reading: &Reading<'_>) -> Result<Vec<Event>, Refusal> {
    let events = match format {
        RequestFormat::Csv => events_of_csv(body, reading.addresses)
            .map_err(|(index, reason)| Refusal::bad_record(index, reason.name(), reason.help()))?,
        RequestFormat::Json => events_of_json(body, Form::SageMaker, reading)?,
        RequestFormat::JsonLines => events_of_lines(body, reading)?,
    };
    if events.is_empty() && format != RequestFormat::Json {
        return Err(Refusal::invalid("the body holds no record: send entity,address, one a line"));
    }
    if events.len() > reading.limits.max_records {
        return Err(reading.too_many_records());
    }
    Ok(events)
}

/// The documentation's sample of JSON Lines ends its lines with what belongs to a list, `,` and `]`.
fn events_of_lines(body: &[u8], reading: &Reading<'_>) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let end = line.iter().rposition(|byte| !matches!(byte, b',' | b']' | b' ' | b'\t'));
        let Some(end) = end else { continue };
        // A closing bracket may belong to the object's own list only inside of its last brace.
        let object = if line[end] == b'}' { &line[..=end] } else { line };
        events.push(event_of_line(object, events.len(), reading)?);
    }
    Ok(events)
}

/// What a record takes until its response is written, about: the event, its score and their JSON.
pub const RECORD_BYTES: usize = 60;

/// The vectors of a verbose response, row after row.
pub struct Vectors {
    pub vector_dim: usize,
    /// `[n, vector_dim]`
    pub ip: Vec<f32>,
    /// `[n, vector_dim]`
    pub entity: Vec<f32>,
}

impl Vectors {
    /// Those of a record: the address's, and the entity's.
    fn row(&self, index: usize) -> (&[f32], &[f32]) {
        let row = index * self.vector_dim..(index + 1) * self.vector_dim;
        (&self.ip[row.clone()], &self.entity[row])
    }

    /// Bytes that the vectors of a response may take as JSON, about: a float has 8 to 16, a comma included.
    pub fn bytes_of(num_records: usize, vector_dim: usize) -> usize {
        num_records.saturating_mul(2 * 14 * vector_dim)
    }
}

/// A response of scores, and of vectors where there are some.
pub fn write(scores: &[f32], vectors: Option<&Vectors>, accept: Accept) -> Vec<u8> {
    let record_bytes = 32 + vectors.map_or(0, |vectors| Vectors::bytes_of(1, vectors.vector_dim));
    let mut out = Vec::with_capacity(32 + scores.len() * record_bytes);
    match accept.format {
        ResponseFormat::Json => {
            out.extend_from_slice(b"{\"predictions\":[");
            for (i, score) in scores.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                push_object(&mut out, *score, vectors.map(|vectors| vectors.row(i)));
            }
            out.extend_from_slice(b"]}");
        }
        ResponseFormat::JsonLines => {
            for (i, score) in scores.iter().enumerate() {
                push_object(&mut out, *score, vectors.map(|vectors| vectors.row(i)));
                out.push(b'\n');
            }
        }
        ResponseFormat::Csv => {
            for (i, score) in scores.iter().enumerate() {
                push_float(&mut out, *score);
                // The address's vector, then the entity's, as in JSON.
                for float in vectors.into_iter().flat_map(|vectors| <[_; 2]>::from(vectors.row(i))).flatten()
                {
                    out.push(b',');
                    push_float(&mut out, *float);
                }
                out.push(b'\n');
            }
        }
    }
    out
}

fn push_object(out: &mut Vec<u8>, score: f32, vectors: Option<(&[f32], &[f32])>) {
    out.extend_from_slice(b"{\"dot_product\":");
    push_float(out, score);
    if let Some((ip, entity)) = vectors {
        push_floats(out, b",\"ip_embedding\":[", ip);
        push_floats(out, b",\"entity_embedding\":[", entity);
    }
    out.push(b'}');
}

fn push_floats(out: &mut Vec<u8>, key: &[u8], floats: &[f32]) {
    out.extend_from_slice(key);
    for (i, float) in floats.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_float(out, *float);
    }
    out.push(b']');
}

/// The shortest text that reads back as the same 32-bit float.
fn push_float(out: &mut Vec<u8>, float: f32) {
    serde_json::to_writer(out, &float).expect("a vector takes all");
}
