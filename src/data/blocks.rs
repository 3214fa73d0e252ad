//! Text in blocks: a thread reads and inflates them, the threads of rayon parse them, and they come out in
//! their order.
//!
//! Every block is parsed as if a row began with it. The reader of the blocks knows whether that is so: where a
//! row reaches over a block's end, the rest is read as text, from here as from any other [`Source`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use memchr::memrchr;

use super::chunk::ColumnBuffer;
use super::intake::Intake;
use super::row::{Place, TimedEvent};
use super::source::Source;
use super::stream::Stream;
use super::text::Text;
use super::time::Unit;
#[cfg(any(test, fuzzing))]
use crate::event::Event;
use crate::{Error, Result};

/// Bytes of a block: some thousand rows, so that handing it over costs little, and several of them fit a
/// processor's cache.
pub(super) const BLOCK: usize = 256 * 1024;

/// Rows of a block that may be left for others to look at. A parser that meets more gives the rest of the block
/// up: they would need more memory than the text itself, and there is nothing to win.
pub(super) const MAX_ODD_ROWS: usize = 4096;

/// Some text and what was found in it.
#[derive(Default)]
struct Block {
    /// As long as the longest block; the text is the beginning of it.
    buffer: Vec<u8>,
    len: usize,
    at_end: bool,
    parsed: Parsed,
}

/// What was found in a block.
#[derive(Default)]
pub(super) struct Parsed {
    /// Bytes at the beginning of the block that were parsed; the others are left to the reader of the block.
    pub(super) num_bytes: usize,
    /// Lines in these bytes.
    pub(super) num_lines: u64,
    pub(super) columns: ColumnBuffer,
    /// What the numbers of their times count.
    unit: Option<Unit>,
    odd_rows: Vec<OddRow>,
}

/// A row that is no event, or not at first sight.
struct OddRow {
    /// Events of the block that stand before it.
    num_before: usize,
    /// Lines of the block that stand before it.
    line: u64,
    /// Where it stands in the text, without its terminator.
    raw: Range<usize>,
}

impl Parsed {
    /// Takes an event; false where its time is in another unit than those before, and it is left.
    #[inline]
    #[must_use]
    pub(super) fn push(&mut self, event: TimedEvent) -> bool {
        if event.unit != self.unit && event.unit.is_some() {
            if self.unit.is_some() {
                return false;
            }
            self.unit = event.unit;
        }
        self.columns.push(event);
        true
    }

    /// Leaves the next row, of `len` bytes, to the reader of the block; false where too many
    /// are left already.
    #[must_use]
    pub(super) fn push_odd(&mut self, len: usize) -> bool {
        if self.odd_rows.len() == MAX_ODD_ROWS {
            return false;
        }
        let raw = self.num_bytes..self.num_bytes + len;
        self.odd_rows.push(OddRow { num_before: self.columns.len(), line: self.num_lines, raw });
        true
    }

    /// The events, in order.
    #[cfg(any(test, fuzzing))]
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        self.columns.columns().events()
    }

    /// The events with their times, in order.
    #[cfg(any(test, fuzzing))]
    pub(super) fn timed_events(&self) -> Vec<TimedEvent> {
        let times = self.columns.columns().time;
        let time = |index| times.map(|times: &[u32]| times[index]);
        self.events()
            .enumerate()
            .map(|(index, event)| TimedEvent { event, time: time(index), unit: None })
            .collect()
    }

    /// How many rows are left to be looked at.
    #[cfg(any(test, fuzzing))]
    pub(super) fn num_odd_rows(&self) -> usize {
        self.odd_rows.len()
    }

    fn clear(&mut self) {
        self.num_bytes = 0;
        self.num_lines = 0;
        self.columns.clear();
        self.unit = None;
        self.odd_rows.clear();
    }
}

impl Block {
    fn text(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Fills the block with `begun` and what follows in `stream`, as far as it goes.
    fn fill(&mut self, begun: &[u8], stream: &mut Stream) -> Result<()> {
        self.at_end = false;
        self.parsed.clear();
        self.buffer[..begun.len()].copy_from_slice(begun);
        self.len = begun.len();
        while self.len < self.buffer.len() && !self.at_end {
            let num = stream.read(&mut self.buffer[self.len..])?;
            self.len += num;
            self.at_end = num == 0;
        }
        Ok(())
    }

    /// Cuts the block behind its last line feed, if it has one, and moves what follows to `begun`.
    fn cut(&mut self, begun: &mut Vec<u8>) {
        if let Some(last) = memrchr(b'\n', self.text()) {
            begun.extend_from_slice(&self.buffer[last + 1..self.len]);
            self.len = last + 1;
        }
    }
}

/// The blocks of one input, in order. Their number is fixed: they go round.
pub(super) struct Blocks {
    name: String,
    /// Each block is on its way as soon as it has been read.
    in_order: Receiver<Result<Receiver<Block>>>,
    used: Sender<Block>,
    current: Block,
    /// Bytes of the current block that were taken.
    num_taken: usize,
    /// Whether the current block is the input's last.
    has_ended: bool,
}

impl Blocks {
    /// Whether the rest of `text` may be read in blocks, and there may be several of them.
    pub(super) fn are_of_use(text: &Text, intake: &Intake<'_>) -> bool {
        // Where a thread of rayon waits for blocks, no other may be there to parse them.
        intake.takes_events() && !text.at_end() && rayon::current_thread_index().is_none()
    }

