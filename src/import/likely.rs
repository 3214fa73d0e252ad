//! What an input looks like in which nothing was found.

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
    let num_matches = |format: LogFormat| {
        let options = ImportOptions::new(format);
        let Ok(parser) = parser_of(&options) else { return 0 };
        let mut num_matches = 0_usize;
        let mut count = |record: std::result::Result<&[u8], Skip>| {
            let skip = record.and_then(|record| parser.parse(record, i64::MAX).map(|_| ())).err();
            let is_other = matches!(
                skip,
                Some(Skip::NoMatch | Skip::OtherMessage | Skip::TooLong | Skip::Unfinished | Skip::NoAddress)
            );
            num_matches += usize::from(!is_other);
            Ok(())
        };
        // The closures give no error.
        let mut records = parser.records();
        let _ = records.feed(sample, &mut count).and_then(|()| records.end(&mut count));
        num_matches
    };
    // Any object is JSON: what else it is counts first.
    let logs = LogFormat::ALL.into_iter().filter(|format| *format != but && *format != LogFormat::Json);
    let best = logs.map(|format| (num_matches(format), format)).max_by_key(|(num, _)| *num);
    if let Some((1.., format)) = best {
        return Some(Likely::Log(format));
    }
    if !json::keys_of_first(sample).is_empty() {
        return (but != LogFormat::Json).then_some(Likely::Log(LogFormat::Json));
    }
    let line = sample.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let ip = line.split(|byte| *byte == b',').nth(1)?;
    parse_address(ip).map(|_| Likely::Events)
}
