use std::fs;
use std::path::PathBuf;

use super::*;

fn load(text: &str, overrides: &[&str]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Config::load(Some(&file), &overrides)
}

/// `at` without the folder, `what` and `help` of the error that `text` and `overrides` give.
fn refusal(text: &str, overrides: &[&str]) -> (String, String, String) {
    match load(text, overrides) {
        Err(Error::Config { at, what, help }) => {
            let at = at.to_string().rsplit('/').next().unwrap().to_string();
            (at, what, help)
        }
        other => panic!("{text} {overrides:?} gave {other:?}"),
    }
}

fn configs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("configs")
}

#[test]
fn the_learning_rate_stays_or_falls_to_zero() {
    let rates = |schedule: LearningRateSchedule| [0, 1, 3, 4].map(|step| schedule.rate(0.8, step, 4));
    assert_eq!(rates(LearningRateSchedule::Constant), [0.8; 4]);
    assert_eq!(rates(LearningRateSchedule::Linear), [0.8, 0.8 * 0.75, 0.8 * 0.25, 0.0]);
}

#[test]
fn every_file_in_configs_is_valid_and_round_trips() {
    let mut count = 0;
    for entry in fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = Config::load(Some(&path), &[]).unwrap();
            assert_eq!(load(&config.to_toml(), &[]).unwrap(), config, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 4, "{count} files");
}

#[test]
fn sagemaker_toml_states_every_default_of_the_reference() {
    let path = configs().join("sagemaker.toml");
    let config = Config::load(Some(&path), &[]).unwrap();
    assert_eq!(config, Config::default());
    let stated: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    assert_eq!(stated["hyperparameters"].as_table().unwrap().len(), 10);
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(Config::load(None, &[]).unwrap(), Config::default());
    assert_eq!(load("", &[]).unwrap(), Config::default());
    Config::default().validate("defaults").unwrap();
}

#[test]
fn a_full_configuration_round_trips() {
    let training = TrainingConfig {
        seed: i64::MAX as u64,
        device: DeviceChoice::Ndarray,
        learning_rate_schedule: LearningRateSchedule::Linear,
        warmup_steps: 7,
        checkpoint_interval: "10 steps".into(),
        keep_checkpoints: 5,
    };
    let mut config = Config { training, ..Config::default() };
    config.data.validation = vec!["a b.csv".into(), "quote\"d".into()];
    config.data.entity_column = Some("user".into());
    config.data.on_bad_row = "quarantine=bad.csv".into();
    config.data.generated = Some(GeneratedConfig::default());
    config.hyperparameters.learning_rate = 1e-6;
    assert_eq!(load(&config.to_toml(), &[]).unwrap(), config);
}

#[test]
fn overrides_win_over_the_file_and_later_over_earlier() {
    let text = "[hyperparameters]\nepochs = 3\nvector_dim = 64\n";
    let config = load(
        text,
        &[
            "hyperparameters.epochs=4",
            "hyperparameters.epochs = 5",
            "training.device=ndarray",
            "data.train=[\"a\", \"b=c\"]",
            "data.entity_column=user=name",
            "hyperparameters.learning_rate=1",
        ],
    )
    .unwrap();
    assert_eq!(config.hyperparameters.epochs, 5);
    assert_eq!(config.hyperparameters.vector_dim, 64);
    assert_eq!(config.training.device, DeviceChoice::Ndarray);
    assert_eq!(config.data.train, ["a", "b=c"]);
    assert_eq!(config.data.entity_column.as_deref(), Some("user=name"));
    assert_eq!(config.hyperparameters.learning_rate, 1.0);
    let config = load("", &["data.generated={users=5}", "data.generated.days=2"]).unwrap();
    assert_eq!(config.data.generated, Some(GeneratedConfig { users: 5, days: 2, seed: 0 }));
}

