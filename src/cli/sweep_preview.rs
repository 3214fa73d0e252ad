//! What a sweep would try, and what that takes.

use ipsight::Result;
use ipsight::config::{Config, Hyperparameters};
use ipsight::device::{ComputeDevice, bytes};
use ipsight::sweep::{EarlyStopping, Scheduler, SweepPlan};
use ipsight::train::{RunData, RunMemory};
use ipsight_search::sampler::Method;
use ipsight_search::space::{Assignment, Domain, Parameter, Space};
use serde_json::{Map, Value, json};

use super::output;

/// Trials that are looked at for the least and the greatest cost.
const NUM_SAMPLES: usize = 1000;

/// Trials that people want to see.
const NUM_SHOWN: usize = 20;

/// What one trial takes.
struct Cost {
    assignment: Assignment,
    /// Of all its trainings.
    epochs: u64,
    positives: u64,
    /// Positives and their negatives.
    pairs: u64,
    /// Of one training at a time; or why it would fail.
    memory: std::result::Result<RunMemory, String>,
}

/// Prints the space or the trials, and the cost and memory of a trial.
pub fn show(plan: &SweepPlan, device: &ComputeDevice, num_events: usize, json: bool) -> Result<()> {
    let scheduler = Scheduler::new(plan);
    let trials = scheduler.preview(NUM_SAMPLES);
    let costs: Vec<Cost> =
        trials.into_iter().map(|trial| cost(plan, device, num_events as u64, trial)).collect();
    // What a sampler that learns would try is known when it has learned.
    let is_known = plan.method != Method::Tpe;
    if json {
        return output::json(&document(plan, &scheduler, &costs, is_known, num_events));
    }
    let num_trials = scheduler
        .num_trials()
        .map_or("as many trials as the budget allows".into(), |num| format!("{} trials", output::count(num)));
    output::line(format!("{num_trials} by {}, for {} {}", plan.method.name(), goal(plan), plan.metric))?;
    for parameter in &plan.space.parameters {
        output::line(format!(
            "  {} = {}{}",
            parameter.key,
            domain(&parameter.domain),
            when(&plan.space, parameter)
        ))?;
    }
    output::line(format!("early stopping: {}", early_stopping(plan)))?;
    for (what, of) in [
        ("epochs", (|cost| cost.epochs) as fn(&Cost) -> u64),
        ("positive pairs", |cost| cost.positives),
        ("pairs", |cost| cost.pairs),
    ] {
        output::line(format!("a trial trains {} {what}", range(&costs, of, output::count)))?;
    }
    let fitting: Vec<&Cost> = costs.iter().filter(|cost| cost.memory.is_ok()).collect();
    let total = |cost: &&Cost| cost.memory.as_ref().map_or(0, RunMemory::shared_bytes);
    output::line(format!("a trial takes {} of memory", range(&fitting, total, bytes)))?;
    if fitting.len() < costs.len() {
        let why = costs.iter().find_map(|cost| cost.memory.as_ref().err()).map_or("", String::as_str);
        output::line(format!(
            "{} of {} trials looked at would fail: {why}",
            costs.len() - fitting.len(),
            costs.len()
        ))?;
    }
    if is_known {
        for (number, cost) in costs.iter().take(NUM_SHOWN).enumerate() {
            let values = plan.space.values(&cost.assignment);
            let values: Vec<String> = values.map(|(p, value)| format!("{}={value}", p.name)).collect();
            output::line(format!("trial {number}: {}", values.join(" ")))?;
        }
        if costs.len() > NUM_SHOWN {
            output::line(format!(
                "and {} more: --json lists the first {NUM_SAMPLES}",
                costs.len() - NUM_SHOWN
            ))?;
        }
    }
    Ok(())
}

