//! What sshd says.

use super::*;

#[test]
fn logins_are_found_in_what_sshd_says() {
    let cases = [
        ("Accepted password for ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Accepted publickey for ann from 1.2.3.4 port 51123 ssh2: RSA SHA256:Kl8k from x", Ok("ann")),
        ("Accepted keyboard-interactive/pam for ann from 1.2.3.4 port 1 ssh2", Ok("ann")),
        ("Accepted password for ann from ::ffff:1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Accepted password for ann from fe80::1%eth0 port 22 ssh2", Err(Skip::LinkLocalIpv6)),
        ("Accepted password for ann from UNKNOWN port 22 ssh2", Err(Skip::NotAddress)),
        ("Accepted password for ann", Err(Skip::OtherMessage)),
        ("Failed password for ann from 1.2.3.4 port 22 ssh2", Err(Skip::NotChosen)),
        ("Disconnected from user ann 1.2.3.4 port 22", Err(Skip::OtherMessage)),
        ("Server listening on 0.0.0.0 port 22.", Err(Skip::OtherMessage)),
        ("Received disconnect from 1.2.3.4: 11: Bye Bye [preauth]", Err(Skip::OtherMessage)),
    ];
    let accepted = options(LogFormat::Sshd, &[]);
    for (message, user) in cases {
        let expected = user.map(|user| format!("{user} 1.2.3.4 1711544816"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&accepted, &[(&syslog(message), expected)]);
    }
    let ipv6 = syslog("Accepted password for ann from 2001:db8:1:2::7%eth0 port 22 ssh2");
    assert_parsed(&accepted, &[(&ipv6, Ok("ann 2001:db8:1:2:: 1711544816"))]);
    assert_parsed(&accepted, &[("Mar 27 13:06:56 web-1 CRON[1]: Accepted", Err(Skip::OtherMessage))]);
}

#[test]
fn failed_logins_are_found_in_what_sshd_says() {
    let cases = [
        ("Failed password for ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Failed password for invalid user ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Failed password for invalid user  from 1.2.3.4 port 22 ssh2", Err(Skip::NoEntity)),
        ("Failed publickey for ann from 1.2.3.4 port 22 ssh2: RSA SHA256:aC2U", Ok("ann")),
        ("Failed none for invalid user a b from 1.2.3.4 port 22 ssh2", Ok("a b")),
        ("Invalid user ann from 1.2.3.4", Ok("ann")),
        ("Invalid user ann from 1.2.3.4 port 22", Ok("ann")),
        ("Invalid user  from 1.2.3.4", Err(Skip::NoEntity)),
        ("Illegal user ann from 1.2.3.4", Ok("ann")),
        ("Connection closed by authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Connection closed by invalid user a b 1.2.3.4 port 22 [preauth]", Ok("a b")),
        ("Connection closed by invalid user  1.2.3.4 port 22 [preauth]", Err(Skip::NoEntity)),
        ("Connection reset by authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Disconnected from authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Disconnected from invalid user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        (
            "error: maximum authentication attempts exceeded for invalid user ann from 1.2.3.4 port 2 ssh2 [preauth]",
            Ok("ann"),
        ),
        ("User ann from 1.2.3.4 not allowed because not listed in AllowUsers", Ok("ann")),
        ("Connection closed by 1.2.3.4 port 22 [preauth]", Err(Skip::OtherMessage)),
        ("Accepted password for ann from 1.2.3.4 port 22 ssh2", Err(Skip::NotChosen)),
    ];
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::Sshd, &[]) };
    for (message, user) in cases {
        let expected = user.map(|user| format!("{user} 1.2.3.4 1711544816"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&failed, &[(&syslog(message), expected)]);
    }
    let repeated = syslog("message repeated 5 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]");
    assert_parsed(&failed, &[(&repeated, Ok("root 1.2.3.4 1711544816 5"))]);
    let flood = repeated.replace(" 5 ", " 4000000000 ");
    assert_parsed(&failed, &[(&flood, Err(Skip::OtherMessage))]);
}

