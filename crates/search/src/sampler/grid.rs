//! Every combination of values once, found by its number without making those before it.

use crate::space::{Assignment, Choice, Domain, Parameter, Space};

/// How many combinations there are, at most `u64::MAX`; none where a parameter's values cannot be counted.
pub(super) fn num_combinations(space: &Space) -> Option<u64> {
    let sizes = sizes(space)?;
    let independent = space.parameters.iter().zip(sizes).filter(|(parameter, _)| parameter.when.is_none());
    Some(product(independent.map(|(_, size)| size)))
}

/// The combination `number` (from 0) in lexicographic order, the last parameter's values changing fastest; none where
/// there are not so many, or a parameter's values cannot be counted.
pub(super) fn combination(space: &Space, number: u64) -> Option<Assignment> {
    if number >= num_combinations(space)? {
        return None;
    }
    let sizes = sizes(space)?;
    let mut rank = number;
    let mut indices = vec![None; space.parameters.len()];
    Some(space.assign(|position, parameter| {
        // By how much later parameters multiply each of this one's values, whichever it is.
        let later = space.parameters.iter().enumerate().skip(position + 1).filter(|(_, later)| {
            // What depends on this parameter or a later one has no index yet: it is counted with that one.
            later
                .when
                .as_ref()
                .is_none_or(|when| indices[when.parameter].is_some_and(|i| when.indices.contains(&i)))
        });
        let others = product(later.map(|(later, _)| sizes[later]));
        match &parameter.domain {
            Domain::Values(values) => {
                let mut index = 0;
                while index + 1 < values.len() {
                    let here = others.saturating_mul(branch(space, &sizes, position, index));
                    if rank < here {
                        break;
                    }
                    rank -= here;
                    index += 1;
                }
                indices[position] = Some(index);
                Choice::Index(index)
            }
            _ => {
                let steps = rank / others;
                rank %= others;
                whole(parameter, steps)
            }
        }
    }))
}

/// For each parameter the combinations of its values and of all that depends on them, at most `u64::MAX`.
///
/// A condition names one earlier parameter, so that parameters are a forest and sizes follow from the leaves up.
fn sizes(space: &Space) -> Option<Vec<u64>> {
    let mut sizes = vec![0; space.parameters.len()];
    for (position, parameter) in space.parameters.iter().enumerate().rev() {
        sizes[position] = match &parameter.domain {
            Domain::Values(values) => (0..values.len())
                .map(|index| branch(space, &sizes, position, index))
                .fold(0, u64::saturating_add),
            domain => domain.num_values()?,
        };
    }
    Some(sizes)
}

/// The combinations of what depends on the parameter at `position` having its value `index`.
fn branch(space: &Space, sizes: &[u64], position: usize, index: usize) -> u64 {
    let depends = |parameter: &Parameter| {
        parameter
            .when
            .as_ref()
            .is_some_and(|when| when.parameter == position && when.indices.contains(&index))
    };
    product(
        space.parameters.iter().zip(sizes).filter(|(parameter, _)| depends(parameter)).map(|(_, size)| *size),
    )
}

/// Exact below `u64::MAX`. A rank is below it too, so that a quotient by a product that was cut off is 0 either way.
fn product(factors: impl Iterator<Item = u64>) -> u64 {
    factors.fold(1, u64::saturating_mul)
}

/// The value `steps` above the least.
fn whole(parameter: &Parameter, steps: u64) -> Choice {
    match parameter.domain {
        Domain::Int { low, .. } | Domain::LogInt { low, .. } => Choice::Int(low.wrapping_add_unsigned(steps)),
        _ => unreachable!("real numbers have no sizes"),
    }
}
