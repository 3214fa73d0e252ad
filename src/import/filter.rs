//! Which records are looked at: `--where FIELD=PATTERN`.

use std::str::FromStr;

use crate::{At, Error, Result};

/// A condition on a field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The field: a name in formats whose fields have names, else a path.
    pub field: String,
    /// Patterns of which one has to fit the whole text of the field: `*` stands for any bytes, `?` for one.
    pub patterns: Vec<String>,
    /// Whether none may fit instead.
    pub is_negated: bool,
}

impl FromStr for Filter {
    type Err = Error;

    /// Parses `FIELD=PATTERN`, `FIELD!=PATTERN`, and `FIELD=PATTERN|PATTERN`.
    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            let help = "give FIELD=PATTERN, such as path=/login* or status=200|302, or FIELD!=PATTERN";
            Error::config(At::option("where"), format!("`{text}` is no condition"), help)
        };
        let (field, pattern) = text.split_once('=').ok_or_else(malformed)?;
        let (field, is_negated) = field.strip_suffix('!').map_or((field, false), |field| (field, true));
        if field.is_empty() {
            return Err(malformed());
        }
        let patterns = pattern.split('|').map(str::to_string).collect();
        Ok(Filter { field: field.into(), patterns, is_negated })
    }
}

impl Filter {
    /// Whether a field's text, empty where there is none, is as the filter wants it.
    pub(super) fn admits(&self, text: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern.as_bytes(), text)) != self.is_negated
    }
}

/// Whether `text` as a whole fits the pattern. The time is at most the product of both lengths.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on from when what follows the last star does not fit.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((behind, from)) = star else { return false };
                (p, t) = (behind, from + 1);
                star = Some((behind, from + 1));
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_parsed_and_patterns_fit_whole_texts() {
        let admits =
            |condition: &str, text: &str| condition.parse::<Filter>().unwrap().admits(text.as_bytes());
        for (condition, text, admitted) in [
            ("path=/login", "/login", true),
            ("path=/login", "/login/x", false),
            ("path=/login*", "/login/x", true),
            ("path=*/x*y", "/a/xby", true),
            ("path=*/x*y", "/a/xb", false),
            ("status=200|302", "302", true),
            ("status=200|302", "401", false),
            ("status!=4??", "404", false),
            ("status!=4??", "200", true),
            ("a.b=x=y", "x=y", true),
            ("user=", "", true),
            ("user=*", "", true),
            ("user!=", "", false),
        ] {
            assert_eq!(admits(condition, text), admitted, "{condition} {text}");
        }
        for text in ["path", "=x", "!=x", ""] {
            assert_eq!(text.parse::<Filter>().unwrap_err().exit_code(), 2, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_with_stars_fits_what_it_was_made_of(parts in proptest::collection::vec("[a-c]{0,4}", 1..5), more in "[a-c]{0,4}") {
            let (pattern, text) = (parts.join("*"), parts.join(&more));
            proptest::prop_assert!(fits(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
