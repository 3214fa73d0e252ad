//! The `[parameters.NAME]` tables of a sweep's file.

use ipsight_search::space::{Condition, Domain, Parameter, Space};
use toml::{Table, Value};

use crate::config::check::{self, Problem};
use crate::config::layers::Layers;
use crate::config::{Config, suggest};

/// Tables of the configuration whose keys may vary.
const SECTIONS: [&str; 2] = ["hyperparameters", "training"];

/// Keys of theirs that may not: they change how a training runs, and not what comes out.
const FIXED: [&str; 4] = [
    "training.device",
    "training.checkpoint_interval",
    "training.keep_checkpoints",
    "hyperparameters.batch_metrics_publish_interval",
];

/// What a parameter may range over, by the key in its table.
const DOMAINS: [&str; 5] = ["values", "uniform", "log_uniform", "int", "log_int"];

/// Reads the parameters in the order in which they stand in the file. What is wrong goes to `problems`, by its path.
pub(super) fn parse(tables: &Table, layers: &Layers, problems: &mut Vec<Problem>) -> Space {
    let mut names: Vec<&String> = tables.keys().collect();
    names.sort_by_key(|name| layers.place(&format!("parameters.{name}")).map(|(order, _)| order));
    let schema = Config::schema();
    let mut space = Space::default();
    for name in names {
        let path = format!("parameters.{name}");
        let refuse = |what: String, help: &str| Problem::new(&[&path], what, help);
        let Some(table) = tables[name].as_table() else {
            problems.push(refuse(format!("{name} is no table"), "write [parameters.NAME] and keys below it"));
            continue;
        };
        let key = match key_of(schema, name) {
            Ok(key) => key,
            Err((what, help)) => {
                problems.push(refuse(what, &help));
                continue;
            }
        };
        if let Some(other) = space.parameters.iter().find(|other| other.key == key) {
            let what = format!("{name} and {} are the same key, {key}", other.name);
            problems.push(refuse(what, "leave out one of them"));
            continue;
        }
        let known = problems.len();
        let domain = domain(schema, &path, &key, table, problems);
        let when = table.get("when").and_then(|when| match condition(&space, tables, when) {
            Ok(condition) => Some(condition),
            Err((what, help)) => {
                problems.push(Problem::new(&[&format!("{path}.when")], what, help));
                None
            }
        });
        if let Some(domain) = domain.filter(|_| problems.len() == known) {
            space.parameters.push(Parameter { name: name.clone(), key, domain, when });
        }
    }
    if space.parameters.is_empty() && problems.is_empty() {
        let help = "add a table such as [parameters.learning_rate]";
        problems.push(Problem::new(&["parameters"], "nothing varies", help));
    }
    space
}

/// What is wrong, and what to do.
type Refusal = (String, String);

/// The configuration key of a parameter's name, which is it or its last part.
fn key_of(schema: &serde_json::Value, name: &str) -> Result<String, Refusal> {
    let of_section = |section: &'static str| {
        let keys = schema["properties"][section]["properties"].as_object();
        keys.into_iter().flat_map(|keys| keys.keys()).map(move |key| format!("{section}.{key}"))
    };
    let keys: Vec<String> = SECTIONS.into_iter().flat_map(of_section).collect();
    if let Some(key) =
        keys.iter().find(|key| *key == name || key.split_once('.').is_some_and(|(_, k)| k == name))
    {
        if FIXED.contains(&key.as_str()) {
            let what = format!("{key} does not change what a training comes to");
            return Err((what, "set it in [config], or leave it out".into()));
        }
        return Ok(key.clone());
    }
    if name.starts_with("data.") || schema["properties"]["data"]["properties"].get(name).is_some() {
        let what = format!("`{name}` is of [data], which all trials share");
        return Err((what, "sweep each kind of data on its own".into()));
    }
    let varying = keys.iter().filter(|key| !FIXED.contains(&key.as_str()));
    let short: Vec<&str> = varying.filter_map(|key| key.split_once('.')).map(|(_, key)| key).collect();
    Err((format!("there is no configuration key `{name}`"), suggest(name, "keys", &short)))
}

