//! Parameters as axes and as text.

use ipsight_report::svg::{Axis, Scale, tick_text};
use ipsight_report::text::{shortened, significant};
use ipsight_search::space::{Choice, Domain, Parameter, Space};
use ipsight_search::study::Trial;

/// The place of a parameter's value along its axis is that in the unit interval, so that a logarithmic domain has a
/// logarithmic axis and each of some values an equal share.
const UNIT: Scale = Scale::Linear(0.0, 1.0);

/// Characters of a name under a drawing.
const NAME_CHARS: usize = 40;

/// What a trial has of a parameter, none where that does not vary there.
pub(super) fn choice(trial: &Trial, position: usize) -> Option<Choice> {
    trial.assignment.get(position).copied().flatten()
}

/// The axis of a parameter, with texts of at most `num_chars` altogether.
pub(super) fn axis(parameter: &Parameter, num_chars: usize) -> Axis {
    Axis {
        scale: UNIT,
        ticks: ticks(&parameter.domain, num_chars),
        label: shortened(&parameter.name, NAME_CHARS),
    }
}

fn ticks(domain: &Domain, num_chars: usize) -> Vec<(f64, String)> {
    let float = |value: f64| (domain.to_unit(Choice::Float(value)), tick_text(value));
    let int = |value: f64| (domain.to_unit(Choice::Int(value as i64)), tick_text(value));
    match *domain {
        Domain::Values(ref values) => {
            // Of many values some.
            let step = values.len().div_ceil(12).max(1);
            let num_shown = values.len().div_ceil(step).max(1);
            let tick = |i: usize| {
                let text = value_text(&domain.value(Choice::Index(i)), true);
                (domain.to_unit(Choice::Index(i)), shortened(&text, (num_chars / num_shown).max(3)))
            };
            (0..values.len()).step_by(step).map(tick).collect()
        }
        Domain::Uniform { low, high } => Scale::Linear(low, high).ticks().into_iter().map(float).collect(),
        Domain::LogUniform { low, high } => log_ticks(low, high).into_iter().map(float).collect(),
        Domain::Int { low, high } => {
            let ticks = Scale::Linear(low as f64, high as f64).ticks().into_iter();
            ticks.filter(|tick| tick.fract() == 0.0).map(int).collect()
        }
        Domain::LogInt { low, high } => {
            let ticks = log_ticks(low as f64, high as f64).into_iter();
            ticks.filter(|tick| tick.fract() == 0.0).map(int).collect()
        }
    }
}

/// Powers of ten, 2 and 5 times them where there are few, and the ends where there are none.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    // As the decimal reads, and not as a product of roundings.
    let decimal = |digit: u32, exponent: i32| format!("{digit}e{exponent}").parse::<f64>().unwrap_or(low);
    let within = |digits: &[u32]| -> Vec<f64> {
        let all =
            (first..=last).flat_map(|exponent| digits.iter().map(move |digit| decimal(*digit, exponent)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let powers = within(&[1]);
    match powers.len() {
        0..3 => match within(&[1, 2, 5]) {
            more if more.len() < 2 => vec![low, high],
            more => more,
        },
        // At most seven.
        len => powers.into_iter().step_by(len.div_ceil(7)).collect(),
    }
}

/// What a trial takes of a parameter; a dash where that does not vary there.
pub(super) fn choice_text(parameter: &Parameter, choice: Option<Choice>, is_short: bool) -> String {
    choice.map_or("\u{2013}".into(), |choice| value_text(&parameter.domain.value(choice), is_short))
}

fn value_text(value: &toml::Value, is_short: bool) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) if is_short => significant(*number),
        other => other.to_string(),
    }
}

/// What a parameter ranges over, in words.
pub(super) fn domain_text(domain: &Domain) -> String {
    match domain {
        Domain::Values(values) => {
            values.iter().map(|value| value_text(value, true)).collect::<Vec<_>>().join(", ")
        }
        Domain::Uniform { low, high } => format!("{} to {}", significant(*low), significant(*high)),
        Domain::LogUniform { low, high } => {
            format!("{} to {}, logarithmic", significant(*low), significant(*high))
        }
        Domain::Int { low, high } => format!("whole numbers from {low} to {high}"),
        Domain::LogInt { low, high } => format!("whole numbers from {low} to {high}, logarithmic"),
    }
}

/// When a parameter varies, in words.
pub(super) fn condition_text(space: &Space, parameter: &Parameter) -> String {
    let Some(when) = &parameter.when else { return "always".into() };
    let Some(decides) = space.parameters.get(when.parameter) else { return String::new() };
    let values: Vec<_> = when
        .indices
        .iter()
        .map(|index| value_text(&decides.domain.value(Choice::Index(*index)), true))
        .collect();
    format!("{} is {}", decides.name, values.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_axes_have_round_numbers() {
        assert_eq!(log_ticks(1e-4, 0.1), [1e-4, 1e-3, 1e-2, 1e-1]);
        assert_eq!(log_ticks(3e-4, 0.03), [5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2]);
        assert_eq!(log_ticks(6.0, 9.0), [6.0, 9.0]);
        assert_eq!(log_ticks(1e-300, 1e300).len(), 7);
        let texts: Vec<_> =
            ticks(&Domain::LogInt { low: 1, high: 9 }, 60).into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, ["1", "2", "5"]);
    }

    #[test]
    fn ticks_are_values_of_the_domain() {
        let texts =
            |domain: Domain| -> Vec<String> { ticks(&domain, 20).into_iter().map(|tick| tick.1).collect() };
        assert_eq!(texts(Domain::Int { low: 1, high: 3 }), ["1", "2", "3"]);
        assert_eq!(texts(Domain::Int { low: 4, high: 4 }), ["4"]);
        let values = ["adam", "a long name of something"].map(|text| toml::Value::String(text.into()));
        assert_eq!(texts(Domain::Values(values.to_vec())), ["adam", "a long na\u{2026}"]);
        let many = (0..100).map(toml::Value::Integer).collect();
        assert_eq!(texts(Domain::Values(many)).len(), 12);
        for (place, _) in ticks(&Domain::LogUniform { low: 2e-5, high: 0.3 }, 20) {
            assert!((0.0..=1.0).contains(&place));
        }
    }
}
