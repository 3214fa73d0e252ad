//! Names of models: what may be one, and which to hint at.

/// Characters of a name, at most.
const MAX_CHARS: usize = 128;

/// Names that a message lists.
const MAX_LISTED: usize = 5;

/// What a name may be, for people.
pub const RULE: &str =
    "a model's name has 1 to 128 characters of A-Z, a-z, 0-9, `.`, `_` and `-`, and not dots alone";

/// Whether this may be the name of a model: nothing that a label, a log line or a path would read as more than a name.
pub fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_CHARS).contains(&name.len())
        && name.bytes().all(is_of_name)
        && name.bytes().any(|byte| byte != b'.')
}

/// Some of the names, the nearest to `wanted` where there is one, as the end of a sentence.
pub fn some<'a>(wanted: Option<&str>, names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = names.len();
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    if count == 0 {
        return "none is loaded".into();
    }
    if count <= MAX_LISTED {
        return format!("one of {}", names.join(", "));
    }
    if let Some(wanted) = wanted {
        let wanted: String = wanted.chars().take(MAX_CHARS).collect();
        names.sort_by_cached_key(|name| {
            // Numbers of this range are ordered as their bits are.
            std::cmp::Reverse(strsim::jaro_winkler(&wanted, name).to_bits())
        });
    }
    format!("one of {count}, such as {}", names[..MAX_LISTED].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_but_a_name() {
        for good in ["a", "..a", "Model-7.v_2", &"x".repeat(128)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "a\"b", "a\nb", "ä", "a%20b", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn few_names_are_listed_and_of_many_the_nearest() {
        let names = |count: usize| (0..count).map(|i| format!("model-{i:04}")).collect::<Vec<_>>();
        assert_eq!(some(None, names(0).iter()), "none is loaded");
        assert_eq!(some(Some("x"), names(2).iter()), "one of model-0000, model-0001");
        let many = names(2000);
        let text = some(Some("model-1234x"), many.iter());
        assert!(text.starts_with("one of 2000, such as model-1234, "), "{text}");
        assert!(text.len() < 200, "{text}");
        assert!(some(Some(&"x".repeat(100_000)), many.iter()).len() < 200);
    }
}
