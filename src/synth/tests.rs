use std::collections::HashMap;
use std::fs;

use super::*;
use crate::event::{Address, hash_entity, parse_address};

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

/// The address of a login or of an attack, which is an IPv4 address here.
fn ipv4(login: &Login) -> u32 {
    login.address.ipv4().unwrap()
}

fn options(num_users: usize, seed: u64) -> GenerateOptions {
    GenerateOptions { num_users, num_days: 10, seed, ipv6: Ipv6Shares::default() }
}

fn by_user(logins: &GeneratedLogins) -> HashMap<u32, Vec<Login>> {
    let mut users: HashMap<u32, Vec<Login>> = HashMap::new();
    for login in logins.train.iter().chain(&logins.validation).chain(&logins.test) {
        users.entry(login.user).or_default().push(*login);
    }
    for logins in users.values_mut() {
        logins.sort_by_key(|login| (login.seconds, login.address));
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
    for part in [&logins.train, &logins.validation, &logins.test] {
        assert!(!part.is_sorted_by_key(|login| login.user));
    }
    // Any number of days does.
    for num_days in [0, 1, usize::MAX] {
        let logins = generate(&thousand_rows(), &GenerateOptions { num_days, ..options(50, 3) });
        assert!(!logins.train.is_empty() && !logins.validation.is_empty() && !logins.test.is_empty());
    }
    assert_eq!(generate(&thousand_rows(), &options(0, 3)), GeneratedLogins::default());
}

/// The labelled test of `logins` with the default attacks or those of `attacks`.
fn labelled<'a>(population: &'a Population, logins: &GeneratedLogins, attacks: &[&str]) -> LabelledTest<'a> {
    let mix = match attacks {
        [] => AttackMix::equal_shares(population),
        attacks => AttackMix::parse(attacks).unwrap(),
    };
    LabelledTest::draw(population, &logins.test, mix, 4).unwrap()
}

#[test]
fn an_attack_is_a_test_login_from_elsewhere() {
    let ranges = thousand_rows();
    let logins = generate(&ranges, &options(500, 4));
    let population = Population::new(&ranges, 500, 4);
    let attacks = |texts: &[&str]| -> Vec<Login> {
        let labelled = labelled(&population, &logins, texts);
        let normal = labelled.rows().iter().filter(|row| row.kind.is_none()).count();
        assert_eq!(normal, logins.test.len());
        labelled.rows().iter().filter(|row| row.kind.is_some()).map(|row| row.login).collect()
    };
    let without_address = |logins: &[Login]| {
        let mut logins: Vec<(u32, u32)> = logins.iter().map(|login| (login.user, login.seconds)).collect();
        logins.sort_unstable();
        logins
    };
    let all = attacks(&[]);
    assert_eq!(without_address(&all), without_address(&logins.test), "one for each by default");
    // Fractions that do not divide the number still add up to it, and more than one each begins again.
    assert_eq!(attacks(&["uniform_ipv4=0.3", "neighbour=0.3", "other_users=0.4"]).len(), logins.test.len());
    let num_test = logins.test.len() as f64;
    assert_eq!(attacks(&["uniform_ipv4=0.01"]).len(), (0.01 * num_test).round() as usize);
    assert_eq!(attacks(&["neighbour=2.5"]).len(), (2.5 * num_test).round() as usize);

    let from_ranges = attacks(&["address_ranges=1"]);
    let mut tenths = [0_usize; 10];
    for attack in &from_ranges {
        tenths[row_of(ipv4(attack)) / 100] += 1;
    }
    let expected = from_ranges.len() as f64 / 10.0;
    // Five standard deviations of a binomial count.
    let tolerance = 5.0 * (expected * 0.9).sqrt();
    assert!(tenths.iter().all(|&count| (count as f64 - expected).abs() < tolerance), "{tenths:?}");
}

