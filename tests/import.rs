//! Logs to events, as whole programs: every format, a file that grows, and the pipe into `score`.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use support::{Outcome, ipsight};
use tempfile::TempDir;

/// As anonip and Apache's own directives leave addresses that are masked to nothing.
#[test]
fn a_log_whose_addresses_were_masked_says_so() {
    let log = |address: &str| {
        let line = "ADDRESS - alice [10/Nov/2026:10:00:00 +0000] \"POST /login HTTP/1.1\" 200 5\n";
        line.replace("ADDRESS", address).repeat(3)
    };
    let words = ["no login was found", "IPv6 address in ::/32", "help: was the log anonymised?"];
    import(log("::").as_bytes(), &["apache"]).expect(3, &words);
    import(log("0.0.0.0").as_bytes(), &["apache"])
        .expect(0, &["warning: every address is 0.0.0.0", "anonymised"]);
    let mixed = log("0.0.0.0") + &log("203.0.113.0");
    let outcome = import(mixed.as_bytes(), &["apache"]).expect(0, &[]);
    assert!(!outcome.stderr.contains("anonymised"), "{}", outcome.stderr);
}

fn import(log: &[u8], args: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.log"), log).unwrap();
    let input = ["import", args[0], "--input", "x.log"];
    ipsight(folder.path(), &[&input[..], &args[1..]].concat(), b"")
}

/// Lines that every format has to get past.
const ODD: &[u8] = b"plain words\n\n\xff\xfe\x00 not UTF-8\n";

