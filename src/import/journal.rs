//! Records of the journal, from `journalctl -o json` or `-o export`, and those of Docker's `json-file`.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::Value;

use super::sshd_line::{Line, LineTime};
use crate::data::Time;

/// What sshd said, with what stands around it.
pub(super) enum Record {
    Journal(Journal),
    /// A line of a container and its time.
    Container {
        line: Vec<u8>,
        time: Option<i64>,
    },
}

/// The fields of a journal's record that count.
#[derive(Default)]
pub(super) struct Journal {
    message: Vec<u8>,
    host: Vec<u8>,
    program: Vec<u8>,
    pid: Vec<u8>,
    microseconds: Option<i64>,
}

impl Record {
    /// The record where `line` is one object of JSON; nothing where it is another line.
    pub(super) fn of_json(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(b"\x1E").unwrap_or(line);
        let line = line.strip_prefix(b"data: ").unwrap_or(line);
        if line.first() != Some(&b'{') {
            return None;
        }
        let object: Value = serde_json::from_slice(line).ok()?;
        if let (Some(Value::String(text)), Some(Value::String(time))) =
            (object.get("log"), object.get("time"))
        {
            let time = Time::parse(time.as_bytes()).map(|time| time.seconds);
            return Some(Record::Container { line: text.trim_end().as_bytes().to_vec(), time });
        }
        let mut journal = Journal::default();
        let mut has_message = false;
        for (key, value) in object.as_object()? {
            has_message |= key == "MESSAGE";
            journal.set(key.as_bytes(), &bytes_of(value));
        }
        has_message.then_some(Record::Journal(journal))
    }

    /// The record of lines `KEY=VALUE`, or `KEY`, the value's length as eight bytes, and the value.
    pub(super) fn of_export(record: &[u8]) -> Option<Self> {
        let mut journal = Journal::default();
        let mut rest = record;
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(memchr(b'\n', rest).unwrap_or(rest.len()));
            rest = behind.get(1..).unwrap_or_default();
            match memchr(b'=', line) {
                Some(at) => journal.set(&line[..at], &line[at + 1..]),
                None => {
                    let (length, behind) = rest.split_first_chunk::<8>()?;
                    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
                    let value = behind.get(..length)?;
                    journal.set(line, value);
                    rest = behind.get(length + 1..).unwrap_or_default();
                }
            }
        }
        (!journal.message.is_empty()).then_some(Record::Journal(journal))
    }

    /// The line that this is.
    pub(super) fn line(&self) -> Option<Line<'_>> {
        match self {
            Record::Container { line, time } => {
                let line = Line::parse(line)?;
                let time = match line.time {
                    LineTime::None => time.map_or(LineTime::None, LineTime::Known),
                    known => known,
                };
                Some(Line { time, ..line })
            }
            Record::Journal(journal) => Some(Line {
                time: match journal.microseconds {
                    Some(microseconds) => LineTime::Known(microseconds.div_euclid(1_000_000)),
                    None => LineTime::None,
                },
                host: &journal.host,
                program: &journal.program,
                pid: &journal.pid,
                message: journal.message.trim_ascii_end(),
            }),
        }
    }
}

impl Journal {
    fn set(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"MESSAGE" => self.message = value.to_vec(),
            b"_HOSTNAME" => self.host = value.to_vec(),
            b"SYSLOG_IDENTIFIER" => self.program = value.to_vec(),
            b"_COMM" if self.program.is_empty() => self.program = value.to_vec(),
            b"_PID" | b"SYSLOG_PID" => self.pid = value.to_vec(),
            b"__REALTIME_TIMESTAMP" => {
                self.microseconds = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }
}

/// The bytes of a field: those that are no text are an array of numbers.
fn bytes_of(value: &Value) -> Cow<'_, [u8]> {
    match value {
        Value::String(text) => Cow::Borrowed(text.as_bytes()),
        Value::Array(numbers) => {
            let byte = |number: &Value| number.as_u64().and_then(|number| u8::try_from(number).ok());
            Cow::Owned(numbers.iter().map_while(byte).collect())
        }
        _ => Cow::Borrowed(b""),
    }
}
