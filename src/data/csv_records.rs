//! CSV records: RFC 4180 as the `csv` crate reads it, with spaces after a comma left out.
//!
//! It is not the `csv` crate because a row here needs its physical line and its raw bytes, a space before a
//! quote must not make the quote literal, and a record without an end must not fill the memory.

use std::ops::Range;

use memchr::{memchr_iter, memchr3};

use super::bad_rows::BadRow;
use super::columns::Columns;
use super::row::Fields;
use super::source::Source;
use super::stream::Stream;
use super::text::{Text, terminator};

/// Splits text into records; empty lines are skipped.
pub(super) struct CsvRecords<S = Stream> {
    text: Text<S>,
    scanner: RecordScanner,
}

/// Finds and splits the record at the beginning of bytes. It is reused, so that its buffers are.
#[derive(Default)]
pub(super) struct RecordScanner {
    fields: Vec<Range<usize>>,
    /// The fields of a record with quotes, one after the other.
    unescaped: Vec<u8>,
    /// What makes the byte behind it literal in a quoted field.
    escape: Option<u8>,
}

/// One record, borrowed until the next is read.
pub(super) struct CsvRecord<'a> {
    /// The physical line on which the record begins, from 1.
    pub(super) line: u64,
    /// The record as it stands, without its terminator.
    pub(super) raw: &'a [u8],
    /// Whether the input ended inside a quoted field.
    pub(super) is_unclosed: bool,
    /// Whether text stands behind a closing quote.
    pub(super) has_text_behind_quote: bool,
    bytes: &'a [u8],
    fields: &'a [Range<usize>],
}

impl<'a> CsvRecord<'a> {
    pub(super) fn num_fields(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn field(&self, index: usize) -> Option<&'a [u8]> {
        self.fields.get(index).map(|field| &self.bytes[field.clone()])
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().map(|field| &self.bytes[field.clone()])
    }
}

/// The extent of one record in the text.
pub(super) struct Extent {
    /// Without the terminator.
    pub(super) len: usize,
    pub(super) terminator: usize,
    pub(super) num_lines: u64,
    is_quoted: bool,
    is_unclosed: bool,
    has_text_behind_quote: bool,
}

impl<S: Source> CsvRecords<S> {
    pub(super) fn new(text: Text<S>, escape: Option<u8>) -> Self {
        CsvRecords { text, scanner: RecordScanner::new(escape) }
    }

    pub(super) fn text(&self) -> &Text<S> {
        &self.text
    }

    pub(super) fn into_text(self) -> Text<S> {
        self.text
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> crate::Result<Option<CsvRecord<'_>>> {
        let (extent, line) = loop {
            let extent = self.find_record()?;
            let line = self.text.line();
            if extent.len > 0 {
                break (extent, line);
            }
            if extent.terminator == 0 {
                return Ok(None);
            }
            self.text.take(extent.terminator, 1);
        };
        let raw = self.text.take(extent.len + extent.terminator, extent.num_lines);
        Ok(Some(self.scanner.split(&raw[..extent.len], &extent, line)))
    }

    /// The next record as it stands, which is left; `None` at the end.
    pub(super) fn peek(&mut self) -> crate::Result<Option<&[u8]>> {
        loop {
            let extent = self.find_record()?;
            if extent.len > 0 {
                return Ok(Some(&self.text.rest()[..extent.len]));
            }
            if extent.terminator == 0 {
                return Ok(None);
            }
            self.text.take(extent.terminator, 1);
        }
    }

    /// Finds the record at the beginning of the text and reads on until all of it is there.
    fn find_record(&mut self) -> crate::Result<Extent> {
        loop {
            match self.scanner.find(self.text.rest(), self.text.at_end()) {
                Some(extent) => {
                    self.text.check_length(extent.len)?;
                    return Ok(extent);
                }
                None => {
                    // The last byte may be a carriage return, which is no part of the record.
                    self.text.check_length(self.text.rest().len().saturating_sub(1))?;
                    self.text.fill()?;
                }
            }
        }
    }
}

impl RecordScanner {
    /// One that takes `escape` in quoted fields, beside doubled quotes.
    pub(super) fn new(escape: Option<u8>) -> Self {
        RecordScanner { escape, ..RecordScanner::default() }
    }

    /// The record at the beginning of `rest`, empty for an empty line; `None` when its end is not there yet.
    pub(super) fn find(&mut self, rest: &[u8], at_end: bool) -> Option<Extent> {
        match memchr3(b'\n', b'\r', b'"', rest) {
            Some(at) if rest[at] == b'"' => self.scan_quoted(rest, at_end),
            Some(len) => terminator(rest, len, at_end).map(|terminator| Extent::plain(len, terminator)),
            None if at_end => Some(Extent::plain(rest.len(), 0)),
            None => None,
        }
    }

