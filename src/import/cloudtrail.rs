//! AWS CloudTrail: `{"Records": […]}` as it lies in the bucket, or one record a line.
//!
//! The fields are those of CloudTrail's record reference
//! (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>). An
//! address is a service's name where AWS itself made the call.

use std::borrow::Cow;

use serde_json::Value;

use super::json::{Path, first_text, object_of, paths};
use super::login::{Login, Skip, address};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::unix_seconds;

/// Where the entity stands, the first that is there. An assumed role's ARN has the session's name at its end.
const ENTITY: [&str; 3] = ["/userIdentity/arn", "/userIdentity/principalId", "/userIdentity/userName"];

/// Stands for the name of somebody who failed to log in, which may be a password in the wrong field.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

pub(super) struct CloudTrail {
    entity: Vec<Path>,
    outcomes: Outcomes,
}

impl CloudTrail {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        let outcomes = options.outcomes.unwrap_or_default();
        Ok(CloudTrail { entity: paths(&options.entity, &ENTITY)?, outcomes })
    }
}

impl Parser for CloudTrail {
    fn records(&self) -> Records {
        Records::objects()
    }

    fn parse<'a>(&self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let object = object_of(record)?;
        let (Some(time), Some(_)) = (object.get("eventTime"), object.get("eventName")) else {
            return Err(Skip::NoMatch);
        };
        if !self.outcomes.wants(has_failed(&object)) {
            return Err(Skip::NotChosen);
        }
        let entity = first_text(&object, &self.entity).filter(|entity| entity != HIDDEN);
        let entity = Cow::Owned(entity.ok_or(Skip::NoEntity)?.into_bytes());
        let source = object.get("sourceIPAddress").and_then(Value::as_str).ok_or(Skip::NoAddress)?;
        let is_service = source.ends_with(".amazonaws.com") || source == "AWS Internal";
        let address =
            address(source.as_bytes()).map_err(|skip| if is_service { Skip::Service } else { skip })?;
        let seconds = time.as_str().and_then(|time| unix_seconds(time.as_bytes())).ok_or(Skip::BadTime)?;
        Ok(Login { entity, address, seconds: Some(seconds), num_times: 1 })
    }
}

/// Whether a call was refused: it has an error, or it is a login to the console that failed.
fn has_failed(object: &Value) -> bool {
    let console_login = object.pointer("/responseElements/ConsoleLogin").and_then(Value::as_str);
    object.get("errorCode").is_some_and(|code| !code.is_null()) || console_login == Some("Failure")
}
