//! Which column is which.

use super::names::{one_of, shown};
use super::options::ReadOptions;
use crate::{At, Error, Result};

/// The columns that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Entity,
    Ip,
    Label,
    Kind,
    Time,
}

impl Role {
    /// The column's name in JSON Lines and Parquet where no option gives another.
    pub(super) fn default_name(self) -> &'static str {
        match self {
            Role::Entity => "entity",
            Role::Ip => "ip",
            Role::Label => "label",
            Role::Kind => "kind",
            Role::Time => "time",
        }
    }

    /// The name of the option that names the column.
    pub(super) fn option(self) -> &'static str {
        match self {
            Role::Entity => "entity_column",
            Role::Ip => "ip_column",
            Role::Label => "label_column",
            Role::Kind => "kind_column",
            Role::Time => "time_column",
        }
    }
}

/// Something for each column: a name, a position, an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns<T> {
    pub(super) entity: T,
    pub(super) ip: T,
    pub(super) label: Option<T>,
    pub(super) kind: Option<T>,
    pub(super) time: Option<T>,
}

impl Columns<String> {
    /// The columns of `options` by name, with the defaults of the format.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when two of them are the same.
    pub(super) fn of(options: &ReadOptions, [entity, ip, label]: [&str; 3]) -> Result<Self> {
        let columns = Columns {
            entity: options.entity_column.clone().unwrap_or_else(|| entity.into()),
            ip: options.ip_column.clone().unwrap_or_else(|| ip.into()),
            label: options.label_column.clone().or(options.labels.then(|| label.into())),
            kind: options.kind_column.clone(),
            time: options.time_column.clone(),
        };
        columns.check_distinct()?;
        Ok(columns)
    }
}

impl<T> Columns<T> {
    /// Those that there are, with their roles.
    pub(super) fn all(&self) -> Vec<(Role, &T)> {
        let optional = [(Role::Label, &self.label), (Role::Kind, &self.kind), (Role::Time, &self.time)];
        let optional = optional.into_iter().filter_map(|(role, column)| Some((role, column.as_ref()?)));
        [(Role::Entity, &self.entity), (Role::Ip, &self.ip)].into_iter().chain(optional).collect()
    }
}

impl<T> Columns<T> {
    /// As [`Columns::all`], to be changed.
    pub(super) fn all_mut(&mut self) -> Vec<(Role, &mut T)> {
        let optional =
            [(Role::Label, &mut self.label), (Role::Kind, &mut self.kind), (Role::Time, &mut self.time)];
        let optional = optional.into_iter().filter_map(|(role, column)| Some((role, column.as_mut()?)));
        [(Role::Entity, &mut self.entity), (Role::Ip, &mut self.ip)].into_iter().chain(optional).collect()
    }
}

impl<T: PartialEq> Columns<T> {
    /// Refuses two roles for one column.
    pub(super) fn check_distinct(&self) -> Result<()> {
        let all = self.all();
        let same = all.iter().enumerate().find(|(i, (_, column))| all[..*i].iter().any(|(_, c)| c == column));
        let Some((_, (role, _))) = same else { return Ok(()) };
        Err(Error::config(
            At::option(role.option()),
            "the column has another role already",
            "name another column",
        ))
    }

    pub(super) fn try_map<'a, U>(
        &'a self,
        mut map: impl FnMut(Role, &'a T) -> Result<U>,
    ) -> Result<Columns<U>> {
        Ok(Columns {
            entity: map(Role::Entity, &self.entity)?,
            ip: map(Role::Ip, &self.ip)?,
            label: self.label.as_ref().map(|label| map(Role::Label, label)).transpose()?,
            kind: self.kind.as_ref().map(|kind| map(Role::Kind, kind)).transpose()?,
            time: self.time.as_ref().map(|time| map(Role::Time, time)).transpose()?,
        })
    }
}

/// The error for a column that the input at `place` does not have: the input's where the column has the name
/// that it has by default, else the option's that named it.
pub(super) fn no_such_column(role: Role, name: &str, place: &str, valid: &[&str]) -> Error {
    if name == role.default_name() {
        let help = format!("{}; say which it is: {} NAME", one_of(name, valid), role.option());
        return Error::data(place, format!("there is no column `{name}`"), help);
    }
    Error::config(At::option(role.option()), format!("{place} has no column `{name}`"), one_of(name, valid))
}

/// The index of the column called `wanted`; where no name is the same, of the only one that is but for case and white
/// space, with a note. Nothing where there is none, or more than one.
pub(super) fn index_of<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    note: &mut dyn FnMut(String),
) -> Option<usize> {
    if let Some(index) = names.clone().position(|name| name == wanted) {
        return Some(index);
    }
    let folded = |name: &str| name.trim().to_lowercase();
    let wanted_folded = folded(wanted);
    let mut similar = names.enumerate().filter(|(_, name)| folded(name) == wanted_folded);
    let (index, name) = similar.next()?;
    if similar.next().is_some() {
        return None;
    }
    note(format!("column {} is read for `{wanted}`", shown(name.as_bytes())));
    Some(index)
}