    /// The fields of the record that was found last; `raw` is the record.
    pub(super) fn split<'a>(&'a mut self, raw: &'a [u8], extent: &Extent, line: u64) -> CsvRecord<'a> {
        if !extent.is_quoted {
            split_plain(raw, &mut self.fields);
        }
        let bytes = if extent.is_quoted { &self.unescaped } else { raw };
        CsvRecord {
            line,
            raw,
            is_unclosed: extent.is_unclosed,
            has_text_behind_quote: extent.has_text_behind_quote,
            bytes,
            fields: &self.fields,
        }
    }
}

impl Extent {
    fn plain(len: usize, terminator: usize) -> Self {
        Extent {
            len,
            terminator,
            num_lines: 1,
            is_quoted: false,
            is_unclosed: false,
            has_text_behind_quote: false,
        }
    }
}

/// The fields in their roles.
///
/// # Errors
///
/// Why the record has none.
pub(super) fn fields_of<'a>(record: &CsvRecord<'a>, columns: &Columns<usize>) -> Result<Fields<'a>, BadRow> {
    // A quote that is never closed has swallowed the rows behind it.
    if record.is_unclosed {
        return Err(BadRow::UnclosedQuote);
    }
    if record.has_text_behind_quote {
        let is_escaped = memchr::memmem::find(record.raw, b"\\\"").is_some();
        return Err(if is_escaped { BadRow::EscapedQuote } else { BadRow::TextBehindQuote });
    }
    let field = |column: usize| record.field(column).ok_or(BadRow::TooFewColumns);
    let optional = |column: Option<usize>| column.map(field).transpose();
    Ok(Fields {
        entity: field(columns.entity)?,
        ip: field(columns.ip)?,
        label: optional(columns.label)?,
        kind: optional(columns.kind)?,
        time: optional(columns.time)?,
    })
}

/// Splits a record without quotes at its commas.
fn split_plain(raw: &[u8], fields: &mut Vec<Range<usize>>) {
    fields.clear();
    let mut start = 0;
    for comma in memchr_iter(b',', raw) {
        fields.push(start..comma);
        start = comma + 1;
        while raw.get(start) == Some(&b' ') {
            start += 1;
        }
    }
    fields.push(start..raw.len());
}

/// Where the scan of a record with quotes is in a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field: its end, or the first half of a doubled quote.
    Quote,
    /// Behind an escape in a quoted field.
    Escaped,
}

impl RecordScanner {
    /// Unescapes the record at the beginning of `rest`; `None` when its end is not there yet.
    fn scan_quoted(&mut self, rest: &[u8], at_end: bool) -> Option<Extent> {
        let RecordScanner { fields, unescaped, escape } = self;
        fields.clear();
        unescaped.clear();
        let mut field_start = 0;
        let mut state = Field::Start;
        let mut num_lines = 1;
        let mut len = rest.len();
        let mut terminator = 0;
        let mut has_text_behind_quote = false;
        for (at, &byte) in rest.iter().enumerate() {
            let next = rest.get(at + 1);
            if byte == b'\r' && next.is_none() && !at_end {
                return None;
            }
            let ends_line = byte == b'\n' || (byte == b'\r' && next != Some(&b'\n'));
            match (state, byte) {
                (Field::Quoted, byte) if Some(byte) == *escape => state = Field::Escaped,
                (Field::Quoted, b'"') => state = Field::Quote,
                (Field::Quoted | Field::Escaped, _) => {
                    num_lines += u64::from(ends_line);
                    unescaped.push(byte);
                    state = Field::Quoted;
                }
                (Field::Quote, b'"') => {
                    unescaped.push(byte);
                    state = Field::Quoted;
                }
                (_, b'\n' | b'\r') => {
                    len = at;
                    terminator = if ends_line { 1 } else { 2 };
                    break;
                }
                (_, b',') => {
                    fields.push(field_start..unescaped.len());
                    field_start = unescaped.len();
                    state = Field::Start;
                }
                (Field::Start, b'"') => state = Field::Quoted,
                (Field::Start, b' ') if !fields.is_empty() => {}
                _ => {
                    has_text_behind_quote |= state == Field::Quote;
                    unescaped.push(byte);
                    state = Field::Unquoted;
                }
            }
        }
        if terminator == 0 && !at_end {
            return None;
        }
        fields.push(field_start..unescaped.len());
        let is_unclosed = matches!(state, Field::Quoted | Field::Escaped);
        Some(Extent { len, terminator, num_lines, is_quoted: true, is_unclosed, has_text_behind_quote })
    }
}
