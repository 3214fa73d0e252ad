//! The parsers of all formats.

use super::apache::Apache;
use super::cloudtrail::CloudTrail;
use super::json::Json;
use super::options::{ImportOptions, LogFormat};
use super::parser::Parser;
use super::sources::Known;
use super::sshd::Sshd;
use crate::{At, Error, Result};

/// The parser of a format, which is not [`LogFormat::Auto`].
///
/// # Errors
///
/// [`Error::Config`] for options that the format does not have.
pub(super) fn parser_of(options: &ImportOptions) -> Result<Box<dyn Parser>> {
    use LogFormat::{Apache as Access, CloudTrail as Trail, Json as Objects, Sshd as Shell};
    let name = options.format.name();
    let only = |option: &'static str, is_given: bool, is_taken: bool, formats: &str| {
        if !is_given || is_taken {
            return Ok(());
        }
        Err(Error::config(
            At::option(option),
            format!("`{name}` does not take it"),
            format!("it is for {formats}"),
        ))
    };
    let format = options.format;
    only("ip", options.ip.is_some(), !matches!(format, Shell | Trail), "json and access logs")?;
    only("time", options.time.is_some(), !matches!(format, Shell | Trail | Access), "json")?;
    let help = "formats with known outcomes; in json take --where FIELD=VALUE";
    only("events", options.outcomes.is_some(), format != Objects, help)?;
    let help = "sshd, whose classic time stamps have no year";
    only("year", options.year.is_some(), format == Shell, help)?;
    only("program", !options.programs.is_empty(), format == Shell, "sshd")?;
    let help = "the access logs of Apache and nginx";
    only("trusted_proxies", !options.trusted_proxies.is_empty(), format == Access, help)?;
    if options.year.is_some_and(|year| !(1..=9999).contains(&year)) {
        return Err(Error::config(At::option("year"), "there is no such year", "give one from 1 to 9999"));
    }
    if let Some(known) = Known::new(options)? {
        return Ok(Box::new(known));
    }
    Ok(match format {
        Access => Box::new(Apache::new(options)?),
        Shell => Box::new(Sshd::new(options)?),
        Trail => Box::new(CloudTrail::new(options)?),
        _ => Box::new(Json::new(options)?),
    })
}
