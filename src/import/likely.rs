//! What an input looks like.

use super::formats::parser_of;
use super::json;
use super::login::Skip;
use super::options::{ImportOptions, LogFormat};
use crate::event::parse_address;

/// What an input looks like.
pub(super) enum Likely {
    Log(LogFormat),
    /// CSV that the readers take.
    Events,
}

/// What `sample`, the beginning of an input that is not of the format `but`, looks like.
pub(super) fn likely_format(sample: &[u8], but: LogFormat) -> Option<Likely> {
    if let Some(format) = known_format(sample, &|format| {
        (format != but && format != LogFormat::Json).then(|| ImportOptions::new(format))
    }) {
        return Some(Likely::Log(format));
    }
    if !json::keys_of_first(sample).is_empty() {
        return (but != LogFormat::Json).then_some(Likely::Log(LogFormat::Json));
    }
    let line = sample.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let ip = line.split(|byte| *byte == b',').nth(1)?;
    parse_address(ip).map(|_| Likely::Events)
}

/// The format of which `sample` has the most records; `options_of` gives the options to try a format with.
pub(super) fn known_format(
    sample: &[u8],
    options_of: &dyn Fn(LogFormat) -> Option<ImportOptions>,
) -> Option<LogFormat> {
    let num_matches = |options: &ImportOptions| {
        let Ok(mut parser) = parser_of(options) else { return 0 };
        let mut records = parser.records(sample);
        let mut num_matches = 0_usize;
        let mut count = |record: std::result::Result<&[u8], Skip>| {
            let skip = record.and_then(|record| parser.parse(record, i64::MAX).map(|_| ())).err();
            let is_other = matches!(
                skip,
                Some(
                    Skip::NoMatch
                        | Skip::OtherMessage
                        | Skip::OtherProgram
                        | Skip::TooLong
                        | Skip::Unfinished
                        | Skip::NoAddress
                )
            );
            // A record of a format without paths of its own is one only where all of it is there.
            let is_other = is_other || (options.format == LogFormat::Json && skip.is_some());
            num_matches += usize::from(!is_other);
            Ok(())
        };
        // The closures give no error.
        let _ = records.feed(sample, &mut count).and_then(|()| records.end(&mut count));
        num_matches
    };
    let counts =
        LogFormat::ALL.into_iter().filter_map(|format| Some((num_matches(&options_of(format)?), format)));
    // Of several the first counts: any object is JSON, what else it is comes before.
    let best = counts.rev().max_by_key(|(num, _)| *num);
    best.filter(|(num, _)| *num > 0).map(|(_, format)| format)
}