/// A client chooses the user name, and must not be able to write another address into the login by it.
#[test]
fn a_user_name_that_looks_like_the_rest_of_a_message_is_a_user_name() {
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::Sshd, &[]) };
    for user in ["x from 9.9.9.9 port 1 ssh2", "x from 9.9.9.9", "x from", "from 9.9.9.9 port 1 from "] {
        for message in [
            format!("Invalid user {user} from 1.2.3.4"),
            format!("Invalid user {user} from 1.2.3.4 port 5"),
            format!("Failed password for invalid user {user} from 1.2.3.4 port 5 ssh2"),
            format!("Connection closed by invalid user {user} 1.2.3.4 port 5 [preauth]"),
        ] {
            let expected = format!("{user} 1.2.3.4 1711544816");
            assert_parsed(&failed, &[(&syslog(&message), Ok(&expected))]);
        }
    }
}

#[test]
fn the_times_of_syslog_and_the_journal_are_read() {
    let message = "Accepted password for ann from 1.2.3.4 port 22 ssh2";
    let user = options(LogFormat::Sshd, &[]);
    let cases = [
        ("2024-05-31T23:59:59Z h sshd[1]: ", Ok(1_717_199_999)),
        ("2024-06-01T01:59:59.123456+02:00 h sshd-session[1]: ", Ok(1_717_199_999)),
        ("2024-06-01T01:59:59+0200 h sshd-auth[1]: ", Ok(1_717_199_999)),
        ("May 31 23:59:59 h sshd: ", Ok(1_717_199_999)),
        ("Jun  1 23:59:59 h /usr/sbin/sshd[1]: ", Ok(1_717_199_999 + 86_400)),
        // Later than the newest by more than a day: a year ago.
        ("Jun  3 00:00:00 h sshd[1]: ", Ok(1_685_750_400)),
        ("Feb 29 00:00:00 h sshd[1]: ", Ok(1_709_164_800)),
        ("Feb 30 00:00:00 h sshd[1]: ", Err(Skip::BadTime)),
        ("2024-05-32T23:59:59Z h sshd[1]: ", Err(Skip::NoMatch)),
        ("yesterday h sshd[1]: ", Err(Skip::NoMatch)),
        ("May 31 23:59:59 h sshd[1] ", Err(Skip::NoMatch)),
    ];
    for (start, seconds) in cases {
        let expected = seconds.map(|seconds| format!("ann 1.2.3.4 {seconds}"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&user, &[(&format!("{start}{message}"), expected)]);
    }
    let of_year = ImportOptions { year: Some(2015), ..user };
    let line = |date: &str| format!("{date} 13:06:56 h sshd[1]: {message}");
    assert_parsed(
        &of_year,
        &[
            (&line("Mar 27"), Ok("ann 1.2.3.4 1427461616")),
            (&line("Dec 27"), Ok("ann 1.2.3.4 1451221616")),
            (&line("Feb 29"), Err(Skip::BadTime)),
            (&format!("2024-05-31T23:59:59Z h sshd[1]: {message}"), Ok("ann 1.2.3.4 1717199999")),
        ],
    );
}

#[test]
fn a_server_is_an_entity_too() {
    let line = syslog("Accepted password for ann from 1.2.3.4 port 22 ssh2");
    for (field, entity) in [("user", "ann"), ("host", "web-1"), ("user@host", "ann@web-1")] {
        let expected = format!("{entity} 1.2.3.4 1711544816");
        assert_parsed(&options(LogFormat::Sshd, &[field]), &[(&line, Ok(&expected))]);
    }
    let nobody = syslog("Invalid user  from 1.2.3.4");
    let failed = |field: &str| ImportOptions {
        outcomes: Some(Outcomes::Failed),
        ..options(LogFormat::Sshd, &[field])
    };
    assert_parsed(&failed("user@host"), &[(&nobody, Err(Skip::NoEntity))]);
    assert_parsed(&failed("host"), &[(&nobody, Ok("web-1 1.2.3.4 1711544816"))]);
}

#[test]
fn every_form_of_a_line_is_read() {
    let message = "Accepted publickey for ann from 1.2.3.4 port 22 ssh2: RSA SHA256:x";
    let json = r#"{"__REALTIME_TIMESTAMP":"1717199999500000","_HOSTNAME":"h","SYSLOG_IDENTIFIER":"sshd","_PID":"7","MESSAGE":"%"}"#;
    let bytes = message.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
    let user = options(LogFormat::Sshd, &[]);
    for (line, seconds) in [
        ("May 31 23:59:59 h auth.info sshd[311]: %", "1717199999"),
        ("May 31 23:59:59 h sshd[311]: [ID 800047 auth.info] %", "1717199999"),
        ("May 31 23:59:59.114523 h sshd-session[1203]: %", "1717199999"),
        ("<86>May 31 23:59:59 h sshd[1203]: %", "1717199999"),
        ("<86>1 2024-05-31T23:59:59.114523+00:00 h sshd 1203 - - %", "1717199999"),
        (r#"<86>1 2024-05-31T23:59:59Z h sshd-session 1203 ID [a@1 b="]\""][c] %"#, "1717199999"),
        ("<86>1 2024-05-31T23:59:59Z h sshd - - - \u{FEFF}%", "1717199999"),
        ("Fri 2024-05-31 23:59:59 UTC h sshd-session[1203]: %", "1717199999"),
        ("Fri 2024-05-31 23:59:59 UTC h ssh.service[1203]: %", "1717199999"),
        ("1717199999.114523 h sshd-session[1203]: %", "1717199999"),
        ("May 31 23:59:59 homehub app_0d1e2f_ssh[578]: %", "1717199999"),
        ("May 31 23:59:59 sshd[578]: %", "1717199999"),
        ("2024-05-31 23:59:59.114523789  %", "1717199999"),
        ("2024-05-31T23:59:59.114523789Z stdout F %", "1717199999"),
        ("2024-05-31T23:59:59.114523789Z %", "1717199999"),
        ("ssh-1  | 2024-05-31T23:59:59Z %", "1717199999"),
        ("@40000000665a64a400000000 %", "1717199999"),
        ("%", "-"),
        (json, "1717199999"),
        (r#"{"log":"%\n","stream":"stderr","time":"2024-05-31T23:59:59.5Z"}"#, "1717199999"),
    ] {
        let expected = format!("ann 1.2.3.4 {seconds}");
        assert_parsed(&user, &[(&line.replace('%', message), Ok(&expected))]);
    }
    let array = json.replace("\"%\"", &format!("[{bytes}]"));
    assert_parsed(&user, &[(&array, Ok("ann 1.2.3.4 1717199999"))]);
    let export = format!(
        "__CURSOR=x\n__REALTIME_TIMESTAMP=1717199999500000\nSYSLOG_IDENTIFIER=sshd\nMESSAGE={message}"
    );
    assert_parsed(&user, &[(&export, Ok("ann 1.2.3.4 1717199999"))]);
    assert_parsed(
        &user,
        &[(&format!("Fri 2024-05-31 23:59:59 CEST h sshd[1]: {message}"), Err(Skip::BadTime))],
    );
    let other = format!("May 31 23:59:59 h gateway[1]: {message}");
    assert_parsed(&user, &[(&other, Err(Skip::OtherProgram))]);
    let gateway = ImportOptions { programs: vec!["gateway".into()], ..user };
    assert_parsed(&gateway, &[(&other, Ok("ann 1.2.3.4 1717199999"))]);
}

#[test]
fn certificates_and_keys_are_entities() {
    let line = syslog(
        "Accepted publickey for deploy from 1.2.3.4 port 5 ssh2: ED25519-CERT SHA256:A ID ann (x)@corp (serial 88) CA ED25519 SHA256:B",
    );
    let key = |field: &str| options(LogFormat::Sshd, &[field]);
    assert_parsed(&key("key_id"), &[(&line, Ok("ann (x)@corp 1.2.3.4 1711544816"))]);
    assert_parsed(&key("fingerprint"), &[(&line, Ok("SHA256:A 1.2.3.4 1711544816"))]);
    let plain = syslog("Accepted publickey for deploy from 1.2.3.4 port 5 ssh2: RSA SHA256:C");
    assert_parsed(&key("key_id"), &[(&plain, Err(Skip::NoEntity))]);
    assert_parsed(&key("fingerprint"), &[(&plain, Ok("SHA256:C 1.2.3.4 1711544816"))]);
}

/// The entities of lines that one input has, of all outcomes.
fn entities_of(lines: &[&str]) -> Vec<String> {
    let mut kept = Kept::default();
    let all = ImportOptions { outcomes: Some(Outcomes::All), ..options(LogFormat::Sshd, &[]) };
    let mut importer = Importer::new(&all, &mut kept).unwrap();
    importer.newest = NEWEST;
    for line in lines {
        importer.feed(format!("{}\n", syslog(line)).as_bytes()).unwrap();
    }
    importer.end_input(true).unwrap();
    kept.0.iter().map(|row| row.rsplitn(3, ',').last().unwrap().to_string()).collect()
}

#[test]
fn an_attempt_is_one_event_however_its_lines_spell_the_name() {
    // A name of two umlauts and a backslash, as three versions write it.
    let lines = [
        r"Invalid user \303\244\\x from 1.2.3.4 port 22",
        r"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4 ",
        r"Failed password for invalid user \303\244\\x from 1.2.3.4 port 22 ssh2",
        r"Connection closed by invalid user \\303\\244\\\\x 1.2.3.4 port 22 [preauth]",
    ];
    for first in [0, 2, 3] {
        assert_eq!(entities_of(&lines[first..]), ["\"ä\\x\""], "from line {first}");
    }
    let long = "a".repeat(130);
    let cut = &long[..100];
    for line in [
        format!("Invalid user {cut} from 1.2.3.4 port 22"),
        format!(
            "Disconnecting invalid user {long} 1.2.3.4 port 22: Too many authentication failures [preauth]"
        ),
    ] {
        assert_eq!(entities_of(&[&line]), [cut]);
    }
    let several = [
        "Failed password for ann from 1.2.3.4 port 22 ssh2",
        "Failed password for ann from 1.2.3.4 port 22 ssh2",
        "Accepted password for ann from 1.2.3.4 port 22 ssh2",
        "Failed password for bob from 1.2.3.4 port 23 ssh2",
        "error: maximum authentication attempts exceeded for bob from 1.2.3.4 port 23 ssh2 [preauth]",
        "Disconnecting authenticating user bob 1.2.3.4 port 23: Too many authentication failures [preauth]",
    ];
    // One process writes all of these lines, and its number does not make two connections one that have ended.
    assert_eq!(entities_of(&several[..3]), ["ann", "ann"]);
    assert_eq!(entities_of(&several[3..]), ["bob"]);
}

#[test]
fn what_ends_a_connection_tells_of_its_user() {
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::Sshd, &[]) };
    for (message, user) in [
        (
            "Disconnecting invalid user ghost 1.2.3.4 port 5: Too many authentication failures [preauth]",
            "ghost",
        ),
        (
            "Disconnecting authenticating user ann 1.2.3.4 port 5: Change of username or service not allowed: (ann,ssh-connection) -> (root 9.9.9.9 port 1: x,ssh-connection) [preauth]",
            "ann",
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=1.2.3.4  user=root",
            "root",
        ),
        ("error: PAM: Authentication failure for illegal user ann from 1.2.3.4", "ann"),
    ] {
        let expected = format!("{user} 1.2.3.4 1711544816");
        assert_parsed(&failed, &[(&syslog(message), Ok(&expected))]);
    }
    let accepted = options(LogFormat::Sshd, &[]);
    let odd = syslog("Accepted password for x from y from 1.2.3.4 port 4 ssh2");
    assert_parsed(&accepted, &[(&odd, Ok("x from y 1.2.3.4 1711544816"))]);
    // The identity of a certificate that was refused is the client's to choose, too.
    let spoofed = syslog(
        "Failed publickey for ann from 1.2.3.4 port 5 ssh2: RSA-CERT SHA256:x ID b from 9.9.9.9 port 1 ssh2: RSA SHA256:y (serial 5) CA RSA SHA256:z",
    );
    assert_parsed(&failed, &[(&spoofed, Ok("ann 1.2.3.4 1711544816"))]);
}
