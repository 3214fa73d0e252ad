//! How logs are imported.

use crate::{At, Error, Result};

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The access log of Apache httpd or nginx: common or combined, with or without the virtual host before it.
    Apache,
    /// What OpenSSH's sshd writes to syslog or the journal.
    Sshd,
    /// JSON objects, with a path for each field.
    Json,
    /// AWS CloudTrail.
    CloudTrail,
}

impl LogFormat {
    pub(super) const ALL: [LogFormat; 4] =
        [LogFormat::Apache, LogFormat::Sshd, LogFormat::CloudTrail, LogFormat::Json];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Apache => "apache",
            LogFormat::Sshd => "sshd",
            LogFormat::Json => "json",
            LogFormat::CloudTrail => "cloudtrail",
        }
    }
}

/// Which logins are imported: a model learns from those that succeeded, and scores those that failed too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcomes {
    /// Those that succeeded.
    #[default]
    Accepted,
    /// Those that failed.
    Failed,
    /// Both.
    All,
}

impl Outcomes {
    pub(super) fn wants(self, has_failed: bool) -> bool {
        match self {
            Outcomes::Accepted => !has_failed,
            Outcomes::Failed => has_failed,
            Outcomes::All => true,
        }
    }
}

/// How logs are imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The format of every input.
    pub format: LogFormat,
    /// The entity's field: `user`, `user_agent`, `path` or `vhost` of an access log, `user`, `host` or `user@host` of
    /// sshd, paths into a JSON object, of which the first that is there counts. Empty for the format's default.
    pub entity: Vec<String>,
    /// The path of the address in [`LogFormat::Json`], by default `ip`.
    pub ip: Option<String>,
    /// The path of the time in [`LogFormat::Json`], by default `time`, where that is there.
    pub time: Option<String>,
    /// Which logins are imported; [`LogFormat::Json`] does not know.
    pub outcomes: Option<Outcomes>,
    /// The year of sshd's lines in the classic form, which has none: 1 to 9999. Without it a line is of the last year
    /// in which it is not newer than its file.
    pub year: Option<i16>,
}

impl ImportOptions {
    /// The defaults of a format.
    pub fn new(format: LogFormat) -> Self {
        ImportOptions { format, entity: Vec::new(), ip: None, time: None, outcomes: None, year: None }
    }

    /// The one field of formats whose fields have names.
    pub(super) fn field<T: Copy>(&self, fields: &[(&str, T)]) -> Result<T> {
        let names = || fields.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &self.entity[..] {
            [] => Ok(fields[0].1),
            [wanted] => {
                fields.iter().find(|(name, _)| name == wanted).map(|(_, field)| *field).ok_or_else(|| {
                    let what = format!("`{}` has no field `{wanted}`", self.format.name());
                    Error::config(At::option("entity"), what, format!("take one of {}", names()))
                })
            }
            _ => {
                let what = format!("`{}` takes one field", self.format.name());
                Err(Error::config(At::option("entity"), what, format!("take one of {}", names())))
            }
        }
    }
}