const APACHE: &str = r#"192.0.2.1 - ann [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0 (X11, \"y\")"
192.0.2.2 - "bob, jr" [17/May/2015:12:05:03 +0200] "GET /a?b=c HTTP/1.1" 200 5 "-" "curl/8"
192.0.2.3 - - [17/May/2015:10:05:05 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8"
2001:db8::1 - ann [17/May/2015:10:05:05 +0000] "GET / HTTP/1.1" 200 5 "-" "-"
192.0.2.4 - eve [17/May/2015:10:05:06 +0000] "GET / HTTP/1.1" 401 5 "-" "-"
"#;

#[test]
fn access_logs_become_rows() {
    let log = [ODD, APACHE.as_bytes()].concat();
    let rows = "ann,192.0.2.1,2015-05-17T10:05:03Z\n\"\"\"bob, jr\"\"\",192.0.2.2,2015-05-17T10:05:03Z\n\
                ann,2001:db8::,2015-05-17T10:05:05Z\n";
    let counts = "7 records read, 3 used, 4 skipped: 2 not of the format";
    for format in ["apache", "nginx"] {
        let outcome = import(&log, &[format]).expect(0, &[counts, "1 no entity", "1 of another outcome"]);
        assert_eq!(outcome.stdout, rows);
    }
    let failed = import(&log, &["apache", "--events", "failed"]).expect(0, &[]);
    assert_eq!(failed.stdout, "eve,192.0.2.4,2015-05-17T10:05:06Z\n");
    let paths = import(&log, &["apache", "--entity", "path"]).expect(0, &[]);
    assert_eq!(
        paths.stdout.lines().map(|row| row.split(',').next().unwrap()).collect::<Vec<_>>(),
        ["/", "/a", "/a", "/"]
    );
    let agents = import(&log, &["apache", "--entity", "user_agent"]).expect(0, &[]).stdout;
    assert!(agents.starts_with(r#""Mozilla/5.0 (X11, \""y\"")",192.0.2.1,"#), "{agents}");
}

const SSHD: &str = "\
Dec 31 23:59:59 web-1 sshd[1]: Accepted publickey for ann from 192.0.2.1 port 4 ssh2: RSA SHA256:x
Jan  1 00:00:01 web-1 sshd[2]: Failed password for invalid user bob from 192.0.2.2 port 4 ssh2
2024-01-01T01:00:02.5+01:00 web-1 sshd-session[3]: Accepted password for ann from ::ffff:192.0.2.3 port 4 ssh2
Jan  1 00:00:03 web-1 CRON[4]: pam_unix(cron:session): session closed for user root
Jan  1 00:00:04 web-1 sshd[5]: Accepted password for ann from 2001:db8::1 port 4 ssh2
Jan  1 00:00:05 web-1 sshd[6]: message repeated 2 times: [ Failed password for root from 192.0.2.6 port 4 ssh2]
";

#[test]
fn auth_logs_become_rows() {
    let log = [ODD, SSHD.as_bytes()].concat();
    let accepted = import(&log, &["sshd", "--year", "2023", "--json"]).expect(0, &[]);
    let [first, second, third] = [
        "ann,192.0.2.1,2023-12-31T23:59:59Z",
        "ann,192.0.2.3,2024-01-01T00:00:02Z",
        "ann,2001:db8::,2023-01-01T00:00:04Z",
    ];
    assert_eq!(accepted.stdout, format!("{first}\n{second}\n{third}\n"));
    let counts: serde_json::Value = serde_json::from_str(accepted.stderr.trim()).unwrap();
    let skipped = serde_json::json!({
        "of another outcome": 2, "no login": 1, "not of the format": 2,
    });
    assert_eq!(counts["skipped"], skipped);
    assert_eq!((&counts["num_records"], &counts["num_used"]), (&8.into(), &3.into()));

    let failed = import(&log, &["sshd", "--year", "2024", "--events", "failed", "--entity", "user@host"]);
    let failed = failed.expect(0, &["2 used for 3 logins"]);
    let root = "root@web-1,192.0.2.6,2024-01-01T00:00:05Z\n";
    assert_eq!(failed.stdout, format!("bob@web-1,192.0.2.2,2024-01-01T00:00:01Z\n{root}{root}"));
    let hosts =
        import(&log, &["sshd", "--year", "2024", "--events", "all", "--entity", "host"]).expect(0, &[]);
    assert_eq!(hosts.stdout.lines().filter(|row| row.starts_with("web-1,")).count(), 6);
}

/// Without a year, lines are not newer than their file, and the year turns where the months say so.
#[test]
fn a_time_without_a_year_is_not_newer_than_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.log");
    fs::write(&path, SSHD).unwrap();
    // 2021-01-02T00:00:00Z.
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_609_545_600);
    fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
    let args = ["import", "sshd", "--input", "auth.log", "--events", "all"];
    let rows = ipsight(folder.path(), &args, b"").expect(0, &[]).stdout;
    assert!(
        rows.starts_with("ann,192.0.2.1,2020-12-31T23:59:59Z\nbob,192.0.2.2,2021-01-01T00:00:01Z\n"),
        "{rows}"
    );
}

#[test]
fn json_becomes_rows_from_lines_and_arrays() {
    let objects = [
        r#"{"user":{"name":"ann"},"source":{"ip":"192.0.2.1"},"@timestamp":"2024-05-31T23:59:59Z"}"#,
        r#"{"user":{"name":"b\"o, b"},"source.ip":"192.0.2.2","@timestamp":1717199999000}"#,
    ];
    let rows = "ann,192.0.2.1,2024-05-31T23:59:59Z\n\"b\"\"o, b\",192.0.2.2,2024-05-31T23:59:59Z\n";
    let args = ["json", "--entity", "user.name", "--ip", "source.ip", "--time", "@timestamp"];
    let [first, second] = objects;
    for log in [
        format!("{first}\n{second}\n"),
        format!("[{first},\n{second}]"),
        format!("{{\"Records\": [{first}, {second}]}}"),
    ] {
        assert_eq!(import(log.as_bytes(), &args).expect(0, &["2 records read, 2 used"]).stdout, rows);
    }
    let odd = [ODD, first.as_bytes(), b"\n{\"user\":\n", second.as_bytes(), b"\n{}\n"].concat();
    let pointers = ["json", "--entity", "/user/name", "--ip", "/source/ip"];
    let outcome = import(&odd, &pointers).expect(0, &["1 used", "not of the format"]);
    assert_eq!(outcome.stdout, "ann,192.0.2.1,\n");
}

#[test]
fn cloudtrail_becomes_rows() {
    let record = |arn: &str, ip: &str| {
        format!(
            r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","arn":"{arn}"}},"eventTime":"2024-05-31T23:59:59Z","eventName":"ListBuckets","sourceIPAddress":"{ip}"}}"#
        )
    };
    let (ann, service) = (record("arn:aws:iam::1:user/ann", "192.0.2.1"), record("a", "s3.amazonaws.com"));
    let row = "arn:aws:iam::1:user/ann,192.0.2.1,2024-05-31T23:59:59Z\n";
    for log in [format!("{{\"Records\":[{ann},{service}]}}"), format!("{ann}\n{service}\n")] {
        let outcome = import(log.as_bytes(), &["cloudtrail"]).expect(0, &["1 address of an AWS service"]);
        assert_eq!(outcome.stdout, row);
    }
    // Two files of a bucket one behind the other, as zcat gives them, packed again.
    let file = format!("{{\"Records\":[{ann}]}}");
    let packed = [file.as_bytes(), file.as_bytes()].map(|text| zstd::encode_all(text, 0).unwrap()).concat();
    assert_eq!(import(&packed, &["cloudtrail"]).expect(0, &[]).stdout, row.repeat(2));
}

#[test]
fn inputs_are_folders_globs_and_stdin_and_a_file_is_an_output() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("logs")).unwrap();
    fs::write(root.join("logs/a.log"), APACHE).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(APACHE.as_bytes()).unwrap();
    fs::write(root.join("logs/b.log.1.gz"), gz.finish().unwrap()).unwrap();
    let rows = |args: &[&str], stdin: &str| {
        let args = [&["import", "apache", "--output", "rows.csv"], args].concat();
        assert_eq!(ipsight(root, &args, stdin.as_bytes()).expect(0, &[" used"]).stdout, "");
        fs::read_to_string(root.join("rows.csv")).unwrap().lines().count()
    };
    assert_eq!(rows(&["--input", "logs"], ""), 6);
    assert_eq!(rows(&["--input", "logs/*.log"], ""), 3);
    assert_eq!(rows(&["--input", "logs/a.log", "logs/b.log.1.gz"], ""), 6);
    assert_eq!(rows(&[], APACHE), 3);
    // What is written is what the other verbs read.
    let prepare = ["prepare", "rows.csv", "--output", "rows.arrow"];
    ipsight(root, &prepare, b"").expect(0, &["3 events"]);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    import(APACHE.as_bytes(), &["sshd"]).expect(3, &["x.log: no login was found", "ipsight import apache"]);
    import(SSHD.as_bytes(), &["json"]).expect(3, &["ipsight import sshd"]);
    import(b"", &["sshd"]).expect(3, &["it is empty"]);
    import(b"", &["syslog"]).expect(2, &["sshd"]);
    import(b"", &["apache", "--entity", "name"]).expect(2, &["`user_agent`"]);
    import(b"", &["apache", "--year", "2024"]).expect(2, &["--year"]);
    import(b"", &["sshd", "--from-start"]).expect(2, &["--follow"]);
    import(b"", &["sshd", "--follow", "--output", "rows.csv"]).expect(2, &["stdout"]);
    let folder = tempfile::tempdir().unwrap();
    ipsight(folder.path(), &["import", "sshd", "--follow"], b"").expect(2, &["--input FILE"]);
    ipsight(folder.path(), &["import", "sshd", "--follow", "--input", "."], b"")
        .expect(2, &["no plain file"]);
    ipsight(folder.path(), &["import", "sshd", "--input", "none.log"], b"").expect(4, &["none.log"]);
}

