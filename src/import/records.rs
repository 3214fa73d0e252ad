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
}

impl Records {
    pub(super) fn lines() -> Self {
        Records::Lines(Lines::default())
    }

    pub(super) fn objects() -> Self {
        Records::Objects(Objects::default())
    }

    /// Takes the next bytes and hands on the records that end in them.
    pub(super) fn feed(&mut self, bytes: &[u8], on_record: &mut OnRecord<'_>) -> Result<()> {
        match self {
            Records::Lines(lines) => lines.feed(bytes, on_record),
            Records::Objects(objects) => objects.feed(bytes, on_record),
        }
    }

    /// Hands on what is left at the end of the input, and begins anew.
    pub(super) fn end(&mut self, on_record: &mut OnRecord<'_>) -> Result<()> {
        match self {
            Records::Lines(lines) => std::mem::take(lines).end(on_record),
            Records::Objects(objects) => std::mem::take(objects).end(on_record),
        }
    }

    /// Passes over the rest of a line that began before the first byte.
    pub(super) fn skip_line(&mut self) {
        match self {
            Records::Lines(lines) => lines.is_lost = true,
            Records::Objects(objects) => objects.state = State::Junk,
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

/// Objects: one a line, several a line, over several lines, the elements of an array, or those of the array in
/// `{"Records": […]}`; all of them one after the other. A line that breaks off costs no other than itself, unless it
/// stops where an object may begin.
#[derive(Debug, Default)]
pub(super) struct Objects {
    state: State,
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
    /// In a line that is no JSON.
    Junk,
}

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
            (State::Between, _) => return self.junk(on_record),
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
        let is_records = byte == b'['
            && self.array == Array::None
            && self.open.len() == 1
            && self.object.len() < 64
            && self.object.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"{\"Records\":");
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
            State::Object | State::String | State::Escape => self.end_object(Err(Skip::NoMatch), on_record),
        }
    }
}

/// Stands for the end of a wrapper; no object begins so.
const WRAPPER_END: &[u8] = b"]";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The records of `text`, fed `size` bytes at a time.
    fn records_of(mut records: Records, text: &[u8], size: usize) -> Vec<std::result::Result<String, Skip>> {
        let mut found = Vec::new();
        let mut on_record = |record: std::result::Result<&[u8], Skip>| {
            found.push(record.map(|record| String::from_utf8_lossy(record).into_owned()));
            Ok(())
        };
        text.chunks(size).for_each(|chunk| records.feed(chunk, &mut on_record).unwrap());
        records.end(&mut on_record).unwrap();
        found
    }

    #[track_caller]
    fn assert_records(new: fn() -> Records, text: &str, expected: &[std::result::Result<&str, Skip>]) {
        let expected: Vec<_> = expected.iter().map(|record| record.map(str::to_string)).collect();
        for size in [1, 2, 3, 7, 1 << 20] {
            assert_eq!(records_of(new(), text.as_bytes(), size), expected, "{text:?} by {size}");
        }
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_with_the_input() {
        assert_records(Records::lines, "a\r\nb\n\nc", &[Ok("a"), Ok("b"), Ok(""), Ok("c")]);
        assert_records(Records::lines, "", &[]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        for num in [MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE] {
            let text = format!("a\n{}\nb\n", "x".repeat(num));
            assert_records(Records::lines, &text, &[Ok("a"), Err(Skip::TooLong), Ok("b")]);
        }
        let longest = "x".repeat(MAX_LINE - 1);
        assert_records(Records::lines, &format!("{longest}\nb"), &[Ok(&longest), Ok("b")]);
    }

    #[test]
    fn objects_are_found_in_lines_arrays_and_records() {
        let both = [Ok(r#"{"a":"]}\"{"}"#), Ok(r#"{"b":{"c":[1]}}"#)];
        let [a, b] = both.map(|object| object.unwrap_or_default());
        for text in [
            format!("{a}\n{b}\n"),
            format!("{a}\r\n\n{b}"),
            format!("{a}{b}"),
            format!("[{a},{b}]"),
            format!("[\n  {a},\n  {b}\n]\n"),
            format!("[{a}]\n[{b}]"),
            format!("{{\"Records\":[{a},{b}]}}"),
            format!("{{ \"Records\" : [ {a} , {b} ] , \"more\": [1, {{}}] }}\n"),
            format!("{{\"Records\":[{a}]}}{{\"Records\":[{b}]}}"),
            format!("{{\"Records\":[{a}]}}\n{b}"),
        ] {
            assert_records(Records::objects, &text, &both);
        }
        let pretty = "{\n  \"a\": {\n    \"b\": [\n{\n}\n]\n  }\n}";
        assert_records(Records::objects, &format!("{pretty}\n{pretty}"), &[Ok(pretty), Ok(pretty)]);
        assert_records(Records::objects, "{\"Records\":1}", &[Ok("{\"Records\":1}")]);
    }

    #[test]
    fn a_line_that_breaks_off_costs_only_itself() {
        let bad = Err(Skip::NoMatch);
        for broken in
            ["{\"a\":\"b", "{\"a\":\"b\\", "{\"a\":1", "{\"a\":[1,2", "{", "junk {", "\"a\"", "}", "1"]
        {
            let text = format!("{{\"x\":1}}\n{broken}\n{{\"y\":2}}\n");
            assert_records(Records::objects, &text, &[Ok("{\"x\":1}"), bad, Ok("{\"y\":2}")]);
        }
        assert_records(Records::objects, "{\"a\"", &[bad]);
        let deep = "[".repeat(100_000);
        assert_records(Records::objects, &format!("{{\"a\":{deep}\n{{}}"), &[bad, Ok("{}")]);
    }

    #[test]
    fn an_object_that_is_too_long_costs_only_itself() {
        let text = format!("{{\"a\":\"{}\"}}\n{{}}", "x".repeat(MAX_OBJECT));
        assert_eq!(
            records_of(Records::objects(), text.as_bytes(), 1 << 16),
            [Err(Skip::TooLong), Ok("{}".into())]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn records_do_not_depend_on_the_pieces_that_bytes_come_in(
            bytes in proptest::collection::vec(
                prop_oneof![prop::sample::select(&b"{}[]\",:\\\n\r 1a"[..]), any::<u8>()], 0..300),
            size in 1_usize..50,
        ) {
            for new in [Records::lines, Records::objects] {
                prop_assert_eq!(records_of(new(), &bytes, size), records_of(new(), &bytes, 1000));
            }
        }
    }
}