#[test]
fn attacks_that_cannot_be_are_refused() {
    for (texts, what) in [
        (&["neighbor=1"][..], "unknown kind of attack `neighbor`"),
        (&["neighbour"], "`neighbour` is not KIND=FRACTION"),
        (&["neighbour=half"], "`half` in `neighbour=half` is not a number"),
        (&["neighbour=0"], "neighbour=0 is out of range"),
        (&["neighbour=NaN"], "neighbour=NaN is out of range"),
        (&["neighbour=101"], "neighbour=101 is out of range"),
        (&["neighbour=1", "uniform_ipv4=1", "neighbour=1"], "neighbour is given twice"),
        (&[], "there is no kind of attack"),
    ] {
        let error = AttackMix::parse(texts).unwrap_err();
        assert_eq!((error.to_string(), error.exit_code()), (format!("attacks: {what}"), 2));
        assert!(error.help().is_some());
    }
    assert_eq!("neighbor".parse::<AttackKind>().unwrap_err().help().unwrap(), "did you mean `neighbour`?");

    let one_row = AddressRanges::from_tsv("1.0.0.0\t1.0.0.9\t1\tUS\tA\n".as_bytes(), "one").unwrap();
    let thousand_rows = thousand_rows();
    for (ranges, num_users, kind, what) in [
        (&thousand_rows, 1, "other_users", "other_users needs at least two users"),
        (&one_row, 2, "neighbour", "neighbour needs a table of at least two address ranges"),
    ] {
        let population = Population::new(ranges, num_users, 4);
        let logins = generate(ranges, &options(num_users, 4));
        let mix = AttackMix::parse(&[format!("{kind}=1")]).unwrap();
        let Err(error) = LabelledTest::draw(&population, &logins.test, mix, 4) else { panic!("{kind}") };
        assert_eq!((error.to_string(), error.exit_code()), (format!("attacks: {what}"), 2));
        // By default it is the one that is left out.
        let default = labelled(&population, &logins, &[]);
        let kinds: Vec<&str> = default.mix().fractions().iter().map(|(kind, _)| kind.name()).collect();
        assert!(kinds.len() == 3 && !kinds.contains(&kind), "{kinds:?}");
        assert_eq!(default.rows().len(), 2 * logins.test.len());
        for row in default.rows() {
            let ratio = default.mix().log_likelihood_ratio(&default.densities(row));
            assert!(!ratio.is_nan(), "{row:?}");
        }
    }
}