/// What a parameter ranges over, if its table says so rightly.
fn domain(
    schema: &serde_json::Value,
    path: &str,
    key: &str,
    table: &Table,
    problems: &mut Vec<Problem>,
) -> Option<Domain> {
    let valid: Vec<&str> = DOMAINS.into_iter().chain(["when"]).collect();
    for unknown in table.keys().filter(|key| !valid.contains(&key.as_str())) {
        let at = format!("{path}.{unknown}");
        problems.push(Problem::new(
            &[&at],
            format!("unknown key `{unknown}`"),
            suggest(unknown, "keys", &valid),
        ));
    }
    let found: Vec<&str> = DOMAINS.into_iter().filter(|kind| table.contains_key(*kind)).collect();
    let [kind] = found[..] else {
        let what = match found.len() {
            0 => "there is nothing to choose from".into(),
            _ => format!("{} exclude each other", found.join(" and ")),
        };
        problems.push(Problem::new(&[path], what, format!("give one of {}", DOMAINS.join(", "))));
        return None;
    };
    let at = format!("{path}.{kind}");
    let domain = match read(kind, &table[kind]) {
        Ok(domain) => domain,
        Err((what, help)) => {
            problems.push(Problem::new(&[&at], what, help));
            return None;
        }
    };
    // What the key cannot take is refused as in a configuration.
    let ends = match &domain {
        Domain::Values(values) => values.clone(),
        Domain::Uniform { low, high } | Domain::LogUniform { low, high } => {
            vec![Value::Float(*low), Value::Float(*high)]
        }
        Domain::Int { low, high } | Domain::LogInt { low, high } => {
            vec![Value::Integer(*low), Value::Integer(*high)]
        }
    };
    let (section, key) = key.split_once('.')?;
    let known = problems.len();
    for value in ends {
        let of_section = Table::from_iter([(key.to_string(), value)]);
        let of_config = Table::from_iter([(section.to_string(), Value::Table(of_section))]);
        problems.extend(check::check(schema, &of_config).into_iter().map(|problem| problem.of(&at)));
    }
    (problems.len() == known).then_some(domain)
}

fn read(kind: &str, value: &Value) -> Result<Domain, Refusal> {
    let Some(items) = value.as_array() else {
        let help = if kind == "values" { "write values = [a, b]" } else { "write [low, high]" };
        return Err((format!("{kind} is no array"), help.into()));
    };
    if kind == "values" {
        if items.is_empty() {
            return Err(("there is no value to choose".into(), "give one or more".into()));
        }
        if let Some(twice) = items.iter().enumerate().find(|(i, item)| items[..*i].contains(item)) {
            return Err((format!("{} is there twice", twice.1), "give each value once".into()));
        }
        return Ok(Domain::Values(items.clone()));
    }
    if ["int", "log_int"].contains(&kind) {
        let whole: Option<Vec<i64>> = items.iter().map(Value::as_integer).collect();
        let Some([low, high]) = whole.as_deref() else {
            return Err((format!("{kind} is not two whole numbers"), "write [low, high]".into()));
        };
        let least = if kind == "int" { i64::MIN } else { 1 };
        check_ends(kind, *low <= *high, *low >= least)?;
        let (low, high) = (*low, *high);
        return Ok(if kind == "int" { Domain::Int { low, high } } else { Domain::LogInt { low, high } });
    }
    let number = |item: &Value| item.as_float().or_else(|| item.as_integer().map(|whole| whole as f64));
    let numbers: Option<Vec<f64>> = items.iter().map(number).collect();
    let Some([low, high]) = numbers.as_deref().filter(|ends| ends.iter().all(|end| end.is_finite())) else {
        return Err((format!("{kind} is not two finite numbers"), "write [low, high]".into()));
    };
    check_ends(kind, low < high, kind == "uniform" || *low > 0.0)?;
    let (low, high) = (*low, *high);
    Ok(if kind == "uniform" { Domain::Uniform { low, high } } else { Domain::LogUniform { low, high } })
}

fn check_ends(kind: &str, are_in_order: bool, have_logarithms: bool) -> Result<(), Refusal> {
    if !are_in_order {
        return Err((format!("the range of {kind} is empty"), "write [low, high], low below high".into()));
    }
    if !have_logarithms {
        let without = kind.trim_start_matches("log_");
        return Err((format!("{kind} must begin above 0"), format!("raise it, or take {without}")));
    }
    Ok(())
}

/// `when = { NAME = [values] }`, or one value.
fn condition(space: &Space, tables: &Table, when: &Value) -> Result<Condition, Refusal> {
    const FORM: &str = "write when = { NAME = [values] }, with the name of a parameter above";
    let entries = when.as_table().filter(|entries| entries.len() == 1);
    let Some((name, wanted)) = entries.and_then(|entries| entries.iter().next()) else {
        return Err(("when is not a condition on one parameter".into(), FORM.into()));
    };
    let Some(parameter) = space.parameters.iter().position(|parameter| parameter.name == *name) else {
        let what = match tables.contains_key(name) {
            true => format!("`{name}` stands below, or is wrong itself"),
            false => format!("there is no parameter `{name}`"),
        };
        let above: Vec<&str> = space.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let help = if above.is_empty() { FORM.into() } else { suggest(name, "parameters above", &above) };
        return Err((what, help));
    };
    let Domain::Values(values) = &space.parameters[parameter].domain else {
        return Err((format!("`{name}` has a range and no values"), format!("give {name} values = […]")));
    };
    let wanted = match wanted {
        Value::Array(wanted) if !values.contains(&Value::Array(wanted.clone())) => wanted.clone(),
        one => vec![one.clone()],
    };
    let place = |wanted: &Value| {
        values.iter().position(|value| value == wanted).ok_or_else(|| {
            let valid: Vec<String> = values.iter().map(Value::to_string).collect();
            (format!("`{name}` is never {wanted}"), format!("its values: {}", valid.join(", ")))
        })
    };
    let indices = wanted.iter().map(place).collect::<Result<Vec<usize>, _>>()?;
    if indices.is_empty() {
        return Err((format!("the condition on `{name}` never holds"), FORM.into()));
    }
    Ok(Condition { parameter, indices })
}
