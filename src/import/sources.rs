//! Logs of services and servers whose fields are known: where each has the entity, the address, the time and the outcome.
//! All are JSON, or lines whose columns become the fields of an object (`table_lines`).

use std::borrow::Cow;

use serde_json::Value;

use super::filter::Filter;
use super::json::{Path, check_filters, filters_of, first_text, object_of, paths, text_of, time_of};
use super::login::{Login, Skip, address};
use super::options::{ImportOptions, LogFormat, Outcomes};
use super::parser::Parser;
use super::records::Records;
use super::table_lines::TableLines;
use crate::Result;

/// What is known of a source.
pub(super) struct Source {
    format: LogFormat,
    /// Paths of which one group has to be there, so that a record is one of the source.
    known_by: &'static [&'static [&'static str]],
    entity: &'static [&'static str],
    ip: &'static [&'static str],
    time: &'static [&'static str],
    /// Whether a login failed; none for a record that is no login.
    has_failed: fn(&Value) -> Option<bool>,
}

/// All sources.
static SOURCES: [Source; 9] = [
    Source {
        format: LogFormat::Okta,
        known_by: &[&["actor", "eventType", "published"]],
        entity: &["actor.alternateId", "actor.id"],
        ip: &["client.ipAddress"],
        time: &["published"],
        has_failed: okta,
    },
    Source {
        format: LogFormat::Entra,
        known_by: &[
            &["userPrincipalName", "ipAddress", "createdDateTime"],
            &["properties.userPrincipalName", "properties.ipAddress"],
            &["UserPrincipalName", "IPAddress", "TimeGenerated"],
        ],
        entity: &["userPrincipalName", "properties.userPrincipalName", "UserPrincipalName"],
        ip: &["ipAddress", "properties.ipAddress", "IPAddress"],
        time: &["createdDateTime", "properties.createdDateTime", "TimeGenerated", "time"],
        has_failed: entra,
    },
    Source {
        format: LogFormat::Google,
        known_by: &[&["id.applicationName", "actor", "events"]],
        entity: &["actor.email", "actor.profileId"],
        ip: &["ipAddress"],
        time: &["id.time"],
        has_failed: google,
    },
    Source {
        format: LogFormat::Cloudflare,
        known_by: &[
            &["user_email", "ip_address", "created_at"],
            &["Email", "IPAddress", "CreatedAt"],
            &["ClientIP", "EdgeStartTimestamp"],
        ],
        entity: &["user_email", "Email", "ClientRequestHost"],
        ip: &["ip_address", "IPAddress", "ClientIP"],
        time: &["created_at", "CreatedAt", "EdgeStartTimestamp"],
        has_failed: cloudflare,
    },
    Source {
        format: LogFormat::Caddy,
        known_by: &[&["request.remote_ip", "status"], &["request.remote_addr", "status"]],
        entity: &["user_id"],
        ip: &["request.client_ip", "request.remote_ip", "request.remote_addr"],
        time: &["ts"],
        has_failed: |record| is_refused(record, &["status"]),
    },
    Source {
        format: LogFormat::Traefik,
        known_by: &[&["ClientHost", "DownstreamStatus"], &["ClientAddr", "DownstreamStatus"]],
        entity: &["ClientUsername"],
        ip: &["ClientHost", "ClientAddr"],
        time: &["StartUTC", "time", "StartLocal"],
        has_failed: |record| is_refused(record, &["DownstreamStatus"]),
    },
    Source {
        format: LogFormat::Zeek,
        known_by: &[&["id.orig_h", "id.resp_h", "ts"]],
        // A log of SSH has no user, and its `client` is a program.
        entity: &["username", "user", "cookie", "id.resp_h"],
        ip: &["id.orig_h"],
        time: &["ts"],
        has_failed: zeek,
    },
    Source {
        format: LogFormat::Alb,
        known_by: &[&["client_port", "elb_status_code"]],
        entity: &["domain_name"],
        ip: &["client_port"],
        time: &["time"],
        has_failed: |record| is_refused(record, &["elb_status_code"]),
    },
    Source {
        format: LogFormat::W3c,
        known_by: &[&["c-ip", "date", "time"], &["c-ip", "timestamp"]],
        entity: &["cs-username", "x-host-header", "cs(Host)", "cs-host"],
        ip: &["c-ip"],
        time: &["when", "timestamp"],
        has_failed: |record| is_refused(record, &["sc-status"]),
    },
];

/// The parser of a source.
pub(super) struct Known {
    source: &'static Source,
    known_by: Vec<Vec<Path>>,
    entity: Vec<Path>,
    ip: Vec<Path>,
    time: Vec<Path>,
    filters: Vec<(Path, Filter)>,
    outcomes: Outcomes,
    lines: Option<TableLines>,
}

