//! Content codings of requests: gzip and zstd, bounded after decoding.

use std::io::{self, Read};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use super::body::{Held, Share, too_long};
use super::limits::Limits;
use super::refusal::Refusal;

/// The largest window of zstd's content coding, 8 MiB (RFC 9659).
const MAX_WINDOW_LOG: u32 = 23;

/// Bytes that are decoded before their share of the budget is taken.
const PIECE_BYTES: usize = 64 << 10;

/// A content coding that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding that `Content-Encoding` names; none for a body as it is.
    ///
    /// # Errors
    ///
    /// 415 for another one, or for several.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(coding) = codings.next() else { return Ok(None) };
        let name = coding.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        match (name.as_str(), codings.next()) {
            ("" | "identity", None) => Ok(None),
            ("gzip" | "x-gzip", None) => Ok(Some(Self::Gzip)),
            ("zstd", None) => Ok(Some(Self::Zstd)),
            _ => Err(Refusal::unknown_content_coding()),
        }
    }

    /// Decodes a body.
    ///
    /// # Errors
    ///
    /// 413 where it is too long then, 503 where all bodies together are, 400 where it is not in this coding or is cut off.
    pub fn decode(self, body: &Held, limits: &Limits) -> Result<Bytes, Refusal> {
        let encoded = &body.bytes[..];
        let decoded = match self {
            Self::Gzip => read(MultiGzDecoder::new(encoded), limits, &body.share),
            Self::Zstd => zstd_decoder(encoded)
                .map_err(Failure::Io)
                .and_then(|decoder| read(decoder, limits, &body.share)),
        };
        decoded.map(Bytes::from).map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Io(error) => Refusal::invalid(format!(
                "the body is not whole in the coding that Content-Encoding names: {error}"
            )),
        })
    }
}

fn zstd_decoder(encoded: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(encoded)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

enum Failure {
    Io(io::Error),
    Refused(Refusal),
}

fn read(mut decoder: impl Read, limits: &Limits, share: &Share) -> Result<Vec<u8>, Failure> {
    let mut decoded = Vec::new();
    loop {
        let num_before = decoded.len();
        let num = decoder.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut decoded).map_err(Failure::Io)?;
        if num == 0 {
            return Ok(decoded);
        }
        share.grow(decoded.len() - num_before).map_err(Failure::Refused)?;
        if decoded.len() > limits.max_body_bytes {
            return Err(Failure::Refused(too_long(limits)));
        }
    }
}
