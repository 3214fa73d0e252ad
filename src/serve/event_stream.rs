//! The AWS event stream encoding, in which the SDKs take streamed responses.
//!
//! Source: [Smithy, event streams over HTTP](https://smithy.io/2.0/aws/amazon-eventstream.html). A message:
//!
//! ```text
//! total length u32 | headers length u32 | CRC-32 of these 8 bytes | headers | payload | CRC-32 of all before
//! header: length of the name u8 | name | type u8, 7 for a string | length u16 | value          big-endian throughout
//! ```

use flate2::Crc;

/// The media type of such a body.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// Payload of one message; the SDKs take messages of up to 16 MiB.
const MAX_PAYLOAD: usize = 1 << 20;

const STRING: u8 = 7;

/// A body as `PayloadPart` events.
pub fn encode(body: &[u8]) -> Vec<u8> {
    let headers = [
        (":message-type", "event"),
        (":event-type", "PayloadPart"),
        (":content-type", "application/octet-stream"),
    ];
    let mut stream = Vec::with_capacity(body.len() + body.len() / MAX_PAYLOAD * 128 + 128);
    for payload in body.chunks(MAX_PAYLOAD) {
        push_message(&mut stream, &headers, payload);
    }
    stream
}

fn push_message(stream: &mut Vec<u8>, headers: &[(&str, &str)], payload: &[u8]) {
    const AROUND: usize = 16;
    let start = stream.len();
    let headers_len: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    stream.extend(((AROUND + headers_len + payload.len()) as u32).to_be_bytes());
    stream.extend((headers_len as u32).to_be_bytes());
    stream.extend(crc(&stream[start..]).to_be_bytes());
    for (name, value) in headers {
        stream.push(name.len() as u8);
        stream.extend(name.as_bytes());
        stream.push(STRING);
        stream.extend((value.len() as u16).to_be_bytes());
        stream.extend(value.as_bytes());
    }
    stream.extend(payload);
    stream.extend(crc(&stream[start..]).to_be_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of botocore's test of its decoder: a message without headers and payload.
    #[test]
    fn an_empty_message_is_that_of_the_sdk() {
        let mut stream = Vec::new();
        push_message(&mut stream, &[], b"");
        assert_eq!(stream, b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff");
    }

    #[test]
    fn a_long_body_is_cut_into_messages() {
        let stream = encode(&vec![b'x'; MAX_PAYLOAD + 1]);
        let first = u32::from_be_bytes(*stream.first_chunk().unwrap()) as usize;
        let second = u32::from_be_bytes(*stream[first..].first_chunk().unwrap()) as usize;
        assert_eq!((first + second, first - second), (stream.len(), MAX_PAYLOAD - 1));
        assert!(encode(b"").is_empty());
    }
}
