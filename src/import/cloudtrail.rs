//! AWS CloudTrail: `{"Records": […]}` as it lies in the bucket, one record a line, what `aws cloudtrail lookup-events` gives,
//! and events of EventBridge and CloudTrail Lake.
//!
//! The fields are those of CloudTrail's record reference
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>). An
//! address is a service's name where AWS itself made the call.

use std::borrow::Cow;

use serde_json::Value;

use super::filter::Filter;
use super::json::{Path, check_filters, filters_of, first_text, object_of, paths};
use super::login::{Login, Skip, address};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::unix_seconds;

/// Stands for the name of somebody who failed to log in, which may be a password in the wrong field.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

pub(super) struct CloudTrail {
    /// Where the entity stands; empty to tell by the identity's type.
    entity: Vec<Path>,
    outcomes: Outcomes,
    filters: Vec<(Path, Filter)>,
}

impl CloudTrail {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        let outcomes = options.outcomes.unwrap_or_default();
        Ok(CloudTrail { entity: paths(&options.entity, &[])?, outcomes, filters: filters_of(options)? })
    }

    fn entity(&self, event: &Value) -> std::result::Result<String, Skip> {
        let entity = match self.entity.is_empty() {
            true => identity(event).ok_or(Skip::NoEntity)?,
            false => first_text(event, &self.entity)?,
        };
        if entity == HIDDEN { Err(Skip::NoEntity) } else { Ok(entity) }
    }
}

impl Parser for CloudTrail {
    fn records(&mut self, _: &[u8]) -> Records {
        Records::objects(Vec::new())
    }

    fn parse<'a>(&mut self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let event = event_of(object_of(record)?).ok_or(Skip::NoMatch)?;
        check_filters(&event, &self.filters)?;
        if !self.outcomes.wants(has_failed(&event)) {
            return Err(Skip::NotChosen);
        }
        let entity = Cow::Owned(self.entity(&event)?.into_bytes());
        let source = event.get("sourceIPAddress").and_then(Value::as_str).ok_or(Skip::NoAddress)?;
        let is_service = source.ends_with(".amazonaws.com") || source == "AWS Internal";
        let address =
            address(source.as_bytes()).map_err(|skip| if is_service { Skip::Service } else { skip })?;
        let time = event.get("eventTime").and_then(Value::as_str);
        let seconds = time.and_then(|time| unix_seconds(time.as_bytes())).ok_or(Skip::BadTime)?;
        Ok(Login { entity, address, seconds: Some(seconds), num_times: 1 })
    }

    fn culprit<'a>(&self, record: &'a [u8], skip: Skip) -> Option<Cow<'a, [u8]>> {
        let event = event_of(object_of(record).ok()?)?;
        let key = match skip {
            Skip::BadTime => "eventTime",
            Skip::NotAddress => "sourceIPAddress",
            _ => return None,
        };
        event.get(key).map(|value| Cow::Owned(value.as_str().unwrap_or_default().as_bytes().to_vec()))
    }
}

/// The event of a record: itself, or what an envelope holds, as an object or as text.
fn event_of(object: Value) -> Option<Value> {
    let is_event = |object: &Value| object.get("eventTime").is_some() && object.get("eventName").is_some();
    if is_event(&object) {
        return Some(object);
    }
    let inner = ["CloudTrailEvent", "eventData", "detail"].into_iter().find_map(|key| object.get(key))?;
    let inner = match inner {
        Value::String(text) => serde_json::from_str(text).ok()?,
        inner => inner.clone(),
    };
    is_event(&inner).then_some(inner)
}

/// Whether a call was refused: it has an error, or a login says that it failed, in any of the places for it.
fn has_failed(event: &Value) -> bool {
    let says_something = |key: &str| match event.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let is_failure = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| ["failure", "failed"].iter().any(|word| text.eq_ignore_ascii_case(word)))
    };
    let says_failure = |key: &str| match event.get(key) {
        Some(Value::Object(outcomes)) => outcomes.values().any(is_failure),
        _ => false,
    };
    says_something("errorCode")
        || says_something("errorMessage")
        || says_failure("responseElements")
        || says_failure("serviceEventDetails")
}

/// Who called, by the type of the identity. An assumed role's ARN has the session's name at its end; who signs in by IAM
/// Identity Center has a user's identifier, or before 2025 a name beside an account's number, which many share.
fn identity(event: &Value) -> Option<String> {
    let text = |path: &str| {
        let found = event.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.map(str::to_string)
    };
    let account = text("/userIdentity/accountId");
    let principal =
        || text("/userIdentity/principalId").filter(|principal| Some(principal) != account.as_ref());
    let arn = || text("/userIdentity/arn");
    let user_name = || text("/userIdentity/userName");
    let on_behalf_of = || text("/userIdentity/onBehalfOf/userId");
    match text("/userIdentity/type").as_deref() {
        Some("IdentityCenterUser") => on_behalf_of().or_else(user_name).or_else(arn).or_else(principal),
        Some("Unknown" | "Directory") => user_name().or_else(on_behalf_of).or_else(arn).or_else(principal),
        _ => arn().or_else(principal).or_else(user_name).or_else(on_behalf_of),
    }
}
