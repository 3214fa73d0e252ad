//! One TOML table made of a file and overrides, which remembers where each of its values came from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::check::{self, Problem};
use crate::{Error, Result};

/// Values of the file and of the overrides laid over it; defaults are not in here.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    table: Table,
    /// Key path (`section.key`) to origin.
    origins: BTreeMap<String, Origin>,
}

/// Where a value was set. The order is the order of layering: greater wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    /// The place among all that was read: lines of the file first, then overrides in order.
    order: usize,
    /// `file:line: section.key` or `--set section.key=value`.
    at: String,
}

impl Layers {
    /// The values as one table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Reads a TOML file as the lowest layer.
    pub(crate) fn add_file(&mut self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).map_err(Error::io("read", file))?;
        self.add_text(&file.display().to_string(), &text)
    }

    /// Reads TOML, which errors call `name`, as the lowest layer.
    pub(crate) fn add_text(&mut self, name: &str, text: &str) -> Result<()> {
        let refuse = |error: toml::de::Error| {
            let at = match error.span() {
                Some(span) => format!("{name}:{}", line_of(text, span.start)),
                None => name.into(),
            };
            Error::config(at, error.message().replace('\n', ", "), "the file must be valid TOML")
        };
        let spanned = DeTable::parse(text).map_err(refuse)?;
        self.table = toml::from_str(text).map_err(refuse)?;
        self.note_lines(spanned.get_ref(), "", name, text);
        Ok(())
    }

    /// Sets one value: `section.key=value`.
    pub(crate) fn add_override(&mut self, assignment: &str) -> Result<()> {
        let at = format!("--set {assignment}");
        let (path, value) = assignment
            .split_once('=')
            .map(|(path, value)| (path.trim(), value.trim()))
            .filter(|(path, _)| path.split('.').all(|key| !key.is_empty()))
            .ok_or_else(|| {
                Error::config(&at, "not an assignment", "write section.key=value, such as training.seed=1")
            })?;
        let value = value.parse().unwrap_or_else(|_| Value::String(value.to_string()));
        self.set(path, value, at)
    }

    /// Sets the value of the key `path`, which `at` names in errors.
    pub(crate) fn set(&mut self, path: &str, value: Value, at: String) -> Result<()> {
        insert(&mut self.table, path, value).map_err(|key| {
            Error::config(&at, format!("`{key}` is a value and not a table"), "shorten the key")
        })?;
        // What the file said below this key is gone, so its lines must not be blamed.
        self.origins.retain(|known, _| !known.starts_with(&format!("{path}.")));
        let order = self.origins.values().map(|origin| origin.order + 1).max().unwrap_or(0);
        self.origins.insert(path.to_string(), Origin { order, at });
        Ok(())
    }

    /// Where a key was set, or what is around or below it: its place among all and its name for people.
    pub(crate) fn place(&self, path: &str) -> Option<(usize, &str)> {
        self.origin_of_path(path).map(|origin| (origin.order, origin.at.as_str()))
    }

    /// One error out of all problems, in the order in which the values were written.
    pub(crate) fn error(&self, problems: Vec<Problem>) -> Error {
        let mut located: Vec<(Option<&Origin>, Problem)> =
            problems.into_iter().map(|problem| (self.origin(&problem), problem)).collect();
        located.sort_by(|a, b| a.0.cmp(&b.0));
        check::join(located.into_iter().map(|(origin, problem)| {
            (origin.map_or_else(|| problem.path().to_string(), |origin| origin.at.clone()), problem)
        }))
    }

    /// The latest origin among the problem's keys.
    fn origin(&self, problem: &Problem) -> Option<&Origin> {
        problem.paths.iter().filter_map(|path| self.origin_of_path(path)).max()
    }

    /// Where a key was set; if it was not as such, where a key below it or a table around it was.
    fn origin_of_path(&self, path: &str) -> Option<&Origin> {
        let below = format!("{path}.");
        let known_below = || {
            let origins =
                self.origins.range(below.clone()..).take_while(|(known, _)| known.starts_with(&below));
            origins.map(|(_, origin)| origin).max()
        };
        let around = || self.origin_of_path(path.rsplit_once('.')?.0);
        self.origins.get(path).or_else(known_below).or_else(around)
    }

    fn note_lines(&mut self, table: &DeTable<'_>, parent: &str, name: &str, text: &str) {
        for (key, value) in table {
            let path = check::child(parent, key.get_ref());
            let line = line_of(text, key.span().start);
            let at = format!("{name}:{line}: {path}");
            self.origins.insert(path.clone(), Origin { order: line, at });
            if let DeValue::Table(inner) = value.get_ref() {
                self.note_lines(inner, &path, name, text);
            }
        }
    }
}

/// Sets `path` to `value` and makes the tables on the way. The error is a key on the way that is no table.
fn insert(table: &mut Table, path: &str, value: Value) -> std::result::Result<(), String> {
    let Some((first, rest)) = path.split_once('.') else {
        table.insert(path.to_string(), value);
        return Ok(());
    };
    match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => insert(inner, rest, value),
        _ => Err(first.to_string()),
    }
}

/// The line, from 1, of the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}
