//! Values of a JSON object by the path of their keys.

use serde_json::Value;

/// The value at a path with dots (`user.name`, `records.0.ip`). A key may have dots itself: the longest key that is
/// there counts first, so `source.ip` is the key `source.ip` or `ip` in `source`.
pub(crate) fn find_dotted<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let step = |key: &str| match value {
        Value::Object(object) => object.get(key),
        Value::Array(array) => array.get(key.parse::<usize>().ok()?),
        _ => None,
    };
    let whole = step(path);
    let dots = path.rmatch_indices('.').map(|(at, _)| at);
    whole.or_else(|| dots.into_iter().find_map(|at| find_dotted(step(&path[..at])?, &path[at + 1..])))
}