/// A program at work, whose stdout is read line by line; ended when the test is.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, args: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
            .args(args)
            .current_dir(folder)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// Waits for stderr to say that following has begun.
    fn wait_until_following(&mut self) {
        let mut byte = [0];
        let mut said = Vec::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        while !said.ends_with(b"\n") && stderr.read(&mut byte).unwrap() == 1 {
            said.push(byte[0]);
        }
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("following") || said.starts_with("waiting for"), "{said}");
    }

    /// The next line; waits until it is there.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "half a line, or the end: {line:?}");
        line.trim_end().to_string()
    }

    /// Sends a signal and returns the exit code and the rest of both streams.
    fn stop(mut self, signal: &str) -> (Option<i32>, String, String) {
        Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.lines.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The stdout of a program that says nothing.
fn nothing() -> BufReader<ChildStdout> {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    BufReader::new(child.stdout.take().unwrap())
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn login(user: &str, ip: &str) -> String {
    format!("2024-05-31T23:59:59Z h sshd[1]: Accepted password for {user} from {ip} port 22 ssh2\n")
}

#[test]
fn a_pipe_is_imported_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut import = Running::start(folder.path(), &["import", "sshd"], Stdio::piped());
    let mut stdin = import.child.stdin.take().unwrap();
    for user in ["a", "b"] {
        stdin.write_all(login(user, "192.0.2.1").as_bytes()).unwrap();
        assert_eq!(import.line(), format!("{user},192.0.2.1,2024-05-31T23:59:59Z"));
    }
    drop(stdin);
    assert_eq!(import.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_file_is_followed_line_by_line_through_rotation_and_truncation() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &login("old", "192.0.2.1"));
    let args = ["import", "sshd", "--follow", "--input", "auth.log"];
    let mut follow = Running::start(folder.path(), &args, Stdio::null());
    follow.wait_until_following();
    let row = |user: &str, ip: &str| format!("{user},{ip},2024-05-31T23:59:59Z");

    append(&log, &login("a", "192.0.2.2"));
    assert_eq!(follow.line(), row("a", "192.0.2.2"));
    // Half a line waits for its other half.
    let half = login("b", "192.0.2.3");
    append(&log, &half[..80]);
    append(&log, &half[80..]);
    assert_eq!(follow.line(), row("b", "192.0.2.3"));
    // Rotation, with a line written to the old file behind it.
    fs::rename(&log, folder.path().join("auth.log.1")).unwrap();
    append(&folder.path().join("auth.log.1"), &login("c", "192.0.2.4"));
    append(&log, &login("d", "192.0.2.5"));
    assert_eq!(follow.line(), row("c", "192.0.2.4"));
    assert_eq!(follow.line(), row("d", "192.0.2.5"));
    // Truncation; the new content is shorter than the old.
    append(&log, &login("e", "192.0.2.6"));
    assert_eq!(follow.line(), row("e", "192.0.2.6"));
    fs::write(&log, login("f", "192.0.2.7")).unwrap();
    assert_eq!(follow.line(), row("f", "192.0.2.7"));
    append(&log, &half[..80]);
    let (code, stdout, stderr) = follow.stop("INT");
    assert_eq!((code, stdout.as_str()), (Some(130), ""), "{stderr}");
    assert!(stderr.contains("6 used") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn following_waits_for_a_file_begins_at_its_start_and_ends_with_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["import", "sshd", "--follow", "--from-start", "--input", "auth.log"];
    let mut follow = Running::start(folder.path(), &args, Stdio::null());
    follow.wait_until_following();
    append(&folder.path().join("auth.log"), &login("a", "192.0.2.2"));
    assert!(follow.line().starts_with("a,192.0.2.2,"));
    assert_eq!(follow.stop("TERM").0, Some(143));

    let mut follow = Running::start(folder.path(), &args, Stdio::null());
    assert!(follow.line().starts_with("a,192.0.2.2,"), "a file that is there is read from its start");
    // The reader goes: a row that finds nobody is a quiet end. A program that another test starts at that moment may hold
    // the pipe a little longer, so there are more rows than one.
    drop(std::mem::replace(&mut follow.lines, nothing()));
    let mut ended = None;
    for _ in 0..600 {
        append(&folder.path().join("auth.log"), &login("b", "192.0.2.2"));
        std::thread::sleep(Duration::from_millis(50));
        ended = follow.child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended.expect("it still runs").code(), Some(0));
    let child = &mut follow.child;
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(!stderr.contains("error"), "{stderr}");
}

/// A small model, made once.
static MODEL: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let events: String = (0..400).map(|i| format!("user_{},10.{}.0.{}\n", i % 8, i % 8, i / 8)).collect();
    fs::write(folder.path().join("events.csv"), events).unwrap();
    let train = ["train", "--train", "events.csv", "--device", "ndarray", "--output", "run"];
    let small = [
        "hyperparameters.num_entity_vectors=20",
        "hyperparameters.vector_dim=8",
        "hyperparameters.epochs=60",
        "hyperparameters.mini_batch_size=50",
        "hyperparameters.learning_rate=0.02",
    ];
    let small = small.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>();
    ipsight(folder.path(), &[&train[..], &small].concat(), b"").expect(0, &[]);
    folder
});

