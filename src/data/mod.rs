//! Readers: from files, folders, globs and stdin to events.
//!
//! Rows are read one at a time from reused buffers where somebody wants to see them ([`read_rows`]). Where events
//! suffice, text is read, hashed and parsed in blocks side by side: [`load_events`] holds events as two columns
//! in memory and maps prepared Arrow files ([`write_prepared`]) without copying them.
//!
//! What a file is, is decided by its bytes and never by its name: `.gz` and `.zst` by their magic, Parquet
//! and Arrow by theirs, JSON Lines by a leading `{`; anything else is CSV.

mod arrow_rows;
mod bad_rows;
mod blocks;
mod chunk;
mod columnar;
mod columns;
mod csv_blocks;
mod csv_layout;
mod csv_records;
mod csv_rows;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod heaviest;
mod input;
mod intake;
mod json_lines;
mod json_path;
mod limits;
mod load;
mod mapped;
mod mapped_files;
mod mini_batch;
mod names;
mod options;
mod order;
mod parquet_rows;
mod prepared;
mod prepared_file;
mod read;
mod report;
mod row;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub(crate) use bad_rows::{BadRow, without_brackets_and_port};
pub(crate) use csv_blocks::events_of_csv;
pub use events::{DataDigest, Events, HeldEvents};
pub use heaviest::{Heaviest, Heavy};
pub use input::{Input, Inputs, find_inputs, resolve_inputs};
pub(crate) use json_path::find_dotted;
pub use limits::{EventLimits, Kept, LeftOut};
pub use load::load_events;
pub(crate) use mapped::map_file;
pub use mapped_files::exit_on_bus_error;
pub use mini_batch::{MiniBatch, segments};
pub(crate) use names::{shown, shown_names};
pub use options::{Format, OnBadRow, ReadOptions, csv_escape_of};
pub use order::EpochOrder;
pub use prepared::{write_events, write_kept, write_prepared};
pub use read::read_rows;
pub use report::ReadReport;
pub use row::{Place, Row};
pub(crate) use source::{MAX_LINE, Source};
pub(crate) use stream::{Stream, compression_of};
pub(crate) use time::{Time, classic_seconds, has_form, push_rfc3339, rfc3339_utc, unix_seconds, year_of};
