use std::collections::HashMap;
use std::fs;

use super::*;
use crate::event::parse_ipv4;

/// 1,000 rows of 256 addresses from 1.0.0.0 on, so that a row is the address divided by 256.
fn thousand_rows() -> AddressRanges {
    let row = |i: u32| {
        let (second, third) = (i / 256, i % 256);
        format!("1.{second}.{third}.0\t1.{second}.{third}.255\t1\tUS\tA\n")
    };
    AddressRanges::from_tsv((0..1000).map(row).collect::<String>().as_bytes(), "rows").unwrap()
}

fn row_of(ip: u32) -> usize {
    (ip as usize - 0x0100_0000) / 256
}

fn options(num_users: usize, seed: u64) -> GenerateOptions {
    GenerateOptions { num_users, num_days: 10, seed }
}

fn by_user(logins: &GeneratedLogins) -> HashMap<u32, Vec<Login>> {
    let mut users: HashMap<u32, Vec<Login>> = HashMap::new();
    for login in logins.train.iter().chain(&logins.validation).chain(&logins.test) {
        users.entry(login.user).or_default().push(*login);
    }
    for logins in users.values_mut() {
        logins.sort_by_key(|login| (login.seconds, login.ip));
    }
    users
}

#[test]
fn the_seed_determines_the_logins() {
    let ranges = thousand_rows();
    let logins = generate(&ranges, &options(20, 1));
    assert_eq!(logins, generate(&ranges, &options(20, 1)));
    assert_ne!(logins, generate(&ranges, &options(20, 2)));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(logins, pool.install(|| generate(&ranges, &options(20, 1))));
}

#[test]
fn a_users_logins_do_not_depend_on_the_number_of_users() {
    let ranges = thousand_rows();
    let (few, many) =
        (by_user(&generate(&ranges, &options(5, 1))), by_user(&generate(&ranges, &options(50, 1))));
    assert_eq!(few.len(), 5);
    for (user, logins) in few {
        assert_eq!(logins, many[&user], "user {user}");
    }
}

#[test]
fn logins_are_split_by_time_and_shuffled() {
    let logins = generate(&thousand_rows(), &options(200, 3));
    let day = |login: &Login| login.seconds / 86_400;
    assert!(logins.train.iter().all(|login| (0..7).contains(&day(login))));
    assert!(logins.validation.iter().all(|login| (7..9).contains(&day(login))));
    assert!(logins.test.iter().all(|login| day(login) == 9));
    let total = (logins.train.len() + logins.validation.len() + logins.test.len()) as f64;
    assert!((logins.train.len() as f64 / total - 0.7).abs() < 0.02);
    assert!((logins.test.len() as f64 / total - 0.1).abs() < 0.01);
    for part in [&logins.train, &logins.validation, &logins.test, &logins.attacks] {
        assert!(!part.is_sorted_by_key(|login| login.user));
    }
    // Any number of days does.
    for num_days in [0, 1, usize::MAX] {
        let logins = generate(&thousand_rows(), &GenerateOptions { num_users: 50, num_days, seed: 3 });
        assert!(!logins.train.is_empty() && !logins.validation.is_empty() && !logins.test.is_empty());
    }
    assert_eq!(generate(&thousand_rows(), &options(0, 3)), GeneratedLogins::default());
}

#[test]
fn an_attack_is_a_test_login_from_a_uniform_row() {
    let logins = generate(&thousand_rows(), &options(500, 4));
    assert_eq!(logins.attacks.len(), logins.test.len());
    let mut tenths = [0_usize; 10];
    for (login, attack) in logins.test.iter().zip(&logins.attacks) {
        assert_eq!((login.user, login.seconds), (attack.user, attack.seconds));
        tenths[row_of(attack.ip) / 100] += 1;
    }
    let expected = logins.attacks.len() as f64 / 10.0;
    // Five standard deviations of a binomial count.
    let tolerance = 5.0 * (expected * 0.9).sqrt();
    assert!(tenths.iter().all(|&count| (count as f64 - expected).abs() < tolerance), "{tenths:?}");
}

#[test]
fn users_have_50_to_10_000_logins_that_fall_off_as_pareto() {
    let users = by_user(&generate(&thousand_rows(), &options(4000, 5)));
    assert_eq!(users.len(), 4000);
    assert!(users.values().all(|logins| (50..=10_000).contains(&logins.len())));
    // P(N >= n) = 50 / n below the cap; five standard deviations of 4,000 draws are at most 0.04.
    for (at_least, share) in [(100, 0.5), (200, 0.25), (1000, 0.05), (10_000, 0.005)] {
        let count = users.values().filter(|logins| logins.len() >= at_least).count() as f64 / 4000.0;
        let tolerance = 5.0 * (share * (1.0 - share) / 4000.0_f64).sqrt();
        assert!((count - share).abs() < tolerance, "{at_least}: {count}");
    }
}