impl Known {
    /// The parser of the options' format; nothing where that is none of these.
    pub(super) fn new(options: &ImportOptions) -> Result<Option<Self>> {
        let Some(source) = SOURCES.iter().find(|source| source.format == options.format) else {
            return Ok(None);
        };
        let one = |given: &Option<String>| given.iter().cloned().collect::<Vec<_>>();
        let groups = source.known_by.iter().map(|group| paths(&[], group));
        Ok(Some(Known {
            source,
            known_by: groups.collect::<Result<_>>()?,
            entity: paths(&options.entity, source.entity)?,
            ip: paths(&one(&options.ip), source.ip)?,
            time: paths(&one(&options.time), source.time)?,
            filters: filters_of(options)?,
            outcomes: options.outcomes.unwrap_or_default(),
            lines: None,
        }))
    }

    fn object(&mut self, record: &[u8]) -> std::result::Result<Value, Skip> {
        match &mut self.lines {
            Some(lines) => lines.object_of(record),
            None => object_of(record),
        }
    }
}

impl Parser for Known {
    fn records(&mut self, head: &[u8]) -> Records {
        self.lines = TableLines::of(self.source.format, head);
        match self.lines {
            Some(_) => Records::lines(),
            None => Records::objects(Vec::new()),
        }
    }

    fn parse<'a>(&mut self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let object = self.object(record)?;
        let is_there = |path: &Path| path.find(&object).is_some();
        if !self.known_by.iter().any(|group| group.iter().all(is_there)) {
            return Err(Skip::NoMatch);
        }
        check_filters(&object, &self.filters)?;
        let has_failed = (self.source.has_failed)(&object).ok_or(Skip::OtherMessage)?;
        if !self.outcomes.wants(has_failed) {
            return Err(Skip::NotChosen);
        }
        let entity = first_text(&object, &self.entity)?;
        let ip = self.ip.iter().find_map(|path| path.find(&object).filter(|value| value.is_string()));
        let address = address(text_of(&*ip.ok_or(Skip::NoAddress)?).as_bytes())?;
        let time = self.time.iter().find_map(|path| path.find(&object).filter(|value| !value.is_null()));
        let seconds = time.and_then(|time| time_of(&time)).ok_or(Skip::BadTime)?;
        Ok(Login { entity: Cow::Owned(entity.into_bytes()), address, seconds: Some(seconds), num_times: 1 })
    }

    fn culprit<'a>(&self, record: &'a [u8], skip: Skip) -> Option<Cow<'a, [u8]>> {
        let object = match &self.lines {
            Some(lines) => lines.clone().object_of(record).ok()?,
            None => object_of(record).ok()?,
        };
        let paths = match skip {
            Skip::BadTime => &self.time,
            Skip::NotAddress => &self.ip,
            _ => return None,
        };
        let value = paths.iter().find_map(|path| path.find(&object))?;
        Some(Cow::Owned(text_of(&value).into_bytes()))
    }
}

fn text_at<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    match crate::data::find_dotted(object, path) {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Null) | None => Cow::Borrowed(""),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

/// A name that came with the status 401 is nobody's: the server did not let it in.
fn is_refused(record: &Value, status: &[&str]) -> Option<bool> {
    Some(status.iter().any(|path| text_at(record, path) == "401"))
}

/// Sessions and authentications, but not what becomes of them in policies and applications.
fn okta(record: &Value) -> Option<bool> {
    let event = text_at(record, "eventType");
    if event != "user.session.start" && !event.starts_with("user.authentication.") {
        return None;
    }
    match &*text_at(record, "outcome.result") {
        "SUCCESS" | "ALLOW" => Some(false),
        "FAILURE" | "DENY" => Some(true),
        _ => None,
    }
}

/// The code 0 is a success.
fn entra(record: &Value) -> Option<bool> {
    let codes = ["status.errorCode", "properties.status.errorCode", "resultType", "ResultType"];
    let code = codes.into_iter().map(|path| text_at(record, path)).find(|code| !code.is_empty())?;
    Some(code != "0")
}

fn google(record: &Value) -> Option<bool> {
    let events = record.get("events").and_then(Value::as_array)?;
    events.iter().find_map(|event| match event.get("name").and_then(Value::as_str)? {
        "login_success" => Some(false),
        "login_failure" => Some(true),
        _ => None,
    })
}

fn cloudflare(record: &Value) -> Option<bool> {
    if record.get("ClientIP").is_some() {
        return is_refused(record, &["EdgeResponseStatus"]);
    }
    let action = [text_at(record, "action"), text_at(record, "Action")].concat();
    if !action.is_empty() && action != "login" {
        return None;
    }
    let allowed = [text_at(record, "allowed"), text_at(record, "Allowed")].concat();
    Some(allowed != "true")
}

fn zeek(record: &Value) -> Option<bool> {
    // Of SSH it is a guess of Zeek's, which is not always there.
    if record.get("auth_attempts").is_some() || record.get("auth_success").is_some() {
        return match &*text_at(record, "auth_success") {
            "true" | "T" => Some(false),
            "false" | "F" => Some(true),
            _ => None,
        };
    }
    let success = text_at(record, "success");
    let result = text_at(record, "result");
    Some(matches!(&*success, "false" | "F") || result == "failed" || is_refused(record, &["status_code"])?)
}
