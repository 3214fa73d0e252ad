//! Text in a reused buffer, and its lines.

use memchr::memchr2;

use super::source::{MAX_LINE, Source};
use super::stream::Stream;
use crate::{Error, Result};

/// Large against [`MAX_LINE`], so that moving an unfinished line to the front costs little.
const BUFFER: usize = 256 * 1024;

/// The unread text of one input.
pub(super) struct Text<S = Stream> {
    source: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    line: u64,
}

/// One line without its terminator.
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
}

impl Text {
    pub(super) fn new(mut stream: Stream) -> Result<Self> {
        stream.start_text()?;
        Ok(Text::from_line(stream, 1))
    }

    /// The stream, which has again what is buffered and not yet taken.
    pub(super) fn into_stream(mut self) -> Stream {
        self.source.unread(&self.buffer[self.start..self.end]);
        self.source
    }
}

impl<S: Source> Text<S> {
    /// The text of `source`, which begins at `line`.
    pub(super) fn from_line(source: S, line: u64) -> Self {
        Text { source, buffer: vec![0; BUFFER], start: 0, end: 0, at_end: false, line }
    }

    /// Where the text comes from.
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// What is buffered and not yet taken.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether [`Text::rest`] reaches to the end of the input.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// The number of the physical line at which [`Text::rest`] begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Reads more behind [`Text::rest`]. The caller has called [`Text::check_length`] for the rest, so there
    /// is room.
    pub(super) fn fill(&mut self) -> Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let num = self.source.read(&mut self.buffer[self.end..])?;
        self.end += num;
        self.at_end = num == 0;
        Ok(())
    }

    /// Takes `len` bytes, which hold or end `num_lines` lines, and returns them.
    pub(super) fn take(&mut self, len: usize, num_lines: u64) -> &[u8] {
        let taken = self.start;
        self.start += len;
        self.line += num_lines;
        &self.buffer[taken..taken + len]
    }

    /// Refuses a line of `len` bytes that is too long, or would be once it ended.
    pub(super) fn check_length(&self, len: usize) -> Result<()> {
        if len < MAX_LINE {
            return Ok(());
        }
        Err(Error::data(
            format!("{}:{}", self.source.name(), self.line),
            "the line has 64 KiB or more",
            "look for a missing newline or a quote that is never closed; is this a text file?",
        ))
    }

    /// The next line, ended by LF, CRLF, CR or the end of the input.
    pub(super) fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        let (len, terminator) = loop {
            match find_line(self.rest(), self.at_end) {
                Some((0, 0)) => return Ok(None),
                Some((len, terminator)) => {
                    self.check_length(len)?;
                    break (len, terminator);
                }
                None => {
                    // The last byte may be a carriage return, which is no part of the line.
                    self.check_length(self.rest().len().saturating_sub(1))?;
                    self.fill()?;
                }
            }
        };
        let number = self.line;
        let bytes = self.take(len + terminator, 1);
        Ok(Some(Line { number, bytes: &bytes[..len] }))
    }
}

/// The lengths of the line at the beginning of `rest` and of its terminator; `None` when its end is not there yet.
pub(super) fn find_line(rest: &[u8], at_end: bool) -> Option<(usize, usize)> {
    match memchr2(b'\n', b'\r', rest) {
        Some(len) => terminator(rest, len, at_end).map(|terminator| (len, terminator)),
        None => at_end.then_some((rest.len(), 0)),
    }
}

/// The length of the terminator at `rest[at]`; `None` when that takes one more byte to know.
pub(super) fn terminator(rest: &[u8], at: usize, at_end: bool) -> Option<usize> {
    match &rest[at..] {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r'] if !at_end => None,
        _ => Some(1),
    }
}