    /// Begins to read `stream` in blocks of `size` bytes, with `parse` for each of them: it is given the text and
    /// whether the input ends with it.
    pub(super) fn read(
        stream: Stream,
        size: usize,
        parse: impl Fn(&[u8], bool, &mut Parsed) + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = stream.name().to_string();
        let (used, free) = channel();
        // Each parser has one at work and one in reserve; one is being read, one taken.
        for _ in 0..2 * rayon::current_num_threads() + 2 {
            let block = Block { buffer: vec![0; size], ..Block::default() };
            used.send(block).expect("the receiver is here");
        }
        let (send, in_order) = channel();
        let reader = Reader { stream, free, send, parse: Arc::new(parse) };
        // It is not waited for: an error is reported even while the reader waits for a pipe without end.
        thread::Builder::new()
            .name("reader".into())
            .spawn(|| reader.run())
            .map_err(Error::thread("reader"))?;
        Ok(Blocks { name, in_order, used, current: Block::default(), num_taken: 0, has_ended: false })
    }

    /// Takes the next block, which begins at `line`: hands its events on to `intake`, and to `take_odd` the odd
    /// rows with their lines, in their order. Returns how many lines that was, and `None` at the end.
    pub(super) fn next(
        &mut self,
        line: u64,
        intake: &mut Intake<'_>,
        mut take_odd: impl FnMut(&[u8], u64, &mut Intake<'_>) -> Result<()>,
    ) -> Result<Option<u64>> {
        if !self.receive()? {
            return Ok(None);
        }
        let Parsed { num_bytes, num_lines, columns, unit, odd_rows } = &self.current.parsed;
        intake.check_unit(*unit, Place::Line(&self.name, line))?;
        let (mut num_taken, mut rest) = (0, columns.columns());
        for odd in odd_rows {
            let (before, behind) = rest.split_at(odd.num_before - num_taken);
            intake.events(before, &self.name)?;
            (num_taken, rest) = (odd.num_before, behind);
            take_odd(&self.current.text()[odd.raw.clone()], line + odd.line, intake)?;
        }
        intake.events(rest, &self.name)?;
        self.num_taken = *num_bytes;
        Ok(Some(*num_lines))
    }

    /// Whether all of the current block was taken.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.num_taken == self.current.len
    }

    fn receive(&mut self) -> Result<bool> {
        let used = std::mem::take(&mut self.current);
        self.num_taken = 0;
        if !used.buffer.is_empty() {
            // A reader that has ended needs no more blocks.
            let _ = self.used.send(used);
        }
        let Ok(on_its_way) = self.in_order.recv() else {
            // Without its last block the reader did not end but fail, and the rest would be lost in silence.
            return match self.has_ended {
                true => Ok(false),
                false => Err(self.failed("the thread that reads it failed")),
            };
        };
        self.current = on_its_way?.recv().map_err(|_| self.failed("the thread that parses it failed"))?;
        self.has_ended = self.current.at_end;
        Ok(true)
    }

    fn failed(&self, what: &str) -> Error {
        Error::io("read", &self.name)(std::io::Error::other(what.to_string()))
    }
}

impl Source for Blocks {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.is_between_blocks() && !self.receive()? {
            return Ok(0);
        }
        let rest = &self.current.text()[self.num_taken..];
        let num = rest.len().min(buffer.len());
        buffer[..num].copy_from_slice(&rest[..num]);
        self.num_taken += num;
        Ok(num)
    }
}

impl Text<&mut Blocks> {
    /// Whether a block was read to its end, and no more.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.rest().is_empty() && self.source().is_between_blocks()
    }
}

/// The thread that reads.
struct Reader<P> {
    stream: Stream,
    free: Receiver<Block>,
    send: Sender<Result<Receiver<Block>>>,
    parse: Arc<P>,
}

impl<P: Fn(&[u8], bool, &mut Parsed) + Send + Sync + 'static> Reader<P> {
    fn run(mut self) {
        let mut begun = Vec::new();
        while let Ok(mut block) = self.free.recv() {
            let filled = block.fill(&begun, &mut self.stream);
            begun.clear();
            let is_last = block.at_end || filled.is_err();
            if !is_last {
                block.cut(&mut begun);
            }
            // Rows before the place where an input breaks off are read before the error is reported.
            let is_wanted = (block.len == 0 && !block.at_end) || self.start_parsing(block);
            if let Err(error) = filled {
                let _ = self.send.send(Err(error));
            }
            if is_last || !is_wanted {
                return;
            }
        }
    }

    /// Queues the block and has it parsed; whether anyone still waits for blocks.
    fn start_parsing(&self, mut block: Block) -> bool {
        let (done, parsed): (SyncSender<Block>, _) = sync_channel(1);
        let is_wanted = self.send.send(Ok(parsed)).is_ok();
        if is_wanted {
            let parse = self.parse.clone();
            rayon::spawn(move || {
                parse(&block.buffer[..block.len], block.at_end, &mut block.parsed);
                let _ = done.send(block);
            });
        }
        is_wanted
    }
}