/// The profile that densities are computed from is the one that the logins were drawn with.
#[test]
fn the_population_is_that_of_the_logins() {
    let ranges = AddressRanges::built_in();
    let population = Population::new(&ranges, 200, 9);
    assert_eq!(population.num_users(), 200);
    for (user, logins) in by_user(&generate(&ranges, &options(200, 9))) {
        let profile = population.profile(user);
        let near = |row: usize, base: usize| row.abs_diff(base) <= 60;
        let rows: Vec<usize> = logins.iter().map(|login| ranges.row_of(ipv4(login)).unwrap()).collect();
        let num_logins = rows.len() as f64;
        let travels = rows.iter().filter(|&&row| !near(row, profile.home) && !near(row, profile.work));
        let expected = num_logins * profile.p_travel;
        let tolerance = 5.0 * expected.sqrt() + 2.0;
        assert!((travels.count() as f64 - expected).abs() < tolerance, "user {user}");
        if profile.home.abs_diff(profile.work) > 120 {
            let home = rows.iter().filter(|&&row| near(row, profile.home)).count() as f64;
            let expected = num_logins * (1.0 - profile.p_travel) * profile.p_home;
            assert!((home - expected).abs() < 5.0 * expected.sqrt() + 2.0, "user {user}: {home}");
        }
    }
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
        let mut rows: Vec<usize> = logins.iter().map(|login| row(ipv4(login))).collect();
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
    for login in logins.train.iter().chain(&logins.test) {
        *seen.entry(login.address).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    // N(0, 10) around three rows nearly always leaves them on one of the two sides.
    let edges = logins.train.iter().filter(|login| ipv4(login) >> 8 != 0x01_0001).count();
    assert!(edges as f64 > 0.85 * logins.train.len() as f64);
}

#[test]
fn files_read_back_as_what_was_generated() {
    let ranges = thousand_rows();
    let logins = generate(&ranges, &options(30, 8));
    let population = Population::new(&ranges, 30, 8);
    let labelled = labelled(&population, &logins, &[]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/folder");
    write_files(&logins, &labelled, &target).unwrap();
    // Files that exist are replaced.
    write_files(&logins, &labelled, &target).unwrap();
    let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
    let parse = |line: &str| {
        let (user, ip) = line.split_once(',').unwrap();
        (user.to_string(), parse_address(ip.as_bytes()).unwrap())
    };
    for (name, logins) in
        [("train.csv", &logins.train), ("validation.csv", &logins.validation), ("test.csv", &logins.test)]
    {
        let expected: Vec<_> = logins.iter().map(|login| (user_name(login.user), login.address)).collect();
        assert_eq!(read(name).lines().map(parse).collect::<Vec<_>>(), expected, "{name}");
    }

    let (labelled_text, truth) = (read("test_labelled.csv"), read("truth.csv"));
    assert_eq!(labelled_text.lines().count(), 2 * logins.test.len());
    let mut truth = truth.lines();
    assert_eq!(
        truth.next(),
        Some(
            "entity,ip,label,kind,log_likelihood_ratio,log_likelihood_ratio_uniform_ipv4,\
             log_likelihood_ratio_address_ranges,log_likelihood_ratio_other_users,log_likelihood_ratio_neighbour"
        )
    );
    let mut num_attacks = 0;
    for (i, (line, row)) in labelled_text.lines().zip(labelled.rows()).enumerate() {
        let ip = row.login.address;
        let label = u8::from(row.kind.is_some());
        assert_eq!(line, format!("{},{ip},{label},{}", user_name(row.login.user), row.kind_name()));
        // Interleaved: the labels of the first rows do not all agree.
        num_attacks += usize::from(i < 100 && label == 1);
        let truth = truth.next().unwrap();
        let ratios = truth.strip_prefix(line).unwrap_or_else(|| panic!("{truth} is not about {line}"));
        let densities = labelled.densities(row);
        let by_kind = AttackKind::ALL.map(|kind| densities.log_likelihood_ratio(kind));
        let expected = [&[labelled.mix().log_likelihood_ratio(&densities)][..], &by_kind].concat();
        for (text, expected) in ratios[1..].split(',').zip(&expected) {
            let ratio: f64 = text.parse().unwrap();
            assert!(ratio == *expected || (ratio - expected).abs() < 1e-6, "{text} is not {expected}");
        }
        assert_eq!(ratios.split(',').count(), 6);
    }
    assert_eq!(truth.next(), None);
    assert!((20..80).contains(&num_attacks), "{num_attacks} of the first 100 rows are attacks");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 5, "no temporary file is left");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let ranges = thousand_rows();
    let population = Population::new(&ranges, 2, 0);
    let logins = GeneratedLogins::default();
    let labelled = labelled(&population, &logins, &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_files(&logins, &labelled, &file).unwrap_err();
    assert!(error.to_string().contains("/file: cannot create"), "{error}");
    // A folder in the place of a file: nothing is left behind.
    fs::create_dir_all(folder.path().join("out/train.csv/x")).unwrap();
    write_files(&logins, &labelled, &folder.path().join("out")).unwrap_err();
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
}

#[test]
fn columns_hold_the_hashed_names_and_the_addresses_in_order() {
    let addresses = [5, 7].map(Address::from_ipv4);
    let login = |user, seconds| Login { user, address: addresses[seconds as usize], seconds };
    let hashes = vec![hash_entity(b"user_1"), hash_entity(b"user_0")];
    let columns = GeneratedLogins::columns(&[login(1, 0), login(0, 1)]);
    assert_eq!(columns, (hashes, addresses.to_vec(), vec![0, 1]));
}

fn all_logins(logins: &GeneratedLogins) -> impl Iterator<Item = &Login> {
    logins.train.iter().chain(&logins.validation).chain(&logins.test)
}

#[test]
fn shares_of_users_and_logins_are_over_ipv6_and_the_others_stay_as_they_were() {
    let ranges = thousand_rows();
    let over_ipv4 = generate(&ranges, &options(400, 9));
    let ipv6 = Ipv6Shares { users: 0.6, logins: 0.25 };
    let mixed = generate(&ranges, &GenerateOptions { ipv6, ..options(400, 9) });
    assert_eq!(mixed, generate(&ranges, &GenerateOptions { ipv6, ..options(400, 9) }));
    assert_eq!(all_logins(&mixed).count(), all_logins(&over_ipv4).count());
    let before: std::collections::HashSet<&Login> = all_logins(&over_ipv4).collect();
    assert!(all_logins(&mixed).filter(|login| login.address.is_ipv4()).all(|login| before.contains(login)));

    let users = by_user(&mixed);
    let num_ipv6 = |logins: &[Login]| logins.iter().filter(|login| !login.address.is_ipv4()).count();
    let with_ipv6: Vec<&Vec<Login>> = users.values().filter(|logins| num_ipv6(logins) > 0).collect();
    assert!((200..280).contains(&with_ipv6.len()), "{}", with_ipv6.len());
    let (of_ipv6, of_all) = with_ipv6
        .iter()
        .fold((0, 0), |(of_ipv6, of_all), logins| (of_ipv6 + num_ipv6(logins), of_all + logins.len()));
    let share = of_ipv6 as f64 / of_all as f64;
    assert!((0.24..0.26).contains(&share), "{share}");
    // Most logins over IPv6 come from two subnets of a user.
    let repeated = with_ipv6.iter().map(|logins| {
        let mut counts: HashMap<Address, usize> = HashMap::new();
        let ipv6 = logins.iter().filter(|login| !login.address.is_ipv4());
        ipv6.for_each(|login| *counts.entry(login.address).or_default() += 1);
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.iter().take(2).sum::<usize>()
    });
    let share = repeated.sum::<usize>() as f64 / of_ipv6 as f64;
    assert!((0.8..0.95).contains(&share), "{share}");
}

#[test]
fn the_truth_is_known_of_both_families() {
    let ranges = thousand_rows();
    let ipv6 = Ipv6Shares { users: 0.7, logins: 0.5 };
    let logins = generate(&ranges, &GenerateOptions { ipv6, ..options(200, 10) });
    let population = Population::with_ipv6(&ranges, 200, 10, ipv6);
    let labelled = labelled(&population, &logins, &[]);
    let mut num_of_family = HashMap::new();
    for row in labelled.rows() {
        let densities = labelled.densities(row);
        match row.kind {
            None => assert!(densities.normal > 0.0),
            Some(kind) => assert!(densities.attacks[kind as usize] > 0.0, "{}", kind.name()),
        }
        *num_of_family.entry((row.kind, row.login.address.is_ipv4())).or_insert(0) += 1;
    }
    for kind in
        [None, Some(AttackKind::AddressRanges), Some(AttackKind::OtherUsers), Some(AttackKind::Neighbour)]
    {
        let [ipv4, ipv6] = [true, false].map(|family| num_of_family[&(kind, family)]);
        // 0.35 of all, where few users have most logins.
        assert!((1..6).contains(&(10 * ipv6 / (ipv4 + ipv6))), "{kind:?}: {ipv4}, {ipv6}");
    }
    assert!(!num_of_family.contains_key(&(Some(AttackKind::UniformIpv4), false)));
    // A user without IPv6 has no login over it.
    let strangers = (0..200).filter(|user| {
        all_logins(&logins).any(|login| {
            !login.address.is_ipv4() && {
                let of_login = population.densities(*user, login.address);
                of_login.normal == 0.0 && of_login.attacks[AttackKind::OtherUsers as usize] > 0.0
            }
        })
    });
    let num_strangers = strangers.count();
    assert!((40..80).contains(&num_strangers), "{num_strangers}");
}
