//! Search spaces: which configuration keys vary, over which values, and under which conditions.

use toml::Value;

/// The values that a parameter may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// One of these; there is at least one.
    Values(Vec<Value>),
    /// Real numbers, uniform within `low..=high`.
    Uniform {
        /// The least value.
        low: f64,
        /// The greatest, above `low`.
        high: f64,
    },
    /// Real numbers whose logarithm is uniform, within `low..=high`.
    LogUniform {
        /// The least value, above 0.
        low: f64,
        /// The greatest, above `low`.
        high: f64,
    },
    /// Integers, uniform within `low..=high`.
    Int {
        /// The least value.
        low: i64,
        /// The greatest, at least `low`.
        high: i64,
    },
    /// Integers whose logarithm is uniform, within `low..=high`.
    LogInt {
        /// The least value, at least 1.
        low: i64,
        /// The greatest, at least `low`.
        high: i64,
    },
}

/// The value of one parameter in one trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The position in [`Domain::Values`].
    Index(usize),
    /// Of [`Domain::Uniform`] and [`Domain::LogUniform`].
    Float(f64),
    /// Of [`Domain::Int`] and [`Domain::LogInt`].
    Int(i64),
}

/// A trial's value of each parameter of its [`Space`], in their order; `None` where the parameter's condition does not
/// hold.
pub type Assignment = Vec<Option<Choice>>;

/// When a parameter varies. Otherwise its key keeps the value of the base configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The position of an earlier parameter with [`Domain::Values`].
    pub parameter: usize,
    /// Positions among that parameter's values: the condition holds for these.
    pub indices: Vec<usize>,
}

/// A configuration key that varies.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name in reports and in the journal.
    pub name: String,
    /// The configuration key, as in `hyperparameters.learning_rate`.
    pub key: String,
    /// Its values.
    pub domain: Domain,
    /// When it varies; `None`: always.
    pub when: Option<Condition>,
}

/// The parameters that vary. A parameter comes after the one that its condition names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// The parameters, in the order of their positions.
    pub parameters: Vec<Parameter>,
}

impl Domain {
    /// The number of values; `None` of real numbers, and of more than `u64::MAX` integers.
    pub fn num_values(&self) -> Option<u64> {
        match self {
            Domain::Values(values) => Some(values.len() as u64),
            Domain::Int { low, high } | Domain::LogInt { low, high } => {
                u64::try_from(i128::from(*high) - i128::from(*low) + 1).ok()
            }
            Domain::Uniform { .. } | Domain::LogUniform { .. } => None,
        }
    }

    /// The value at a position in the unit interval, of which each value has its share. A position outside counts as
    /// the nearer end.
    pub fn from_unit(&self, u: f64) -> Choice {
        let u = u.clamp(0.0, 1.0);
        match *self {
            Domain::Values(ref values) => {
                Choice::Index(((u * values.len() as f64) as usize).min(values.len() - 1))
            }
            Domain::Uniform { low, high } => Choice::Float((low + u * (high - low)).clamp(low, high)),
            Domain::LogUniform { low, high } => {
                Choice::Float((low.ln() + u * (high.ln() - low.ln())).exp().clamp(low, high))
            }
            Domain::Int { low, high } => {
                let (first, past) = (low as f64 - 0.5, high as f64 + 0.5);
                Choice::Int(((first + u * (past - first)).round() as i64).clamp(low, high))
            }
            Domain::LogInt { low, high } => {
                let (first, past) = ((low as f64 - 0.5).ln(), (high as f64 + 0.5).ln());
                Choice::Int(((first + u * (past - first)).exp().round() as i64).clamp(low, high))
            }
        }
    }

    /// The middle of a value's share of the unit interval: [`Domain::from_unit`] returns the value for it.
    ///
    /// # Panics
    ///
    /// If the choice is of another kind of domain.
    pub fn to_unit(&self, choice: Choice) -> f64 {
        let unit = match (self, choice) {
            (Domain::Values(values), Choice::Index(index)) => (index as f64 + 0.5) / values.len() as f64,
            (Domain::Uniform { low, high }, Choice::Float(value)) => (value - low) / (high - low),
            (Domain::LogUniform { low, high }, Choice::Float(value)) => {
                (value.ln() - low.ln()) / (high.ln() - low.ln())
            }
            (Domain::Int { low, high }, Choice::Int(value)) => {
                (value as f64 - *low as f64 + 0.5) / (*high as f64 - *low as f64 + 1.0)
            }
            (Domain::LogInt { low, high }, Choice::Int(value)) => {
                let (first, past) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                ((value as f64).ln() - first) / (past - first)
            }
            _ => panic!("{choice:?} is not of {self:?}"),
        };
        unit.clamp(0.0, 1.0)
    }

