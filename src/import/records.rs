//! Bytes to records, whatever pieces they come in: lines, or the objects of JSON.

use memchr::memchr;

use super::login::Skip;
use crate::Result;
use crate::data::MAX_LINE;

/// Objects of JSON are shorter than this, in bytes; one of CloudTrail has 256 KB at most.
const MAX_OBJECT: usize = 1 << 20;

/// Takes a record, or why there is none.
pub(super) type OnRecord<'a> = dyn FnMut(std::result::Result<&[u8], Skip>) -> Result<()> + 'a;

/// Splits bytes into records.
#[derive(Debug)]
pub(super) enum Records {
    Lines(Lines),
    Objects(Objects),
    Export(Export),
}

impl Records {
    pub(super) fn lines() -> Self {
        Records::Lines(Lines::default())
    }

    /// Objects of JSON. One that has a key of `own` at its beginning is no wrapper around a list of others.
    pub(super) fn objects(own: Vec<String>) -> Self {
        Records::Objects(Objects { own, ..Objects::default() })
    }

    /// Records of `journalctl -o export`.
    pub(super) fn export() -> Self {
        Records::Export(Export::default())
    }

    /// Takes the next bytes and hands on the records that end in them.
    pub(super) fn feed(&mut self, bytes: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
        match self {
            Records::Lines(lines) => lines.feed(bytes, on_record),
            Records::Objects(objects) => objects.feed(bytes, on_record),
            Records::Export(export) => export.feed(bytes, on_record),
        }
    }

    /// Hands on what is left at the end of the input, and begins anew.
    pub(super) fn end(&mut self, on_record: &mut OnRecord<'_>) -> Result<()> {
        match self {
            Records::Lines(lines) => std::mem::take(lines).end(on_record),
            Records::Objects(objects) => {
                let own = objects.own.clone();
                std::mem::replace(objects, Objects { own, ..Objects::default() }).end(on_record)
            }
            Records::Export(export) => std::mem::take(export).end(on_record),
        }
    }

    /// Passes over the rest of a line that began before the first byte.
    pub(super) fn skip_line(&mut self) {
        match self {
            Records::Lines(lines) => lines.is_lost = true,
            Records::Objects(objects) => objects.state = State::Junk,
            // What is left of a record has no message, or half of its fields.
            Records::Export(_) => {}
        }
    }
}

/// Lines, ended by LF or CRLF.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// The rest of the line is passed over.
    is_lost: bool,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
        while let Some(at) = memchr(b'\n', bytes) {
            let line = &bytes[..at];
            bytes = &bytes[at + 1..];
            if std::mem::take(&mut self.is_lost) {
                continue;
            }
            if self.begun.is_empty() {
                hand_on(line, on_record)?;
            } else {
                self.begun.extend_from_slice(&line[..line.len().min(MAX_LINE)]);
                hand_on(&self.begun, on_record)?;
                self.begun.clear();
            }
        }
        if self.is_lost {
            return Ok(());
        }
        // One byte more than a line has may be a carriage return, which is no part of it.
        self.begun.extend_from_slice(&bytes[..bytes.len().min(MAX_LINE + 1)]);
        if self.begun.len() > MAX_LINE {
            self.begun.clear();
            self.is_lost = true;
            return on_record(Err(Skip::TooLong));
        }
        Ok(())
    }

    fn end(self, on_record: &mut OnRecord<'_>) -> Result<()> {
        if self.begun.is_empty() { Ok(()) } else { hand_on(&self.begun, on_record) }
    }
}

fn hand_on(line: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    on_record(if line.len() < MAX_LINE { Ok(line) } else { Err(Skip::TooLong) })
}

/// Records of `journalctl -o export`: lines `KEY=VALUE`, and an empty one behind each record. A value that is no text of
/// one line stands as its length, in eight bytes, and its bytes, behind a line with the key alone.
#[derive(Debug, Default)]
pub(super) struct Export {
    /// The record so far.
    record: Vec<u8>,
    state: ExportState,
    is_line_start: bool,
    is_too_long: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ExportState {
    #[default]
    Key,
    Value,
    /// In the length of a value: how many of its bytes there are, and what they say so far.
    Length(u32, u64),
    /// Bytes of a value that are still to come, with its line feed.
    Bytes(u64),
}

impl Export {
    fn feed(&mut self, bytes: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.take(*byte, on_record))
    }

