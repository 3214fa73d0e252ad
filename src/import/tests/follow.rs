//! Files that are followed.

use super::*;
use crate::data::MAX_LINE;
use crate::event::parse_ipv4;

/// What is found after each step, where a step writes, renames, … and the follower then polls.
#[test]
fn a_file_is_followed_through_rotation_and_truncation() {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.log");
    let line = |user: &str| {
        format!("2024-05-31T23:59:59Z h sshd[1]: Accepted password for {user} from 1.2.3.4 port 22 ssh2\n")
    };
    let append = |name: &str, text: &str| {
        let file = OpenOptions::new().append(true).create(true).open(folder.path().join(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    let half = line("half");
    let (first, second) = half.split_at(60);
    // Whole lines and a half one are there before.
    append("auth.log", &line("old"));
    append("auth.log", first);

    let mut kept = Kept::default();
    let mut importer = Importer::new(&options(LogFormat::Sshd, &[]), &mut kept).unwrap();
    let mut follower = Follower::new(path.clone(), Start::End);
    let mut poll = || {
        let before = importer.report().num_rows;
        follower.poll(&mut importer, NEWEST).unwrap();
        (importer.report().num_rows - before, importer.report().skipped.get("unfinished").copied())
    };
    assert_eq!(poll(), (0, None), "the end is where the last line begins");
    assert_eq!(poll(), (0, None));
    append("auth.log", second);
    assert_eq!(poll(), (1, None), "a line that was half there is whole now");
    append("auth.log", &line("a"));
    append("auth.log", &line("b"));
    append("auth.log", first);
    assert_eq!(poll(), (2, None), "whole lines only");
    append("auth.log", second);
    // Rotation: the rest of the old file is read, also what comes before the new one has a line.
    append("auth.log", &line("c"));
    fs::rename(&path, folder.path().join("auth.log.1")).unwrap();
    assert_eq!(poll(), (2, None), "the file is gone");
    append("auth.log.1", &line("d"));
    append("auth.log", "");
    assert_eq!(poll(), (1, None), "the new file is empty");
    append("auth.log.1", &line("e"));
    append("auth.log.1", first);
    append("auth.log", &line("f"));
    assert_eq!(poll(), (2, Some(1)), "both files, and a line that nobody will finish");
    append("auth.log.1", second);
    append("auth.log", &line("g"));
    assert_eq!(poll(), (1, Some(1)), "the new file only");
    // Truncation, with a half line before it.
    append("auth.log", first);
    assert_eq!(poll(), (0, Some(1)));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append("auth.log", &line("h"));
    assert_eq!(poll(), (1, Some(2)));
    let users: Vec<&str> = kept.0.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(users, ["half", "a", "b", "half", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(parse_ipv4(kept.0[0].split(',').nth(1).unwrap().as_bytes()), Some(0x0102_0304));
}

#[test]
fn following_begins_where_it_should_and_needs_a_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let line = "{\"entity\":\"a\",\"ip\":\"1.2.3.4\"}\n";
    let json = options(LogFormat::Json, &[]);
    let num_rows = |start: Start, text: &[&[u8]]| {
        let _ = std::fs::remove_file(&path);
        let mut kept = Kept::default();
        let mut importer = Importer::new(&json, &mut kept)?;
        let mut follower = Follower::new(path.clone(), start);
        for text in text {
            if !text.is_empty() {
                std::fs::write(&path, text).unwrap();
            }
            follower.poll(&mut importer, NEWEST)?;
        }
        Ok::<_, Error>(importer.report().num_rows)
    };
    assert_eq!(num_rows(Start::Beginning, &[line.as_bytes()]).unwrap(), 1);
    assert_eq!(num_rows(Start::End, &[line.as_bytes()]).unwrap(), 0);
    // A file that comes later is all new.
    assert_eq!(num_rows(Start::End, &[&b""[..], line.as_bytes()]).unwrap(), 1);
    // The end of a line that is too long to be one is no line.
    let long = [&vec![b'x'; 3 * MAX_LINE][..], line.as_bytes(), line.as_bytes()].concat();
    assert_eq!(num_rows(Start::End, &[&long[..3 * MAX_LINE], &long]).unwrap(), 1);
    assert!(matches!(num_rows(Start::End, &[&b"\x1F\x8B\x08\x00"[..]]), Err(Error::Data { .. })));
    let mut kept = Kept::default();
    let mut importer = Importer::new(&json, &mut kept).unwrap();
    let folder = Follower::new(folder.path().into(), Start::End).poll(&mut importer, NEWEST);
    assert!(matches!(folder, Err(Error::Config { .. })));
}
