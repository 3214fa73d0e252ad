//! The fuzz target of requests.

use serde_json::Value;

use super::json_records::{Form, events_of_json};
use super::limits::Limits;
use super::reading::Reading;
use super::wire::{self, RequestFormat};
use crate::Event;
use crate::event::AddressFamilies;

/// The body of a request in each of its formats: where a document is taken, it has as many records as events.
pub fn invocations(body: &[u8]) {
    let limits = Limits { max_records: 1000, ..Limits::default() };
    for addresses in AddressFamilies::ALL {
        let reading = Reading { limits: &limits, addresses };
        for format in [RequestFormat::Csv, RequestFormat::JsonLines, RequestFormat::of(None, body)] {
            if let Ok(events) = wire::parse(body, format, &reading) {
                // A document may have an empty list; lines that hold no record are refused.
                let least = usize::from(format != RequestFormat::Json);
                assert!((least..=limits.max_records).contains(&events.len()));
            }
        }
        for (form, list) in [(Form::SageMaker, "instances"), (Form::Plain, "events")] {
            let Ok(events) = events_of_json(body, form, &reading) else { continue };
            let Ok(document) = serde_json::from_slice::<Value>(body) else { panic!("this is no JSON") };
            assert_eq!(document[list].as_array().map(Vec::len), Some(events.len()));
        }
    }
    let _ = super::plain::ToExplain::parse(body, AddressFamilies::Both);
}

/// The event of a record `{"entity": …, "ip": …}` in a request of our own form.
pub(crate) fn event_of_record(record: &[u8]) -> Option<Event> {
    let limits = Limits::default();
    let reading = Reading { limits: &limits, addresses: AddressFamilies::Both };
    let body = [b"{\"events\":[", record, b"]}"].concat();
    match events_of_json(&body, Form::Plain, &reading).ok()?[..] {
        [event] => Some(event),
        _ => None,
    }
}