const SCORE: [&str; 6] = ["score", "--model", "run/model", "--device", "ndarray", "--line-buffered"];

#[test]
fn line_buffered_scores_a_row_as_soon_as_it_is_there() {
    for format in ["csv", "jsonl"] {
        let args = [&SCORE[..], &["--format", format]].concat();
        let mut score = Running::start(MODEL.path(), &args, Stdio::piped());
        let mut stdin: ChildStdin = score.child.stdin.take().unwrap();
        for (i, user) in ["user_1", "\"user,\n1\"", "x"].into_iter().enumerate() {
            // Shorter than what the format and the compression would be told from.
            writeln!(stdin, "{user},1.2.3.4").unwrap();
            if i == 0 && format == "csv" {
                assert_eq!(score.line(), "entity,ip,dot_product,anomaly_score,entity_seen");
            }
            let mut scored = score.line();
            while !scored.contains("1.2.3.4") {
                scored = score.line();
            }
        }
        drop(stdin);
        assert_eq!(score.child.wait().unwrap().code(), Some(0));
    }
    let refused = |args: &[&str], words: &[&str]| {
        ipsight(MODEL.path(), &[&SCORE[..], args].concat(), b"user_1,1.2.3.4\n").expect(2, words);
    };
    refused(&["--format", "parquet", "--output", "x.parquet"], &["csv or jsonl"]);
    refused(&["--output", "scores.csv"], &["stdout"]);
}

