//! The page and the CSV file of made-up trials.

use std::collections::BTreeMap;

use ipsight_search::space::{Choice, Condition, Domain, Parameter, Space};
use ipsight_search::study::{Goal, Study, Trial, TrialState};
use serde_json::json;
use toml::Value;

use super::*;

/// Text that ends attributes, tags and fields.
const HOSTILE: &str = "</script><script src=\"x\">alert('1')</script>&amp;,\"\n\u{1}=1+1";

fn space() -> Space {
    let parameter = |name: &str, domain, when| Parameter {
        name: name.into(),
        key: format!("model.{name}"),
        domain,
        when,
    };
    let texts = ["constant", "cosine", HOSTILE].map(|text| Value::String(text.into()));
    Space {
        parameters: vec![
            parameter("learning_rate", Domain::LogUniform { low: 1e-5, high: 1e-2 }, None),
            parameter("schedule", Domain::Values(texts.to_vec()), None),
            parameter(
                "warmup",
                Domain::Int { low: 0, high: 9 },
                Some(Condition { parameter: 1, indices: vec![1, 2] }),
            ),
            parameter("dim", Domain::LogInt { low: 8, high: 512 }, None),
            parameter("alone", Domain::Int { low: 3, high: 3 }, None),
            parameter(HOSTILE, Domain::Uniform { low: -1.0, high: 1.0 }, None),
        ],
    }
}

/// Trials at places that are spread over the space; each tenth fails, each fourth of the others is pruned, each fifth
/// violates a constraint.
fn study(space: &Space, num_trials: usize) -> Study {
    let mut study = Study::new(Goal::Maximize);
    for number in 0..num_trials {
        let mut place = (number as f64 * 0.754_877_666).fract();
        let assignment = space.assign(|_, parameter| {
            place = (place + 0.569_840_291).fract();
            parameter.domain.from_unit(place)
        });
        let value = 0.9 + 0.05 * (number as f64).sin();
        let state = match number {
            _ if number % 10 == 9 => TrialState::Failed,
            _ if number % 4 == 3 => TrialState::Pruned,
            _ => TrialState::Complete,
        };
        let epochs = if state == TrialState::Complete { 5 } else { 2 };
        study.trials.push(Trial {
            number,
            state,
            assignment,
            enqueued: None,
            intermediate: (1..=epochs).map(|epoch| (epoch, value - 0.1 / f64::from(epoch))).collect(),
            value: (state != TrialState::Failed).then_some(value),
            constraints: if number % 5 == 4 { vec![0.25, -1.0] } else { vec![-0.5, 0.0] },
            figures: json!({"wall_seconds": 12.5, "trained_epochs": epochs, HOSTILE: HOSTILE})
                .as_object()
                .unwrap()
                .clone(),
            failure: (state == TrialState::Failed).then(|| HOSTILE.into()),
            started: 1e9 + 20.0 * number as f64,
            ended: Some(1e9 + 20.0 * number as f64 + 12.5),
        });
    }
    study
}

fn page_of(space: &Space, study: &Study) -> String {
    page(&Subject {
        name: HOSTILE,
        metric: HOSTILE,
        watched: HOSTILE,
        method: HOSTILE,
        early_stopping: HOSTILE,
        space,
        study,
        best_toml: Some(HOSTILE),
        data: &[HOSTILE.into(), "b.csv".into()],
    })
}

/// The tags of a page, without what stands between them.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|rest| rest.split_once('>').expect("a tag ends").0).collect()
}

