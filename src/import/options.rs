//! How logs are imported.

use super::filter::Filter;
use super::network::Network;
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
    /// The System Log of Okta.
    Okta,
    /// Sign-ins of Microsoft Entra ID, from Graph, Azure Monitor or Log Analytics.
    Entra,
    /// Activities of Google Workspace.
    Google,
    /// Requests and Access logins of Cloudflare.
    Cloudflare,
    /// The access log of Caddy.
    Caddy,
    /// The access log of Traefik in JSON.
    Traefik,
    /// Logs of Zeek, in JSON or separated by tabs.
    Zeek,
    /// Access logs of AWS Application Load Balancers.
    Alb,
    /// Logs in the extended format of W3C, CloudFront's and IIS's.
    W3c,
    /// Told from the content, input by input.
    Auto,
}

impl LogFormat {
    /// All but [`LogFormat::Auto`], which is one of them; [`LogFormat::Json`] comes last, since all else may be JSON.
    pub(super) const ALL: [LogFormat; 13] = [
        LogFormat::Apache,
        LogFormat::Sshd,
        LogFormat::CloudTrail,
        LogFormat::Okta,
        LogFormat::Entra,
        LogFormat::Google,
        LogFormat::Cloudflare,
        LogFormat::Caddy,
        LogFormat::Traefik,
        LogFormat::Zeek,
        LogFormat::Alb,
        LogFormat::W3c,
        LogFormat::Json,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Apache => "apache",
            LogFormat::Sshd => "sshd",
            LogFormat::Json => "json",
            LogFormat::CloudTrail => "cloudtrail",
            LogFormat::Okta => "okta",
            LogFormat::Entra => "entra",
            LogFormat::Google => "google",
            LogFormat::Cloudflare => "cloudflare",
            LogFormat::Caddy => "caddy",
            LogFormat::Traefik => "traefik",
            LogFormat::Zeek => "zeek",
            LogFormat::Alb => "alb",
            LogFormat::W3c => "w3c",
            LogFormat::Auto => "auto",
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
    /// The entity's field: `user`, `user_agent`, `path` or `vhost` of an access log, `user`, `host`, `user@host`, `key_id`
    /// or `fingerprint` of sshd, paths into a JSON object, of which the first that is there counts. Empty for the format's default.
    pub entity: Vec<String>,
    /// The path of the address in formats of JSON, by default `ip` or the format's. In an access log which address of
    /// those before the user (`first`, `last`, a number from 1), or of the last quoted field (`forwarded`, `forwarded.last`,
    /// `forwarded.2`).
    pub ip: Option<String>,
    /// The path of the time in [`LogFormat::Json`], by default `time`, where that is there.
    pub time: Option<String>,
    /// Proxies whose word on who the client is counts, in access logs.
    pub trusted_proxies: Vec<Network>,
    /// Conditions that all have to hold.
    pub filters: Vec<Filter>,
    /// Names of programs that say what sshd says.
    pub programs: Vec<String>,
    /// Whether names that stand for nobody are entities.
    pub keep_nobody: bool,
    /// Which logins are imported; [`LogFormat::Json`] does not know.
    pub outcomes: Option<Outcomes>,
    /// The year of sshd's lines in the classic form, which has none: 1 to 9999. Without it a line is of the last year
    /// in which it is not newer than its file.
    pub year: Option<i16>,
}

impl ImportOptions {
    /// The defaults of a format.
    pub fn new(format: LogFormat) -> Self {
        ImportOptions {
            format,
            entity: Vec::new(),
            ip: None,
            time: None,
            trusted_proxies: Vec::new(),
            filters: Vec::new(),
            programs: Vec::new(),
            keep_nobody: false,
            outcomes: None,
            year: None,
        }
    }

    /// The filters of formats whose fields have names.
    pub(super) fn filters<T: Copy>(&self, fields: &[(&str, T)]) -> Result<Vec<(T, Filter)>> {
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let with_field = |filter: &Filter| {
            let found = fields.iter().find(|(name, _)| *name == filter.field);
            found.map(|(_, field)| (*field, filter.clone())).ok_or_else(|| {
                let what = format!("`{}` has no field `{}`", self.format.name(), filter.field);
                Error::config(At::option("where"), what, format!("take one of {}", names.join(", ")))
            })
        };
        self.filters.iter().map(with_field).collect()
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