/// On the built-in table a user's rows are two normal clusters and the travels. Home and work are estimated
/// from the logins themselves, without a look into the generator.
#[test]
fn logins_cluster_at_home_and_work_except_for_travels() {
    let ranges = AddressRanges::built_in();
    let starts: Vec<u32> = (0..ranges.len()).map(|row| ranges.get(row).0).collect();
    let row = |ip: u32| starts.partition_point(|&start| start <= ip) - 1;
    let (mut travels, mut home_shares, mut deviations, mut commutes) = (vec![], vec![], vec![], vec![]);
    for logins in by_user(&generate(&ranges, &options(3000, 6))).values() {
        let mut rows: Vec<usize> = logins.iter().map(|login| row(login.ip)).collect();
        rows.sort_unstable();
        let near = |center: usize| {
            let begin = rows.partition_point(|&row| row + 60 < center);
            &rows[begin..rows.partition_point(|&row| row <= center + 60)]
        };
        // The densest place, then the densest apart from it.
        let densest = |apart: Option<usize>| {
            let far = |row: &usize| apart.is_none_or(|center| row.abs_diff(center) > 120);
            rows.iter().copied().filter(far).max_by_key(|&row| near(row).len())
        };
        let Some(first) = densest(None) else { continue };
        let Some(second) = densest(Some(first)) else { continue };
        let (num_first, num_second) = (near(first).len(), near(second).len());
        let mean = near(first).iter().sum::<usize>() as f64 / num_first as f64;
        if num_second > 3 {
            travels.push(1.0 - (num_first + num_second) as f64 / rows.len() as f64);
            home_shares.push(num_first as f64 / (num_first + num_second) as f64);
            commutes.push(first.abs_diff(second) as f64);
            let squares = near(first).iter().map(|&row| (row as f64 - mean).powi(2));
            deviations.push(squares.sum::<f64>() / num_first as f64);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(travels.len() > 2700, "{}", travels.len());
    assert!((mean(&travels) - 1.0 / 31.0).abs() < 0.006, "travel {}", mean(&travels));
    // E max(p, 1 - p) for p ~ Beta(3, 5) is 0.659.
    assert!((mean(&home_shares) - 0.66).abs() < 0.03, "larger share {}", mean(&home_shares));
    assert!((mean(&deviations).sqrt() - 10.0).abs() < 0.5, "deviation {}", mean(&deviations).sqrt());
    assert!(commutes.iter().filter(|&&rows| rows < 50_200.0).count() > commutes.len() * 97 / 100);
    assert!((mean(&commutes) - 25_000.0).abs() < 1500.0, "commute {}", mean(&commutes));
}

#[test]
fn rows_stay_in_a_table_of_three() {
    let text = "1.0.0.0\t1.0.0.1\t1\tUS\tA\n1.0.1.0\t1.0.1.1\t1\tUS\tA\n255.255.255.254\t255.255.255.255\t1\tUS\tA\n";
    let ranges = AddressRanges::from_tsv(text.as_bytes(), "three").unwrap();
    let logins = generate(&ranges, &options(50, 7));
    let mut seen = HashMap::new();
    for login in logins.train.iter().chain(&logins.attacks) {
        *seen.entry(login.ip).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    // N(0, 10) around three rows nearly always leaves them on one of the two sides.
    let edges = logins.train.iter().filter(|login| login.ip >> 8 != 0x01_0001).count();
    assert!(edges as f64 > 0.85 * logins.train.len() as f64);
}

#[test]
fn files_read_back_as_what_was_generated() {
    let logins = generate(&thousand_rows(), &options(30, 8));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/folder");
    write_files(&logins, &target).unwrap();
    // Files that exist are replaced.
    write_files(&logins, &target).unwrap();
    let read = |name: &str| -> Vec<(String, u32, Option<String>)> {
        let text = fs::read_to_string(target.join(name)).unwrap();
        let parse = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let ip = parse_ipv4(fields[1].as_bytes()).unwrap();
            (fields[0].to_string(), ip, fields.get(2).map(ToString::to_string))
        };
        text.lines().map(parse).collect()
    };
    let rows = |logins: &[Login], label: Option<&str>| -> Vec<(String, u32, Option<String>)> {
        logins.iter().map(|l| (user_name(l.user), l.ip, label.map(str::to_string))).collect()
    };
    assert_eq!(read("train.csv"), rows(&logins.train, None));
    assert_eq!(read("validation.csv"), rows(&logins.validation, None));
    assert_eq!(read("test.csv"), rows(&logins.test, None));
    let labelled = read("test_labelled.csv");
    let half = &labelled[..labelled.len() / 2];
    let attacks = half.iter().filter(|row| row.2.as_deref() == Some("1")).count() as f64;
    assert!((attacks / half.len() as f64 - 0.5).abs() < 0.1, "interleaved");
    let (mut labelled, mut expected) = (labelled, rows(&logins.test, Some("0")));
    expected.extend(rows(&logins.attacks, Some("1")));
    labelled.sort();
    expected.sort();
    assert_eq!(labelled, expected);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 4, "no temporary file is left");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_files(&GeneratedLogins::default(), &file).unwrap_err();
    assert!(error.to_string().contains("/file: cannot create"), "{error}");
    // A folder in the place of a file: nothing is left behind.
    fs::create_dir_all(folder.path().join("out/train.csv/x")).unwrap();
    write_files(&GeneratedLogins::default(), &folder.path().join("out")).unwrap_err();
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
}

#[test]
fn columns_hold_the_hashed_names_and_the_addresses_in_order() {
    let logins = [Login { user: 1, ip: 5, seconds: 0 }, Login { user: 0, ip: 7, seconds: 1 }];
    let hashes = vec![hash_entity(b"user_1"), hash_entity(b"user_0")];
    assert_eq!(GeneratedLogins::columns(&logins), (hashes, vec![5, 7]));
}