    /// The value itself, as a configuration file has it.
    ///
    /// # Panics
    ///
    /// If the choice is of another kind of domain.
    pub fn value(&self, choice: Choice) -> Value {
        match (self, choice) {
            (Domain::Values(values), Choice::Index(index)) => values[index].clone(),
            (Domain::Uniform { .. } | Domain::LogUniform { .. }, Choice::Float(value)) => Value::Float(value),
            (Domain::Int { .. } | Domain::LogInt { .. }, Choice::Int(value)) => Value::Integer(value),
            _ => panic!("{choice:?} is not of {self:?}"),
        }
    }
}

impl Space {
    /// An assignment: calls `choose` with the position of each parameter whose condition holds, in their order.
    pub fn assign(&self, mut choose: impl FnMut(usize, &Parameter) -> Choice) -> Assignment {
        let mut assignment: Assignment = Vec::with_capacity(self.parameters.len());
        for (position, parameter) in self.parameters.iter().enumerate() {
            let varies = parameter.when.as_ref().is_none_or(|when| {
                matches!(assignment[when.parameter], Some(Choice::Index(index)) if when.indices.contains(&index))
            });
            assignment.push(varies.then(|| choose(position, parameter)));
        }
        assignment
    }

    /// The parameters that vary under an assignment, each with its value.
    pub fn values(&self, assignment: &Assignment) -> impl Iterator<Item = (&Parameter, Value)> {
        self.parameters.iter().zip(assignment).filter_map(|(parameter, choice)| {
            choice.map(|choice| (parameter, parameter.domain.value(choice)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Vec<Domain> {
        vec![
            Domain::Values(vec![Value::Integer(1), Value::Integer(2), Value::Integer(5)]),
            Domain::Uniform { low: -1.0, high: 3.0 },
            Domain::LogUniform { low: 1e-4, high: 0.1 },
            Domain::Int { low: -2, high: 9 },
            Domain::LogInt { low: 1, high: 50_000 },
        ]
    }

    #[test]
    fn a_value_is_found_again_from_its_place() {
        for domain in domains() {
            for i in 0..=1000 {
                let choice = domain.from_unit(f64::from(i) / 1000.0);
                let again = domain.from_unit(domain.to_unit(choice));
                match (choice, again) {
                    (Choice::Float(a), Choice::Float(b)) => {
                        assert!((a - b).abs() <= 1e-9 * a.abs().max(1e-9))
                    }
                    _ => assert_eq!(choice, again, "{domain:?}"),
                }
            }
        }
    }

    #[test]
    fn every_value_has_its_share() {
        let shares = |domain: &Domain, values: &[i64]| -> Vec<usize> {
            let found: Vec<Value> =
                (0..6000).map(|i| domain.value(domain.from_unit((f64::from(i) + 0.5) / 6000.0))).collect();
            values
                .iter()
                .map(|v| found.iter().filter(|found| **found == Value::Integer(*v)).count())
                .collect()
        };
        assert_eq!(shares(&domains()[0], &[1, 2, 5]), [2000, 2000, 2000]);
        assert_eq!(shares(&Domain::Int { low: 0, high: 2 }, &[0, 1, 2]), [2000, 2000, 2000]);
        assert_eq!(shares(&Domain::Int { low: 4, high: 4 }, &[4]), [6000]);
        let [one, two] = shares(&Domain::LogInt { low: 1, high: 4 }, &[1, 2])[..] else { panic!() };
        assert!(one > 2 * two, "ln 3 > 2 ln (5/3): {one} {two}");
        let Choice::Float(middle) = domains()[2].from_unit(0.5) else { panic!() };
        assert!((middle - 10f64.powf(-2.5)).abs() < 1e-12);
    }

    #[test]
    fn what_a_condition_names_decides() {
        let parameter = |name: &str, domain: &Domain, when| Parameter {
            name: name.into(),
            key: format!("model.{name}"),
            domain: domain.clone(),
            when,
        };
        let domains = domains();
        let space = Space {
            parameters: vec![
                parameter("a", &domains[0], None),
                parameter("b", &domains[3], Some(Condition { parameter: 0, indices: vec![1, 2] })),
                parameter("c", &domains[0], Some(Condition { parameter: 0, indices: vec![2] })),
                parameter("d", &domains[3], Some(Condition { parameter: 2, indices: vec![0] })),
            ],
        };
        let assigned = |first: usize| {
            space.assign(|position, parameter| match (&parameter.domain, position) {
                (Domain::Values(_), 0) => Choice::Index(first),
                (Domain::Values(_), _) => Choice::Index(0),
                _ => Choice::Int(3),
            })
        };
        let three = Some(Choice::Int(3));
        assert_eq!(assigned(0), [Some(Choice::Index(0)), None, None, None]);
        assert_eq!(assigned(1), [Some(Choice::Index(1)), three, None, None]);
        assert_eq!(assigned(2), [Some(Choice::Index(2)), three, Some(Choice::Index(0)), three]);
        let names: Vec<_> = space.values(&assigned(1)).map(|(p, v)| (p.name.clone(), v)).collect();
        assert_eq!(names, [("a".into(), Value::Integer(2)), ("b".into(), Value::Integer(3))]);
    }
}