    fn take(&mut self, byte: u8, on_record: &mut OnRecord<'_>) -> Result<()> {
        let is_line_start = std::mem::replace(&mut self.is_line_start, false) || self.record.is_empty();
        if is_line_start && byte == b'\n' && self.state == ExportState::Key {
            return std::mem::take(self).end(on_record);
        }
        if self.record.len() < MAX_OBJECT {
            self.record.push(byte);
        } else {
            self.is_too_long = true;
        }
        let before = self.state;
        self.state = match (self.state, byte) {
            (ExportState::Key, b'=') => ExportState::Value,
            (ExportState::Key, b'\n') => ExportState::Length(0, 0),
            (ExportState::Value, b'\n') => ExportState::Key,
            (ExportState::Length(num, length), byte) => {
                let length = length | u64::from(byte) << (8 * num);
                if num == 7 {
                    ExportState::Bytes(length.saturating_add(1))
                } else {
                    ExportState::Length(num + 1, length)
                }
            }
            (ExportState::Bytes(1), _) => ExportState::Key,
            (ExportState::Bytes(num), _) => ExportState::Bytes(num - 1),
            (state, _) => state,
        };
        self.is_line_start = self.state == ExportState::Key && before != ExportState::Key;
        Ok(())
    }

    fn end(self, on_record: &mut OnRecord<'_>) -> Result<()> {
        match self.record.trim_ascii_end() {
            b"" => Ok(()),
            _ if self.is_too_long => on_record(Err(Skip::TooLong)),
            record => on_record(Ok(record)),
        }
    }
}

/// Objects: one a line, several a line, over several lines, behind other text on their line, the elements of an array, or
/// those of the list in a wrapper such as `{"Records": […]}`; all of them one after the other. A line that breaks off
/// costs no other than itself, unless it stops where an object may begin.
#[derive(Debug, Default)]
pub(super) struct Objects {
    state: State,
    /// Keys of objects that are records themselves.
    own: Vec<String>,
    /// Whether objects stand in an array, and in one of an object around it.
    array: Array,
    /// The object so far.
    object: Vec<u8>,
    is_too_long: bool,
    /// The brackets that are open in the object.
    open: Vec<u8>,
    /// The last byte of the object that is not white space.
    last: u8,
    is_line_start: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Array {
    #[default]
    None,
    Plain,
    Wrapped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before an object.
    #[default]
    Between,
    Object,
    String,
    /// Behind a backslash in a string.
    Escape,
    /// In text that may stand before an object.
    Prefix,
    /// In a line that is no JSON.
    Junk,
}

/// The keys of lists of records in the objects around them.
pub(super) const WRAPPERS: [&str; 5] = ["Records", "records", "value", "Events", "items"];

/// What stands before the list in such an object is shorter than this.
const MAX_WRAPPER_HEAD: usize = 4096;

/// More brackets than `serde_json` takes.
const MAX_OPEN: usize = 256;

impl Objects {
    fn feed(&mut self, bytes: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.take(*byte, on_record))
    }