#[test]
fn an_unknown_name_at_every_level_is_named_with_its_line_and_the_nearest_name() {
    let (at, what, help) = refusal("\n[hyperparameters]\nvector_dim = 8\nepoch = 3\n", &[]);
    assert_eq!(at, "c.toml:4: hyperparameters.epoch");
    assert_eq!(what, "unknown key `epoch`");
    assert!(
        help.starts_with("did you mean `epochs`? valid keys: num_entity_vectors, vector_dim, "),
        "{help}"
    );

    let (at, what, help) = refusal("[training]\nseed = 1\n[hyperparameter]\nepochs = 3\n", &[]);
    assert_eq!((at.as_str(), what.as_str()), ("c.toml:3: hyperparameter", "unknown table `hyperparameter`"));
    assert_eq!(help, "did you mean `hyperparameters`? valid tables: hyperparameters, model, training, data");

    let (at, what, help) = refusal("[data.generated]\nuser = 1", &[]);
    assert_eq!((at.as_str(), what.as_str()), ("c.toml:2: data.generated.user", "unknown key `user`"));
    assert_eq!(help, "did you mean `users`? valid keys: users, days, seed");

    let (at, _, help) = refusal("", &["training.devise=wgpu"]);
    assert_eq!(at, "--set training.devise=wgpu");
    assert_eq!(
        help,
        "did you mean `device`? valid keys: seed, device, learning_rate_schedule, warmup_steps, \
         checkpoint_interval, keep_checkpoints"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    let (at, what, help) = refusal("epochs = 3", &[]);
    assert_eq!((at.as_str(), what.as_str()), ("c.toml:1: epochs", "unknown key `epochs`"));
    assert_eq!(
        help,
        "`epochs` belongs in [hyperparameters]; valid here: hyperparameters, model, training, data"
    );
    let (_, _, help) = refusal("[hyperparameters]\nseed = 3", &[]);
    assert!(help.starts_with("`seed` belongs in [training]"), "{help}");
}

#[test]
fn the_learning_rate_warms_up_to_its_schedule() {
    let rates = |schedule: &str, warmup_steps: usize| {
        let set = [
            format!("training.learning_rate_schedule={schedule}"),
            format!("training.warmup_steps={warmup_steps}"),
        ];
        let training = Config::load(None, &set).unwrap().training;
        (0..6).map(|step| training.learning_rate(0.5, step, 8)).collect::<Vec<_>>()
    };
    assert_eq!(rates("constant", 4), [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]);
    // The schedule falls by an eighth of its first rate a step, also while the share of it rises.
    assert_eq!(rates("linear", 4), [0.125, 0.21875, 0.28125, 0.3125, 0.25, 0.1875]);
    assert_eq!(rates("linear", 0), [0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875]);
    assert_eq!(rates("constant", 1), [0.5; 6]);
    assert_eq!(rates("constant", 1_000_000_000)[5], 0.5 * 6e-9);
    for (value, allowed) in [("-1", "allowed: 0..=1000000000"), ("1000000001", "allowed: 0..=1000000000")] {
        let (at, what, help) = refusal(&format!("[training]\nwarmup_steps = {value}"), &[]);
        assert_eq!(at, "c.toml:2: training.warmup_steps");
        assert!(what.contains("out of range") && help == allowed, "{what}: {help}");
    }
}

#[test]
fn an_interval_of_checkpoints_is_a_count_of_steps_or_minutes_or_off() {
    let interval = |text: &str| {
        let config = load("", &[&format!("training.checkpoint_interval={text}")])?;
        config.training.checkpoint_interval.parse::<CheckpointInterval>()
    };
    assert_eq!(interval("off").unwrap(), CheckpointInterval::Off);
    assert_eq!(interval("1 step").unwrap(), CheckpointInterval::Steps(1));
    assert_eq!(interval("1000000000 steps").unwrap(), CheckpointInterval::Steps(1_000_000_000));
    assert_eq!(interval("10080 minutes").unwrap(), CheckpointInterval::Minutes(10_080));
    assert_eq!(
        Config::default().training.checkpoint_interval.parse::<CheckpointInterval>().unwrap(),
        CheckpointInterval::Minutes(15)
    );
    for (text, expected) in [
        ("0 steps", "allowed: 1..=1000000000 steps"),
        ("1000000001 steps", "allowed: 1..=1000000000 steps"),
        ("0 minutes", "allowed: 1..=10080 minutes"),
        ("10081 minutes", "allowed: 1..=10080 minutes"),
        ("5 hours", "write \"15 minutes\""),
        ("-5 steps", "write \"15 minutes\""),
        ("never", "write \"15 minutes\""),
        ("99999999999999999999 steps", "allowed: 1..=1000000000 steps"),
    ] {
        let (at, what, help) = refusal("", &[&format!("training.checkpoint_interval={text}")]);
        assert_eq!(at, format!("--set training.checkpoint_interval={text}"));
        assert!(what.contains(text), "{what}");
        assert!(help.starts_with(expected), "{help}");
    }
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    let cases = [
        (
            "hyperparameters.epochs=\"3\"",
            "epochs = \"3\" is a string, expected an integer",
            "allowed: 1 or more",
        ),
        ("hyperparameters.epochs=3.0", "epochs = 3.0 is a float, expected an integer", "allowed: 1 or more"),
        (
            "hyperparameters.learning_rate=x",
            "learning_rate = \"x\" is a string, expected a number",
            "allowed: 1e-6..=10",
        ),
        ("hyperparameters=3", "hyperparameters = 3 is an integer, expected a table", "write the keys"),
        ("data.generated=true", "generated = true is a boolean, expected a table", "write the keys"),
        ("data.train=a.csv", "train = \"a.csv\" is a string, expected an array of strings", "write [\"a\""),
        (
            "data.train=[1]",
            "train is an array of something else, expected an array of strings",
            "write [\"a\"",
        ),
        ("data.ip_column=2", "ip_column = 2 is an integer, expected a string", "write \"text\""),
        (
            "training.device=1",
            "device = 1 is an integer, expected a string",
            "valid values: auto, wgpu, ndarray",
        ),
        ("training.device=cpu", "device = \"cpu\" is not a valid value", "valid values: auto, wgpu, ndarray"),
        ("data.on_bad_row=quarantine=", "on_bad_row = \"quarantine=\" is not a valid value", "did you mean"),
    ];
    for (assignment, expected_what, expected_help) in cases {
        let (at, what, help) = refusal("", &[assignment]);
        assert_eq!(at, format!("--set {assignment}"));
        assert_eq!(what, expected_what);
        assert!(help.starts_with(expected_help), "{assignment}: {help}");
    }
}

#[test]
fn bounds_are_inclusive() {
    let integers = [
        ("hyperparameters.num_entity_vectors", 1, Some(250_000_000)),
        ("hyperparameters.vector_dim", 4, Some(4096)),
        ("hyperparameters.batch_metrics_publish_interval", 1, None),
        ("hyperparameters.epochs", 1, None),
        ("hyperparameters.mini_batch_size", 1, Some(500_000)),
        ("hyperparameters.num_ip_encoder_layers", 0, Some(100)),
        ("hyperparameters.random_negative_sampling_rate", 0, Some(500)),
        ("hyperparameters.shuffled_negative_sampling_rate", 0, Some(500)),
        ("data.generated.users", 1, Some(10_000_000)),
        ("data.generated.days", 1, Some(3650)),
        ("training.seed", 0, None),
        ("training.keep_checkpoints", 1, Some(1000)),
    ];
    for (key, min, max) in integers {
        // The other sampling rate, so that R + S is in its range as well.
        let other = match (key.contains("random"), max) {
            (true, _) => "hyperparameters.shuffled_negative_sampling_rate",
            _ => "hyperparameters.random_negative_sampling_rate",
        };
        let set = |value: i64| {
            let rest = if value == 500 { 0 } else { 1 };
            load("", &[&format!("{other}={rest}"), &format!("{key}={value}")])
        };
        set(min).unwrap();
        set(max.unwrap_or(i64::MAX)).unwrap();
        for outside in [Some(min - 1), max.map(|max| max + 1)].into_iter().flatten() {
            let error = set(outside).unwrap_err().to_string();
            assert!(error.ends_with(&format!("= {outside} is out of range")), "{error}");
        }
    }
    let floats = [
        ("hyperparameters.learning_rate", ["1e-6", "10"], ["9.9e-7", "10.1", "nan", "inf", "0"]),
        ("hyperparameters.weight_decay", ["0", "10.0"], ["-1e-9", "10.1", "nan", "inf", "-1"]),
        ("data.max_bad_fraction", ["0", "1"], ["-0.1", "1.1", "nan", "inf", "2"]),
    ];
    for (key, inside, outside) in floats {
        for value in inside {
            load("", &[&format!("{key}={value}")]).unwrap();
        }
        for value in outside {
            let (at, what, help) = refusal("", &[&format!("{key}={value}")]);
            assert_eq!(at, format!("--set {key}={value}"));
            assert!(what.ends_with("is out of range"), "{what}");
            assert!(help.starts_with("allowed: "), "{help}");
        }
    }
}

#[test]
fn a_value_out_of_range_is_located_in_the_file() {
    let (at, what, help) = refusal("# rate\n[hyperparameters]\n\nlearning_rate = 20\n", &[]);
    assert_eq!(at, "c.toml:4: hyperparameters.learning_rate");
    assert_eq!(what, "learning_rate = 20 is out of range");
    assert_eq!(help, "allowed: 1e-6..=10");
    // An override may mend the file.
    load("[hyperparameters]\nlearning_rate = 20", &["hyperparameters.learning_rate=0.1"]).unwrap();
}

#[test]
fn negatives_per_event_are_1_to_500_together() {
    let set = |r: usize, s: usize| {
        let mut config = Config::default();
        config.hyperparameters.random_negative_sampling_rate = r;
        config.hyperparameters.shuffled_negative_sampling_rate = s;
        config.validate("test")
    };
    for (r, s) in [(1, 0), (0, 1), (500, 0), (0, 500), (250, 250)] {
        set(r, s).unwrap();
    }
    for (r, s) in [(0, 0), (500, 1), (251, 250)] {
        set(r, s).unwrap_err();
    }
    let text = "[hyperparameters]\nshuffled_negative_sampling_rate = 0";
    let (at, what, help) = refusal(text, &["hyperparameters.random_negative_sampling_rate=0"]);
    assert_eq!(at, "--set hyperparameters.random_negative_sampling_rate=0");
    assert!(what.ends_with("= 0 is out of range"), "{what}");
    assert_eq!(help, "allowed: 1..=500");
}

#[test]
fn files_and_generated_logins_exclude_each_other() {
    let (at, what, _) = refusal("[data]\ntrain = [\"a\"]\n[data.generated]\nusers = 5\n", &[]);
    assert_eq!(at, "c.toml:3: data.generated");
    assert_eq!(what, "data.train and [data.generated] exclude each other");
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_file() {
    let text = "[training]\nseed = -1\n[hyperparameters]\nvector_dim = 3\nepoch = 1\n";
    let (at, what, help) = refusal(text, &["data.max_bad_fraction=2"]);
    assert_eq!(at, "c.toml:2: training.seed");
    let lines: Vec<&str> = what.lines().collect();
    assert_eq!(lines.len(), 4, "{what}");
    assert_eq!(lines[0], "seed = -1 is out of range");
    assert!(
        lines[1].ends_with("c.toml:4: hyperparameters.vector_dim: vector_dim = 3 is out of range"),
        "{what}"
    );
    assert!(lines[2].ends_with("c.toml:5: hyperparameters.epoch: unknown key `epoch`"), "{what}");
    assert_eq!(lines[3], "--set data.max_bad_fraction=2: max_bad_fraction = 2 is out of range");
    assert_eq!(help.lines().count(), 4, "{help}");
}

#[test]
fn a_replaced_table_is_no_longer_blamed_on_the_file() {
    let (at, ..) = refusal("[data.generated]\nusers = 5\n", &["data.generated={users = 0}"]);
    assert_eq!(at, "--set data.generated={users = 0}");
}

#[test]
fn a_key_below_one_that_is_no_table_is_refused() {
    for text in ["", "[hyperparameters]\nepochs = 3"] {
        let (at, what, _) = refusal(text, &["hyperparameters.epochs.x=3"]);
        assert_eq!(at, "--set hyperparameters.epochs.x=3");
        assert!(what.contains("epochs"), "{what}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    for (text, line) in [("a = 1\nb = = 2\n", 2), ("[training]\nseed = 1\nseed = 2\n", 3)] {
        let (at, what, _) = refusal(text, &[]);
        assert_eq!(at, format!("c.toml:{line}"), "{what}");
    }
    let (at, what, _) = refusal("", &["epochs"]);
    assert_eq!((at.as_str(), what.as_str()), ("--set epochs", "not an assignment"));
    refusal("", &["=3"]);
    refusal("", &["training..seed=3"]);
    // One override sets one key, whatever its value contains.
    refusal("", &["training.seed=1\ndevice = \"wgpu\""]);
}

#[test]
fn a_missing_file_is_an_io_error() {
    let error = Config::load(Some(Path::new("/no/such/file.toml")), &[]).unwrap_err();
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error:?}");
}

#[test]
fn values_that_toml_cannot_hold_are_refused() {
    let mut config = Config::default();
    config.training.seed = u64::MAX;
    assert!(matches!(config.validate("test"), Err(Error::Config { .. })));
    config.training.seed = 1;
    config.hyperparameters.learning_rate = f64::NAN;
    let error = config.validate("flags").unwrap_err().to_string();
    assert_eq!(error, "flags: hyperparameters.learning_rate: learning_rate = nan is out of range");
}

#[test]
fn devices_are_read_and_written_by_name() {
    for choice in DeviceChoice::ALL {
        assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        assert_eq!(serde_json::to_value(choice).unwrap(), choice.name());
    }
    let error = "wgpuu".parse::<DeviceChoice>().unwrap_err();
    assert_eq!(error.help().unwrap(), "valid devices: auto, wgpu, ndarray");
}

#[test]
fn the_schema_describes_every_key() {
    fn missing(schema: &serde_json::Value, path: &str, missing_at: &mut Vec<String>) {
        let options = schema["anyOf"].as_array().cloned().unwrap_or_default();
        for schema in std::iter::once(schema).chain(&options) {
            for (key, of_key) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{key}");
                if of_key["description"].as_str().is_none_or(str::is_empty) {
                    missing_at.push(path.clone());
                }
                missing(of_key, &path, missing_at);
            }
        }
    }
    let schema = Config::json_schema();
    let mut missing_at = Vec::new();
    missing(&schema, "", &mut missing_at);
    assert!(missing_at.is_empty(), "{missing_at:?}");
    let rate = &schema["properties"]["hyperparameters"]["properties"]["learning_rate"];
    assert_eq!((rate["minimum"].as_f64(), rate["maximum"].as_f64()), (Some(1e-6), Some(10.0)));
    assert_eq!(rate["default"], 0.001);
}
