//! The name that was probably meant.

use crate::nearest;

/// "did you mean `x`? valid …: a, b, c"
pub(crate) fn suggest(name: &str, kind: &str, valid: &[&str]) -> String {
    let list = format!("valid {kind}: {}", valid.join(", "));
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
    }
}
