//! In which keys two tables differ.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// "section.key: 1 then, 2 now" for each key in which the tables differ and may not.
pub(crate) fn differences(then: &Table, now: &Table, may_differ: impl Fn(&str) -> bool) -> Vec<String> {
    let values = |table: &Table| {
        let mut values = BTreeMap::new();
        flatten(String::new(), table, &mut values);
        values
    };
    let (then, now) = (values(then), values(now));
    let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let text = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
    let differ = keys.into_iter().filter(|key| then.get(*key) != now.get(*key) && !may_differ(key));
    differ.map(|key| format!("{key}: {} then, {} now", text(then.get(key)), text(now.get(key)))).collect()
}

/// Every value of a table by its key path.
fn flatten(parent: String, table: &Table, values: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
        match value {
            Value::Table(table) => flatten(path, table, values),
            value => {
                values.insert(path, value.clone());
            }
        }
    }
}