#[test]
fn line_buffered_scores_are_those_of_a_batch() {
    let rows = fs::read(MODEL.path().join("events.csv")).unwrap();
    let scores = |args: &[&str]| ipsight(MODEL.path(), args, &rows).expect(0, &[]).stdout;
    let (one_by_one, batch) = (scores(&SCORE), scores(&SCORE[..5]));
    let field = |text: &str| -> Vec<f32> {
        text.lines().skip(1).map(|row| row.split(',').nth(2).unwrap().parse().unwrap()).collect()
    };
    let mut mismatches = support::Mismatches::default();
    mismatches.check("dot products", &field(&one_by_one), &field(&batch), 1e-5);
    mismatches.assert_none();
}

#[test]
fn a_login_is_scored_while_its_log_is_followed() {
    let folder = MODEL.path();
    let log = folder.join("followed.log");
    append(&log, &login("old", "192.0.2.1"));
    let args = ["import", "sshd", "--follow", "--input", "followed.log"];
    let mut follow = Running::start(folder, &args, Stdio::null());
    follow.wait_until_following();
    // A pipe from one to the other, as a shell makes it.
    let stdout = std::mem::replace(&mut follow.lines, nothing()).into_inner();
    let mut score = Running::start(folder, &SCORE, Stdio::from(stdout));
    append(&log, &login("user_1", "10.1.0.3"));
    assert_eq!(score.line(), "entity,ip,dot_product,anomaly_score,entity_seen");
    let known = score.line();
    assert!(known.starts_with("user_1,10.1.0.3,") && known.ends_with(",true"), "{known}");
    append(&log, &login("a, b", "10.1.0.3"));
    assert!(score.line().starts_with("\"a, b\",10.1.0.3,"));
    let (code, _, _) = follow.stop("TERM");
    assert_eq!(code, Some(143));
    assert_eq!(score.child.wait().unwrap().code(), Some(0), "the end of the pipe is the end of the input");
}

