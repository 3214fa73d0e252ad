//! The fuzz target of logs.

use super::*;
use crate::Result;
use crate::data::events_of_csv;
use crate::event::{AddressFamilies, Event, hash_entity};

/// A log in each format: rows do not depend on the pieces in which its bytes come, and the readers read back each row
/// that is written.
pub fn import(log: &[u8]) {
    for format in LogFormat::ALL {
        let whole = rows_of(format, log, log.len().max(1));
        assert_eq!(rows_of(format, log, 7), whole);
        let text: Vec<u8> = whole.iter().flat_map(|(_, row)| row.iter().copied()).collect();
        let expected: Vec<Event> = whole.into_iter().map(|(event, _)| event).collect();
        assert_eq!(events_of_csv(&text, AddressFamilies::Both), Ok(expected));
    }
}

fn rows_of(format: LogFormat, log: &[u8], size: usize) -> Vec<(Event, Vec<u8>)> {
    struct Rows(Vec<(Event, Vec<u8>)>);
    impl LoginSink for Rows {
        fn login(&mut self, login: &Login<'_>) -> Result<()> {
            self.0
                .push((Event { entity: hash_entity(&login.entity), address: login.address }, login.to_csv()));
            Ok(())
        }

        fn pause(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let mut rows = Rows(Vec::new());
    let outcomes = (format != LogFormat::Json).then_some(Outcomes::All);
    let options = ImportOptions { outcomes, ..ImportOptions::new(format) };
    let Ok(mut importer) = Importer::new(&options, &mut rows) else { panic!("the options are right") };
    importer.newest = 1_717_199_999;
    for piece in log.chunks(size) {
        if importer.feed(piece).is_err() {
            panic!("the sink gives no error");
        }
    }
    let _ = importer.end_input(true);
    let _ = importer.finish("log");
    rows.0
}
