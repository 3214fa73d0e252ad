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

/// What a client wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// One object a line instead of one document.
    pub is_lines: bool,
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
            let is_lines = match parts.next()?.as_str() {
                "application/json" => false,
                "application/jsonlines" | "application/x-jsonlines" | "application/jsonl" => true,
                _ => return None,
            };
            let is_verbose = parts.any(|part| {
                part.split_once('=')
                    .is_some_and(|(key, value)| (key.trim(), value.trim()) == ("verbose", "true"))
            });
            Some(Self { is_lines, is_verbose })
        });
        known.unwrap_or(Self { is_lines: request == RequestFormat::JsonLines, is_verbose: false })
    }

    /// The type of the response.
    pub fn content_type(self) -> HeaderValue {
        if self.is_lines { JSON_LINES } else { JSON }
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
    /// Bytes that the vectors of a response may take as JSON, about: a float has 8 to 16, a comma included.
    pub fn bytes_of(num_records: usize, vector_dim: usize) -> usize {
        num_records.saturating_mul(2 * 14 * vector_dim)
    }
}

/// A response of scores, and of vectors where there are some.
pub fn write(scores: &[f32], vectors: Option<&Vectors>, accept: Accept) -> Vec<u8> {
    let record_bytes = 32 + vectors.map_or(0, |vectors| Vectors::bytes_of(1, vectors.vector_dim));
    let mut out = Vec::with_capacity(32 + scores.len() * record_bytes);
    if !accept.is_lines {
        out.extend_from_slice(b"{\"predictions\":[");
    }
    for (i, score) in scores.iter().enumerate() {
        if i > 0 && !accept.is_lines {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"dot_product\":");
        push_float(&mut out, *score);
        if let Some(vectors) = vectors {
            let row = i * vectors.vector_dim..(i + 1) * vectors.vector_dim;
            push_floats(&mut out, b",\"ip_embedding\":[", &vectors.ip[row.clone()]);
            push_floats(&mut out, b",\"entity_embedding\":[", &vectors.entity[row]);
        }
        out.extend_from_slice(if accept.is_lines { b"}\n" } else { b"}" });
    }
    if !accept.is_lines {
        out.extend_from_slice(b"]}");
    }
    out
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
