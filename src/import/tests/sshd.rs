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
