//! A writer of TensorBoard event files.

use std::io::{self, Write};

use crc32c::crc32c;

/// Writes scalars for TensorBoard: one `Event` message a record, in TFRecord framing.
///
/// Framing: <https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>; messages:
/// `event.proto` and `summary.proto` of TensorFlow. The few fields in use are encoded by hand.
pub struct EventWriter<W: Write> {
    writer: W,
}

impl<W: Write> EventWriter<W> {
    /// Begins a file with the record that names its version. Times are seconds since 1970, in UTC.
    pub fn new(writer: W, wall_time: f64) -> io::Result<Self> {
        let mut events = EventWriter { writer };
        let mut event = Message::default();
        event.double(1, wall_time);
        event.bytes(3, b"brain.Event:2");
        events.record(&event.0)?;
        Ok(events)
    }

    /// Adds the value of `tag` at a training step.
    pub fn scalar(&mut self, tag: &str, value: f32, step: i64, wall_time: f64) -> io::Result<()> {
        let mut tagged = Message::default();
        tagged.bytes(1, tag.as_bytes());
        tagged.float(2, value);
        let mut summary = Message::default();
        summary.bytes(1, &tagged.0);
        let mut event = Message::default();
        event.double(1, wall_time);
        event.int64(2, step);
        event.bytes(5, &summary.0);
        self.record(&event.0)
    }

    /// Marks a resumed run: TensorBoard forgets what earlier files hold from `step` on.
    pub fn restart(&mut self, step: i64, wall_time: f64) -> io::Result<()> {
        /// `SessionLog.SessionStatus.START`
        const START: i64 = 1;
        let mut session = Message::default();
        session.int64(1, START);
        let mut event = Message::default();
        event.double(1, wall_time);
        event.int64(2, step);
        event.bytes(7, &session.0);
        self.record(&event.0)
    }

    /// Hands everything written so far to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        // In one write, so that a reader which follows the file rarely sees half a record.
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(data);
        record.extend(masked_crc(data).to_le_bytes());
        self.writer.write_all(&record)
    }
}

/// The name by which TensorBoard recognises an event file; `wall_time` is in seconds since 1970.
pub fn file_name(wall_time: f64) -> String {
    format!("events.out.tfevents.{:010}.ipsight", wall_time as u64)
}

/// TFRecord's checksum: CRC-32C, rotated and offset so that a checksum of data with checksums in it is sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// A protocol buffers message under construction: <https://protobuf.dev/programming-guides/encoding/>.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const LENGTH_DELIMITED: u64 = 2;
    const FIXED32: u64 = 5;

    /// A plain `double`, which proto3 leaves out where it is positive zero.
    fn double(&mut self, field: u64, value: f64) {
        if value.to_bits() != 0 {
            self.varint(field << 3 | Self::FIXED64);
            self.0.extend(value.to_le_bytes());
        }
    }

    /// A `float` of a oneof, which is written even where it is zero.
    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | Self::FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    /// A plain `int64`, which proto3 leaves out where it is zero.
    fn int64(&mut self, field: u64, value: i64) {
        if value != 0 {
            self.varint(field << 3 | Self::VARINT);
            self.varint(value as u64);
        }
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | Self::LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's tensorboard 2.21.0: `event_pb2.Event(...).SerializeToString()` of
    /// `tensorboard.compat.proto`, written by `tensorboard.summary.writer.record_writer.RecordWriter`.
    const GOLDEN: &str = "\
        1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe91800000000000000\
        a37f4b220900004040fc54d9412a0d0a0b0a046c6f7373150000003fb821c96333000000000000000ca72056090000a0\
        40fc54d94110ac022a250a230a1c76616c69646174696f6e2f6469736372696d696e61746f725f617563154bab7d3f4f\
        637fea1a00000000000000129bd82d10ffffffffffffffffff012a0d0a0b0a046c6f73731500000000d6f420ec";

    #[test]
    fn bytes_equal_those_of_pythons_tensorboard() {
        let mut file = Vec::new();
        let mut events = EventWriter::new(&mut file, 1_700_000_000.25).unwrap();
        events.scalar("loss", 0.5, 0, 1_700_000_001.0).unwrap();
        events.scalar("validation/discriminator_auc", 0.990895, 300, 1_700_000_002.5).unwrap();
        events.scalar("loss", 0.0, -1, 0.0).unwrap();
        events.flush().unwrap();
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn a_restart_is_a_session_log_that_starts() {
        let mut file = Vec::new();
        EventWriter { writer: &mut file }.restart(301, 0.0).unwrap();
        // Event { step: 301, session_log: SessionLog { status: START } }, behind length and checksum.
        assert_eq!(file[12..file.len() - 4], [0x10, 0xad, 0x02, 0x3a, 0x02, 0x08, 0x01]);
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of CRC-32/ISCSI, and that of 32 zero bytes in RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn the_file_name_is_one_that_tensorboard_looks_for() {
        assert_eq!(file_name(1_700_000_000.75), "events.out.tfevents.1700000000.ipsight");
        assert_eq!(file_name(5.0), "events.out.tfevents.0000000005.ipsight");
    }
}