    fn take(&mut self, byte: u8, on_record: &mut OnRecord<'_>) -> Result<()> {
        let is_line_start = std::mem::replace(&mut self.is_line_start, byte == b'\n');
        match (self.state, byte) {
            (State::Junk, b'\n') => self.state = State::Between,
            (State::Junk, _) => {}
            (State::Between, b'{') => self.begin(),
            (State::Between, b'[') if self.array == Array::None => self.array = Array::Plain,
            (State::Between, b']') if self.array == Array::Plain => self.array = Array::None,
            (State::Between, b']') if self.array == Array::Wrapped => self.leave_wrapped(),
            (State::Between, byte) if byte.is_ascii_whitespace() || byte == b',' => {}
            (State::Between, _) => self.state = State::Prefix,
            (State::Prefix, b'{') => self.begin(),
            (State::Prefix, b'\n') => return self.end_object(Err(Skip::NoMatch), on_record),
            (State::Prefix, _) => {}
            (State::Object, b'{') if is_line_start && self.is_broken() => {
                self.end_object(Err(Skip::NoMatch), on_record)?;
                self.begin();
            }
            (State::Object, b'{' | b'[') => self.open(byte, on_record)?,
            (State::Object, b'}' | b']') => {
                self.push(byte);
                self.open.pop();
                if self.open.is_empty() {
                    return self.end_object(Ok(()), on_record);
                }
            }
            (State::Object, byte) => {
                self.push(byte);
                if byte == b'"' {
                    self.state = State::String;
                }
            }
            // No string of JSON holds a line feed: this is a line that breaks off.
            (State::String | State::Escape, b'\n') => return self.end_object(Err(Skip::NoMatch), on_record),
            (State::String, byte) => {
                self.push(byte);
                match byte {
                    b'"' => self.state = State::Object,
                    b'\\' => self.state = State::Escape,
                    _ => {}
                }
            }
            (State::Escape, byte) => {
                self.push(byte);
                self.state = State::String;
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.state = State::Object;
        self.push(b'{');
        self.open.push(b'{');
    }

    fn open(&mut self, byte: u8, on_record: &mut OnRecord<'_>) -> Result<()> {
        let is_records =
            byte == b'[' && self.array == Array::None && self.open.len() == 1 && self.is_wrapper();
        if is_records {
            self.clear();
            self.array = Array::Wrapped;
            return Ok(());
        }
        self.push(byte);
        self.open.push(byte);
        if self.open.len() > MAX_OPEN {
            return self.junk(on_record);
        }
        Ok(())
    }

    /// Whether the list that begins here is one of records: behind a key of a wrapper, at the beginning of an object that
    /// has no other list or object before it and is no record itself.
    fn is_wrapper(&self) -> bool {
        if self.object.len() > MAX_WRAPPER_HEAD {
            return false;
        }
        let closed = [&self.object[..], b"[]}"].concat();
        let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(&closed) else { return false };
        let Some((last, _)) = object.iter().next_back() else { return false };
        let is_plain = |value: &serde_json::Value| !value.is_object() && !value.is_array();
        WRAPPERS.contains(&last.as_str())
            && object.iter().rev().skip(1).all(|(key, value)| is_plain(value) && !self.own.contains(key))
    }

    /// The array's end: what follows of the object around it is passed over as an object that nobody asked for.
    fn leave_wrapped(&mut self) {
        self.array = Array::None;
        self.begin();
        self.object.clear();
        self.object.extend_from_slice(WRAPPER_END);
    }

    /// Whether no object can begin where this one is: it was cut off, and here is another.
    fn is_broken(&self) -> bool {
        let in_array = self.open.last() == Some(&b'[');
        let may_begin = self.last == b':' || (in_array && matches!(self.last, b'[' | b','));
        self.array == Array::None && !may_begin
    }

    fn push(&mut self, byte: u8) {
        if !byte.is_ascii_whitespace() {
            self.last = byte;
        }
        if self.object.len() < MAX_OBJECT {
            self.object.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    /// Passes over the rest of the line, which is no JSON.
    fn junk(&mut self, on_record: &mut OnRecord<'_>) -> Result<()> {
        self.end_object(Err(Skip::NoMatch), on_record)?;
        self.state = State::Junk;
        Ok(())
    }

    fn end_object(&mut self, end: std::result::Result<(), Skip>, on_record: &mut OnRecord<'_>) -> Result<()> {
        let result = match end {
            _ if self.object.starts_with(WRAPPER_END) => Ok(()),
            Ok(()) if self.is_too_long => on_record(Err(Skip::TooLong)),
            Ok(()) => on_record(Ok(&self.object)),
            Err(skip) => on_record(Err(skip)),
        };
        self.clear();
        result
    }

    fn clear(&mut self) {
        self.object.clear();
        self.open.clear();
        self.is_too_long = false;
        self.last = 0;
        self.state = State::Between;
    }

    fn end(mut self, on_record: &mut OnRecord<'_>) -> Result<()> {
        match self.state {
            State::Between | State::Junk => Ok(()),
            State::Object | State::String | State::Escape | State::Prefix => {
                self.end_object(Err(Skip::NoMatch), on_record)
            }
        }
    }
}

/// Stands for the end of a wrapper; no object begins so.
const WRAPPER_END: &[u8] = b"]";

#[cfg(test)]
mod tests;
