//! Lines whose columns have names: tables of Zeek and W3C, which name them in a line of their own, and those of AWS load
//! balancers, whose order is fixed.

use memchr::memchr;
use serde_json::{Map, Value};

use super::login::Skip;
use super::options::LogFormat;

/// How the lines of an input become objects.
#[derive(Clone, Debug)]
pub(super) struct TableLines {
    kind: Kind,
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `#fields` and columns between tabs, `-` for what is not there.
    Zeek,
    /// `#Fields:` and columns between tabs or spaces, `-` for what is not there.
    W3c,
    /// Columns between spaces, some of them in quotes.
    Alb,
}

/// The columns of an Application Load Balancer's access log
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>); later ones are
/// passed over.
const ALB: [&str; 22] = [
    "type",
    "time",
    "elb",
    "client_port",
    "target_port",
    "request_processing_time",
    "target_processing_time",
    "response_processing_time",
    "elb_status_code",
    "target_status_code",
    "received_bytes",
    "sent_bytes",
    "request",
    "user_agent",
    "ssl_cipher",
    "ssl_protocol",
    "target_group_arn",
    "trace_id",
    "domain_name",
    "chosen_cert_arn",
    "matched_rule_priority",
    "request_creation_time",
];

impl TableLines {
    /// How the lines of an input are read that begins with `head`; nothing where it has objects of JSON.
    pub(super) fn of(format: LogFormat, head: &[u8]) -> Option<Self> {
        let kind = match format {
            LogFormat::Zeek if !matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) => Kind::Zeek,
            LogFormat::W3c => Kind::W3c,
            LogFormat::Alb => Kind::Alb,
            _ => return None,
        };
        let names = if kind == Kind::Alb { ALB.map(str::to_string).to_vec() } else { Vec::new() };
        Some(TableLines { kind, names })
    }

    /// The object of a line.
    pub(super) fn object_of(&mut self, line: &[u8]) -> std::result::Result<Value, Skip> {
        let line = String::from_utf8_lossy(line);
        if let Some(names) = line.strip_prefix("#fields\t") {
            self.names = names.split('\t').map(str::to_string).collect();
            return Err(Skip::OtherMessage);
        }
        if let Some(names) = line.strip_prefix("#Fields:") {
            self.names = names.split_whitespace().map(str::to_string).collect();
            return Err(Skip::OtherMessage);
        }
        if line.starts_with('#') {
            return Err(Skip::OtherMessage);
        }
        let values: Vec<&str> = match self.kind {
            Kind::Alb => words(&line),
            Kind::W3c if !line.contains('\t') => line.split(' ').collect(),
            _ => line.split('\t').collect(),
        };
        if self.names.is_empty() || values.len() < self.names.len().min(ALB.len() - 4) {
            return Err(Skip::NoMatch);
        }
        let mut object = Map::new();
        for (name, value) in self.names.iter().zip(&values) {
            let is_there = !matches!(*value, "-" | "(empty)" | "");
            object.insert(name.clone(), if is_there { Value::from(*value) } else { Value::Null });
        }
        if self.kind == Kind::W3c
            && let (Some(Value::String(date)), Some(Value::String(time))) =
                (object.get("date"), object.get("time"))
        {
            let when = format!("{date}T{time}");
            object.insert("when".into(), Value::from(when));
        }
        Ok(Value::Object(object))
    }
}

/// The words of a line between spaces; one in quotes may have some.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(inner) => {
                let end = memchr(b'"', inner.as_bytes()).unwrap_or(inner.len());
                (&inner[..end], inner.get(end + 1..).unwrap_or_default())
            }
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        words.push(word);
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    words
}
