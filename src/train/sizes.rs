//! Sizes that a configuration leaves to the training events.

use super::initial::InitialModel;
use crate::config::Config;
use crate::data::Events;
use crate::model_folder::num_distinct;

/// The largest mini-batch that "auto" takes: above it the default learning rate is too low.
const MAX_MINI_BATCH: usize = 10_000;

/// The smallest: in fewer events a shuffled negative is too often an address of the entity itself.
const MIN_MINI_BATCH: usize = 64;

/// Steps of a run that "auto" leaves where the events suffice.
const WANTED_STEPS: usize = 1000;

/// A run of fewer steps is worth a warning.
const FEW_STEPS: usize = 500;

/// Sets the sizes that `config` gives as "auto". `num_entity_vectors` becomes twice the distinct entities of the events,
/// so that collisions are rare, or that of the model from which a run begins, whose rows stay where they are.
/// `mini_batch_size` becomes 10,000, or less where a run would have fewer than 1,000 steps, but at least 64.
pub fn resolve_sizes(config: &mut Config, events: &Events, initial: Option<&InitialModel>) {
    let auto = std::mem::take(&mut config.auto_sizes);
    let h = &mut config.hyperparameters;
    if auto.num_entity_vectors {
        let of_events = || (2 * num_distinct(events.iter().map(|event| event.entity))).max(1);
        h.num_entity_vectors = initial.map_or_else(of_events, InitialModel::num_entity_vectors);
    }
    if auto.mini_batch_size {
        let wanted = events.len().saturating_mul(h.epochs) / WANTED_STEPS;
        h.mini_batch_size = wanted.clamp(MIN_MINI_BATCH, MAX_MINI_BATCH);
    }
}

/// What to change where a run has so few steps that its model learns little; `None` where it has enough.
pub fn few_steps_warning(config: &Config, events: &Events) -> Option<String> {
    let h = &config.hyperparameters;
    let steps = events.len().div_ceil(h.mini_batch_size).saturating_mul(h.epochs);
    let help = match h.mini_batch_size > MIN_MINI_BATCH {
        true => "lower hyperparameters.mini_batch_size, or raise hyperparameters.epochs",
        false => "raise hyperparameters.epochs",
    };
    (steps < FEW_STEPS).then(|| format!("the run has {steps} steps, fewer than {FEW_STEPS}: {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Address;

    fn events(num_events: u64, num_entities: u64) -> Events {
        let event = |i| (i % num_entities, Address::from_ipv4(i as u32));
        let (entities, addresses) = (0..num_events).map(event).unzip();
        Events::from_columns(entities, addresses)
    }

    #[test]
    fn auto_is_twice_the_entities_and_a_thousand_steps() {
        for (num_events, epochs, mini_batch_size) in
            [(3_000, 10, 64), (20_000, 10, 200), (20_000, 1, 64), (1_500_000, 10, 10_000)]
        {
            let mut config = Config::load(
                None,
                &["num_entity_vectors", "mini_batch_size"].map(|key| format!("hyperparameters.{key}=auto")),
            )
            .unwrap();
            config.hyperparameters.epochs = epochs;
            let events = events(num_events, 123);
            resolve_sizes(&mut config, &events, None);
            assert!(!config.auto_sizes.any());
            assert_eq!(config.hyperparameters.num_entity_vectors, 246);
            assert_eq!(config.hyperparameters.mini_batch_size, mini_batch_size);
        }
    }

    #[test]
    fn given_sizes_stay_and_few_steps_are_reported() {
        let mut config = Config::default();
        let given = config.clone();
        let events = events(20_000, 7);
        resolve_sizes(&mut config, &events, None);
        assert_eq!(config, given);
        let warning = few_steps_warning(&config, &events).unwrap();
        assert!(warning.starts_with("the run has 20 steps, fewer than 500: lower "), "{warning}");
        config.hyperparameters.mini_batch_size = 64;
        assert_eq!(few_steps_warning(&config, &events), None);
        config.hyperparameters.epochs = 1;
        assert!(few_steps_warning(&config, &events).unwrap().ends_with("raise hyperparameters.epochs"));
    }
}
