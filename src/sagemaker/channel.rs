use std::path::Path;

use serde::Deserialize;

use crate::data::Format;
use crate::{Error, Result};

/// An input channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its folder.
    pub path: String,
    /// What its content type says; none where it says nothing: the content decides.
    pub format: Option<Format>,
}

/// A channel in `inputdataconfig.json`; of what is not here nothing depends.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ChannelConfig {
    content_type: Option<String>,
    training_input_mode: Option<String>,
    record_wrapper_type: Option<String>,
}

impl Channel {
    /// The channel `name` of the file `source`, whose files are in `folder`.
    pub(super) fn new(source: &Path, name: &str, config: &ChannelConfig, folder: &Path) -> Result<Self> {
        let refuse = |what: String, help: &str| {
            Err(Error::config(format!("{}: {name}", source.display()), what, help))
        };
        match config.training_input_mode.as_deref() {
            None | Some("File" | "FastFile") => {}
            Some(mode) => {
                let what = format!("the input mode {mode} is not supported");
                return refuse(what, "set the channel's input mode to File or FastFile");
            }
        }
        match config.record_wrapper_type.as_deref() {
            None | Some("None") => {}
            Some(wrapper) => {
                let what = format!("the record wrapper {wrapper} is not supported");
                return refuse(what, "set the channel's record wrapper to None");
            }
        }
        let content_type = config.content_type.as_deref().unwrap_or("");
        let format = match format_of(content_type) {
            Ok(format) => format,
            Err(help) => return refuse(format!("the content type {content_type:?} cannot be read"), help),
        };
        Ok(Self { path: folder.display().to_string(), format })
    }
}

/// The format of a content type; the error is a help text.
fn format_of(content_type: &str) -> std::result::Result<Option<Format>, &'static str> {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let media_type = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| {
        let charset = part.strip_prefix("charset")?.trim_start().strip_prefix('=')?;
        Some(charset.trim().trim_matches('"').to_string())
    });
    if charset.is_some_and(|charset| !["utf-8", "utf8", "us-ascii"].contains(&charset.as_str())) {
        return Err("give UTF-8: text/csv; charset=utf-8");
    }
    match media_type.as_str() {
        "" => Ok(None),
        "text/csv" => Ok(Some(Format::Csv)),
        "application/jsonlines" => Ok(Some(Format::JsonLines)),
        "application/x-parquet" => Ok(Some(Format::Parquet)),
        _ => Err("give text/csv, application/jsonlines or application/x-parquet, or leave it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_formats() {
        for (content_type, format) in [
            ("", None),
            ("text/csv", Some(Format::Csv)),
            ("Text/CSV;label_size=0", Some(Format::Csv)),
            ("text/csv; charset = \"UTF-8\"", Some(Format::Csv)),
            ("application/jsonlines", Some(Format::JsonLines)),
            ("application/x-parquet", Some(Format::Parquet)),
        ] {
            assert_eq!(format_of(content_type), Ok(format), "{content_type}");
        }
        for content_type in ["text/csv;charset=latin1", "application/json", "csv", ";"] {
            assert_eq!(format_of(content_type).is_err(), content_type != ";", "{content_type}");
        }
    }
}