fn cost(plan: &SweepPlan, device: &ComputeDevice, num_events: u64, assignment: Assignment) -> Cost {
    let config = plan.trial_config(0, &assignment);
    let epochs = |h: &Hyperparameters| h.epochs as u64 * plan.file.seeds_per_trial as u64;
    let negatives =
        |h: &Hyperparameters| (h.random_negative_sampling_rate + h.shuffled_negative_sampling_rate) as u64;
    let h = config.as_ref().map_or(&plan.base.hyperparameters, |config: &Config| &config.hyperparameters);
    let positives = epochs(h).saturating_mul(num_events);
    let memory = config.as_ref().map_err(ToString::to_string).and_then(|config| {
        let data = RunData::prepared(config, num_events);
        RunMemory::plan(config, &device.limits, &data).map_err(|error| error.to_string())
    });
    Cost {
        epochs: epochs(h),
        positives,
        pairs: positives.saturating_mul(1 + negatives(h)),
        memory,
        assignment,
    }
}

fn document(
    plan: &SweepPlan,
    scheduler: &Scheduler<'_>,
    costs: &[Cost],
    is_known: bool,
    num_events: usize,
) -> Value {
    let trial = |(number, cost): (usize, &Cost)| {
        let values = plan.space.values(&cost.assignment);
        let values: Map<String, Value> = values.map(|(p, value)| (p.name.clone(), json!(value))).collect();
        json!({
            "trial": number,
            "parameters": values,
            "epochs": cost.epochs,
            "positives": cost.positives,
            "pairs": cost.pairs,
            "memory_bytes": cost.memory.as_ref().ok().map(RunMemory::shared_bytes),
            "failure": cost.memory.as_ref().err(),
        })
    };
    let parameter = |parameter: &Parameter| {
        json!({
            "name": parameter.name,
            "key": parameter.key,
            "domain": domain(&parameter.domain),
            "when": parameter.when.as_ref().map(|_| when(&plan.space, parameter).trim_start().to_string()),
        })
    };
    json!({
        "method": plan.method.name(),
        "metric": plan.metric.to_string(),
        "goal": goal(plan),
        "early_stopping": early_stopping(plan),
        "num_events": num_events,
        "num_trials": scheduler.num_trials(),
        "parameters": plan.space.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "trials": is_known.then(|| costs.iter().enumerate().map(trial).collect::<Vec<_>>()),
        "max_memory_bytes": costs.iter().filter_map(|cost| cost.memory.as_ref().ok()).map(RunMemory::shared_bytes).max(),
    })
}

fn goal(plan: &SweepPlan) -> &'static str {
    match plan.goal {
        ipsight_search::study::Goal::Maximize => "the greatest",
        ipsight_search::study::Goal::Minimize => "the least",
    }
}

fn early_stopping(plan: &SweepPlan) -> String {
    match &plan.early_stopping {
        EarlyStopping::Off => "none".into(),
        EarlyStopping::Asha(asha) => {
            let rungs: Vec<String> = asha.rungs().iter().map(ToString::to_string).collect();
            format!("asha: of {} trials one goes on after epoch {}", asha.reduction_factor, rungs.join(", "))
        }
        EarlyStopping::Median(rule) => {
            format!("median: after epoch {}, once {} trials have ended", rule.min_epochs, rule.min_trials)
        }
    }
}

fn domain(domain: &Domain) -> String {
    match domain {
        Domain::Values(values) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("one of {}", values.join(", "))
        }
        Domain::Uniform { low, high } => format!("{low} to {high}"),
        Domain::LogUniform { low, high } => format!("{low} to {high}, in the logarithm"),
        Domain::Int { low, high } => format!("{low} to {high}, whole"),
        Domain::LogInt { low, high } => format!("{low} to {high}, whole, in the logarithm"),
    }
}

fn when(space: &Space, parameter: &Parameter) -> String {
    let Some(when) = &parameter.when else { return String::new() };
    let of = &space.parameters[when.parameter];
    let Domain::Values(values) = &of.domain else { return String::new() };
    let values: Vec<String> = when.indices.iter().map(|index| values[*index].to_string()).collect();
    format!(", where {} is {}", of.name, values.join(" or "))
}

/// "3", or "3 to 7".
fn range<T>(costs: &[T], of: impl Fn(&T) -> u64, text: fn(u64) -> String) -> String {
    let least = costs.iter().map(&of).min().unwrap_or(0);
    let most = costs.iter().map(&of).max().unwrap_or(0);
    if least == most { text(least) } else { format!("{} to {}", text(least), text(most)) }
}
