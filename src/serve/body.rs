//! Bodies of requests: bounded in bytes, each and all together, and in time.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::limits::Limits;
use super::refusal::Refusal;

/// The bytes that bodies may take together.
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes taken from a [`Budget`] until it is dropped.
struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

/// A body that was read, and its share of the budget, which it holds as long as it is worked on.
pub struct Held<'a> {
    pub bytes: Bytes,
    _share: Share<'a>,
}

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share<'_> {
    /// Takes more. What has not come takes nothing: a client that announces much and sends little holds little.
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match used > self.budget.max {
            true => Err(Refusal::busy("too many bytes wait already: try again later")),
            false => Ok(()),
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body to its end.
///
/// # Errors
///
/// 413 where it is too long, 408 where it takes too long, 503 where all bodies together are too long, 400 where the
/// connection breaks it off.
pub async fn read<'a>(
    body: Body,
    headers: &HeaderMap,
    limits: &Limits,
    budget: &'a Budget,
) -> Result<Held<'a>, Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.max_body_bytes) {
        return Err(too_long(limits));
    }
    let whole = read_frames(body, announced, limits, budget);
    timeout(limits.body_timeout, whole).await.unwrap_or_else(|_| Err(Refusal::too_slow()))
}

async fn read_frames<'a>(
    mut body: Body,
    announced: Option<usize>,
    limits: &Limits,
    budget: &'a Budget,
) -> Result<Held<'a>, Refusal> {
    let mut share = Share { budget, bytes: 0 };
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("the body broke off or is malformed"))?;
        let Ok(bytes) = frame.into_data() else { continue }; // trailers
        share.grow(bytes.len())?;
        // Most bodies come in one piece.
        if all.is_empty() && announced == Some(bytes.len()) {
            return Ok(Held { bytes, _share: share });
        }
        if all.len() + bytes.len() > limits.max_body_bytes {
            return Err(too_long(limits));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Held { bytes: all.freeze(), _share: share })
}

fn too_long(limits: &Limits) -> Refusal {
    Refusal::too_large(format!(
        "the body is longer than {} bytes: send several requests",
        limits.max_body_bytes
    ))
}
