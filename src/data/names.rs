//! Text and names of an input in messages.

use crate::nearest;

/// Bytes of an input for a message: escaped and cut to a readable length.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MAX_CHARS: usize = 80;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_CHARS)]);
    let mut chars = text.chars();
    let cut: String = chars.by_ref().take(MAX_CHARS).collect();
    let dots = if chars.next().is_some() { "…" } else { "" };
    let escaped: String = cut
        .chars()
        .flat_map(|char| {
            let is_control = char.is_control();
            is_control.then(|| char.escape_debug()).into_iter().flatten().chain((!is_control).then_some(char))
        })
        .collect();
    format!("`{escaped}{dots}`")
}

/// A help text that lists the valid names, and first the one that was probably meant.
pub(super) fn one_of(name: &str, valid: &[&str]) -> String {
    let list = shown_names(valid.iter().copied());
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean {}? There are {list}", shown(near.as_bytes())),
        None => format!("take one of {list}"),
    }
}

/// Names of an input for a message, as many as anybody would read: they are whatever somebody has written there.
pub(crate) fn shown_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MAX_NAMES: usize = 30;
    let mut names = names.map(|name| shown(name.as_bytes()));
    let mut list = names.by_ref().take(MAX_NAMES).collect::<Vec<_>>().join(", ");
    let num_more = names.count();
    if num_more > 0 {
        list += &format!(" and {num_more} more");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_short_and_printable() {
        assert_eq!(shown(b"a,\"b\""), "`a,\"b\"`");
        assert_eq!(shown(b"a\tb\n\x1b"), "`a\\tb\\n\\u{1b}`");
        assert_eq!(shown(&[b'x'; 1000]).chars().count(), 83);
    }
}