/// The example as it stands, with a limit and, once the model folder has them, with thresholds.
#[test]
fn the_example_prints_what_is_worth_a_look() {
    use std::os::unix::process::CommandExt;

    let folder = MODEL.path();
    let (log, model) = (folder.join("example.log"), folder.join("with-thresholds"));
    fs::create_dir(&model).unwrap();
    for entry in fs::read_dir(folder.join("run/model")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let evaluate = ["evaluate", "--model", "with-thresholds", "--data", "events.csv", "--device", "ndarray"];
    ipsight(folder, &[&evaluate[..], &["--target-fpr", "look=0.01"]].concat(), b"").expect(0, &[]);
    // How anomalous two logins are in truth.
    let scores = |model: &str| {
        let args = ["score", "--model", model, "--device", "ndarray", "--format", "jsonl"];
        let scored =
            ipsight(folder, &args, b"user_1,10.1.0.3\nuser_1,203.0.113.9\n").expect(0, &[]).json_lines();
        [0, 1].map(|i| scored[i]["anomaly_score"].as_f64().unwrap())
    };
    let [usual, strange] = scores("run/model");
    let limit = (strange.floor() as i64).max(0);
    assert!(usual < limit as f64 && strange >= limit as f64, "{usual} and {strange}");

    for model in ["run/model", "with-thresholds"] {
        fs::write(&log, login("old", "192.0.2.1")).unwrap();
        let script = format!("{}/examples/tail_sshd.sh", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("sh")
            .args([script.as_str(), model, "example.log", &limit.to_string()])
            .env("IPSIGHT", env!("CARGO_BIN_EXE_ipsight"))
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut example = Running { child, lines };
        example.wait_until_following();
        append(&log, &(login("user_1", "10.1.0.3") + &login("user_1", "203.0.113.9")));
        assert!(example.line().starts_with("entity,ip,dot_product,anomaly_score,entity_seen"), "{model}");
        let worth_a_look = example.line();
        // All three programs are of one group.
        let group = format!("-{}", example.child.id());
        Command::new("kill").args(["-TERM", "--", &group]).status().unwrap();
        assert!(worth_a_look.starts_with("user_1,203.0.113.9,"), "{model}: {worth_a_look}");
    }
}

#[test]
fn the_format_is_told_where_none_is_named_and_what_is_wrong_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.log"), APACHE).unwrap();
    fs::write(folder.path().join("y.log"), login("ann", "192.0.2.1")).unwrap();
    let inputs = ["import", "--input", "x.log", "y.log"];
    let words = ["x.log: the log is taken for apache", "y.log: the log is taken for sshd"];
    let outcome = ipsight(folder.path(), &inputs, b"").expect(0, &words);
    assert!(outcome.stdout.ends_with("ann,192.0.2.1,2024-05-31T23:59:59Z\n"), "{}", outcome.stdout);
    let bad_time = "{\"entity\":\"a\",\"ip\":\"192.0.2.1\",\"time\":\"3/4/2025 10:00:00 AM\"}\n";
    let words = ["1 bad time (`3/4/2025 10:00:00 AM`)", "help: the time cannot be read"];
    import(bad_time.as_bytes(), &["json", "--time", "time"]).expect(3, &words);
    let accepted = login("ann", "192.0.2.1");
    import(accepted.as_bytes(), &["sshd", "--events", "failed"]).expect(3, &["take --events accepted"]);
    let gateway = accepted.replace("sshd[1]", "gateway[1]");
    import(gateway.as_bytes(), &["sshd"]).expect(3, &["another program (`gateway`)", "--program NAME"]);
    import(gateway.as_bytes(), &["sshd", "--program", "gateway"]).expect(0, &["1 used"]);
    import(APACHE.as_bytes(), &["apache", "--where", "path=/a", "--entity", "path"]).expect(0, &["2 used"]);
    import(APACHE.as_bytes(), &["apache", "--trusted-proxies", "192.0.2.0/33"]).expect(2, &["is no network"]);
}