/// Each tag is closed in its turn, no script is there, nothing is fetched, and coordinates are numbers.
fn assert_sound(page: &str) {
    let mut open = Vec::new();
    for tag in tags(page).iter().skip(1) {
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        assert!(name != "script" && name != "img", "{tag}");
        match tag {
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ if tag.ends_with('/') || ["meta", "br"].contains(&name) => {}
            _ => open.push(name),
        }
        // Attributes are name="value", and neither holds a mark of the other.
        let attributes: Vec<&str> = tag.split('"').collect();
        assert_eq!(attributes.len() % 2, 1, "{tag}");
        for pair in attributes.chunks_exact(2) {
            let attribute = pair[0].trim().trim_end_matches('=').rsplit(' ').next().unwrap();
            assert!(attribute != "src" && !attribute.starts_with("on"), "{tag}");
            assert!(attribute != "href" || pair[1].starts_with("data:text/csv"), "{tag}");
            if ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "d", "width", "height", "viewBox"]
                .contains(&attribute)
            {
                let is_number = |part: &str| part.is_empty() || part.parse::<f64>().is_ok_and(f64::is_finite);
                assert!(
                    pair[1].split([' ', 'M', 'L', 'H', 'V', 'h']).all(is_number)
                        || pair[1].starts_with("device"),
                    "{tag}"
                );
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(page.matches("http").count(), 1, "http-equiv");
}

#[test]
fn a_page_is_sound_at_any_time_of_a_sweep() {
    let space = space();
    for num_trials in [0, 1, 2, 3, 40] {
        let page = page_of(&space, &study(&space, num_trials));
        assert_sound(&page);
        assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"));
    }
    // Without parameters, and with trials of which nothing is known.
    let mut study = study(&space, 3);
    for trial in &mut study.trials {
        *trial = Trial {
            assignment: vec![],
            intermediate: BTreeMap::new(),
            value: None,
            ended: None,
            ..trial.clone()
        };
    }
    assert_sound(&page_of(&space, &study));
    assert_sound(&page_of(&Space::default(), &study));
}

#[test]
fn what_is_no_number_does_not_become_a_place() {
    let space = space();
    let mut study = study(&space, 30);
    for (i, value) in
        [(0, f64::NAN), (1, f64::INFINITY), (2, f64::NEG_INFINITY), (4, f64::MAX), (5, f64::MIN)]
    {
        study.trials[i].value = Some(value);
        study.trials[i].intermediate.insert(2, value);
        study.trials[i].constraints = vec![value];
        study.trials[i].started = value;
    }
    assert_sound(&page_of(&space, &study));
    for trial in &mut study.trials {
        trial.value = trial.value.and(Some(f64::NAN));
        trial.intermediate.values_mut().for_each(|value| *value = f64::NAN);
    }
    assert_sound(&page_of(&space, &study));
    // All of one value: no range, no variance.
    for trial in &mut study.trials {
        trial.value = trial.value.and(Some(0.5));
        trial.intermediate.values_mut().for_each(|value| *value = 0.5);
    }
    assert_sound(&page_of(&space, &study));
}

#[test]
fn each_trial_is_where_it_belongs() {
    let space = space();
    let study = study(&space, 40);
    let page = page_of(&space, &study);
    let count = |text: &str| page.matches(text).count();
    // Failed are 9, 19, 29 and 39; of the others 3, 7, 11, 15, … are pruned, without 19 and 39.
    assert!(page.contains("28 complete"), "{}", &page[..9000]);
    assert!(page.contains(", 8 pruned, 4 failed"));
    // The history and a slice of each parameter that always varies; slices without the trials without a warm-up.
    let with_warmup = |trial: &&Trial| trial.value.is_some() && trial.assignment[2].is_some();
    let num_warmups = study.trials.iter().filter(with_warmup).count();
    let pruned = study.trials.iter().filter(|trial| trial.state == TrialState::Pruned);
    let pruned_warmups = pruned.filter(with_warmup).count();
    assert!(0 < num_warmups && num_warmups < 36);
    let rings = count("r=\"3.5\"");
    // One more for each pruned curve, and for each that failed none.
    assert_eq!(rings, 8 * 6 + pruned_warmups + 8);
    assert!(page.contains(&format!("Not varied in {} of 36 trials", 36 - num_warmups)));
    let best = study.best().unwrap();
    assert!(page.contains(&format!("best trial<b>{}</b>", best.number)));
    assert_eq!(count("complete, best</td>"), 1);
    // A curve and a line of parallel coordinates for each; failed ones have curves only.
    assert_eq!(count("class=\"curve line\""), 40 + 36);
    assert_eq!(count("violated by 0.25</td>"), 8);
    assert_eq!(count("<tr><th scope=\"row\">39</th>"), 2, "among the failures and among all");
    assert!(page.contains("Importance by fANOVA."));
    assert!(
        !page_of(&space, &Study { trials: study.trials[..7].to_vec(), ..study })
            .contains("Importance by fANOVA.")
    );
}

#[test]
fn texts_of_others_stay_texts() {
    let space = space();
    let page = page_of(&space, &study(&space, 20));
    assert_sound(&page);
    assert!(!page.contains("<script") && !page.contains('\u{1}') && !page.contains("src=\"x\""));
    // The name of a sweep and of a parameter, a value, a failure, a figure and the configuration are there.
    assert!(page.matches("&lt;/script&gt;&lt;script src=&quot;x&quot;&gt;").count() > 20);
}

#[test]
fn a_thousand_trials_fit_a_page() {
    let space = space();
    let page = page_of(&space, &study(&space, 1000));
    assert!(page.len() < 4_000_000, "{}", page.len());
    assert!(page.contains("<details><summary>1000 trials"));
}

#[test]
fn the_csv_file_reads_as_it_was() {
    let space = space();
    let study = study(&space, 20);
    let text = trials_csv(&space, &study);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
    let names = ["number", "state", "value", "learning_rate", "schedule", "warmup", "dim", "alone", HOSTILE];
    let figures = ["wall_seconds", "trained_epochs", HOSTILE, "constraints", "failure", "started", "ended"];
    assert_eq!(header, names.iter().chain(&figures).map(|name| name.to_string()).collect::<Vec<_>>());
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 20);
    for (row, trial) in rows.iter().zip(&study.trials) {
        assert_eq!(row[0], trial.number.to_string());
        assert_eq!(row[2].parse().ok(), trial.value);
        let Some(Choice::Float(learning_rate)) = trial.assignment[0] else { panic!() };
        assert_eq!(row[3].parse(), Ok(learning_rate));
        assert_eq!(row[5].is_empty(), trial.assignment[2].is_none());
        assert_eq!(&row[11], HOSTILE);
        assert_eq!(&row[12], if trial.number % 5 == 4 { "0.25;-1" } else { "-0.5;0" });
        assert_eq!(&row[13], trial.failure.as_deref().unwrap_or_default());
        assert_eq!(row[14].parse(), Ok(trial.started));
    }
    assert_eq!(&rows[9][1], "failed");
    // Without trials there is a header.
    assert_eq!(
        trials_csv(&Space::default(), &Study::new(Goal::Minimize)),
        "number,state,value,constraints,failure,started,ended\n"
    );
}
