//! Bodies of requests and responses: bounded in bytes, each and all together, and in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::limits::Limits;
use super::refusal::Refusal;

/// A response that is shorter is not counted while it is written: sockets have as much room.
const SHORT_RESPONSE: usize = 16 << 10;

/// As much is reserved for a body at most, before it comes.
const LARGEST_RESERVED: usize = 1 << 20;

/// The bytes that bodies may take together.
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes taken from a [`Budget`] until it and its clones are dropped: work that outlives its request keeps one.
#[derive(Clone)]
pub struct Share(Arc<Taken>);

struct Taken {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

/// A body that was read, and its share of the budget, which it holds as long as it is worked on.
pub struct Held {
    pub bytes: Bytes,
    pub share: Share,
}

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    fn of(budget: &Arc<Budget>) -> Self {
        Self(Arc::new(Taken { budget: budget.clone(), bytes: AtomicUsize::new(0) }))
    }

    /// Takes more. What has not come takes nothing: a client that announces much and sends little holds little. A
    /// request that is alone has bounds of its own, and is not refused.
    ///
    /// # Errors
    ///
    /// 503 where there is no more.
    pub fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        let Taken { budget, bytes: own } = &*self.0;
        let own = own.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let used = budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match used > budget.max && used > own {
            true => Err(Refusal::busy("too many bytes wait already: try again later")),
            false => Ok(()),
        }
    }

    /// A response that holds this share, cut to its length, until it is written: a client that takes nothing of it
    /// makes no room.
    pub fn until_written(self, response: Vec<u8>) -> Bytes {
        if response.len() <= SHORT_RESPONSE {
            return response.into();
        }
        let Taken { budget, bytes } = &*self.0;
        let more = bytes.load(Ordering::Relaxed).saturating_sub(response.capacity());
        budget.used.fetch_sub(more, Ordering::Relaxed);
        bytes.fetch_sub(more, Ordering::Relaxed);
        Bytes::from_owner(Response { bytes: response, _share: self })
    }
}

/// The bytes of a response and their share.
struct Response {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Response {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Reads a body to its end.
///
/// # Errors
///
/// 413 where it is too long, 408 where it takes too long, 503 where all bodies together are too long, 400 where the
/// connection breaks it off.
pub async fn read(
    body: Body,
    headers: &HeaderMap,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Held, Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.max_body_bytes) {
        return Err(too_long(limits));
    }
    let whole = read_frames(body, announced, limits, budget);
    timeout(limits.body_timeout, whole).await.unwrap_or_else(|_| Err(Refusal::too_slow()))
}

async fn read_frames(
    mut body: Body,
    announced: Option<usize>,
    limits: &Limits,
    budget: &Arc<Budget>,
) -> Result<Held, Refusal> {
    let share = Share::of(budget);
    // Memory that is not written to is none, so what was announced may be reserved.
    let mut all = BytesMut::with_capacity(announced.unwrap_or(0).min(LARGEST_RESERVED));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("the body broke off or is malformed"))?;
        let Ok(bytes) = frame.into_data() else { continue }; // trailers
        if let Err(refusal) = share.grow(bytes.len()) {
            drop((share, all, bytes));
            drain(body, limits).await;
            return Err(refusal);
        }
        // Most bodies come in one piece.
        if all.is_empty() && announced == Some(bytes.len()) {
            return Ok(Held { bytes, share });
        }
        if all.len() + bytes.len() > limits.max_body_bytes {
            return Err(too_long(limits));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Held { bytes: all.freeze(), share })
}

/// Reads the rest of a body and keeps none of it: with bytes unread the connection would be reset, and the answer lost
/// with it.
async fn drain(mut body: Body, limits: &Limits) {
    let mut len = 0;
    while let Some(Ok(frame)) = body.frame().await {
        len += frame.data_ref().map_or(0, Bytes::len);
        if len > limits.max_body_bytes {
            return;
        }
    }
}

/// 413 of a body.
pub fn too_long(limits: &Limits) -> Refusal {
    Refusal::too_large(format!(
        "the body is longer than {} bytes: send several requests",
        limits.max_body_bytes
    ))
}
