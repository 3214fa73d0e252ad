//! The parsers of all formats.

use super::apache::Apache;
use super::cloudtrail::CloudTrail;
use super::json::Json;
use super::options::{ImportOptions, LogFormat};
use super::parser::Parser;
use super::sshd::Sshd;
use crate::{At, Error, Result};

/// The parser of a format.
///
/// # Errors
///
/// [`Error::Config`] for options that the format does not have.
pub(super) fn parser_of(options: &ImportOptions) -> Result<Box<dyn Parser>> {
    let name = options.format.name();
    let only = |option: &'static str, is_given: bool, formats: &str| {
        if !is_given {
            return Ok(());
        }
        Err(Error::config(
            At::option(option),
            format!("`{name}` does not take it"),
            format!("it is for {formats}"),
        ))
    };
    if options.format != LogFormat::Json {
        only("ip", options.ip.is_some(), "json")?;
        only("time", options.time.is_some(), "json")?;
    } else {
        only("events", options.outcomes.is_some(), "apache, sshd and cloudtrail")?;
    }
    if options.format != LogFormat::Sshd {
        only("year", options.year.is_some(), "sshd, whose classic time stamps have no year")?;
    }
    if options.year.is_some_and(|year| !(1..=9999).contains(&year)) {
        return Err(Error::config(At::option("year"), "there is no such year", "give one from 1 to 9999"));
    }
    Ok(match options.format {
        LogFormat::Apache => Box::new(Apache::new(options)?),
        LogFormat::Sshd => Box::new(Sshd::new(options)?),
        LogFormat::Json => Box::new(Json::new(options)?),
        LogFormat::CloudTrail => Box::new(CloudTrail::new(options)?),
    })
}
