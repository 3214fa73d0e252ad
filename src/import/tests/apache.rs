//! Access logs.

use super::*;

#[test]
fn requests_of_users_are_found_in_all_forms_of_access_logs() {
    let user = options(LogFormat::Apache, &[]);
    let line = |client: &str, rest: &str| format!("{client} {TIME} \"GET /a HTTP/1.1\" {rest}");
    let good = [
        line("1.2.3.4 - ann", "200 12"),
        line("1.2.3.4 - ann", "200 -"),
        line("1.2.3.4 ident ann", r#"200 12 "http://x/\"y" "agent \\""#),
        line("example.org:443 1.2.3.4 - ann", r#"200 12 "-" "agent""#),
        line("::ffff:1.2.3.4 - ann", "404 12"),
        line("1.2.3.4 - ann", r#"200 12 "-" "agent" "10.0.0.1" extra"#),
        r#"1.2.3.4 - ann [17/May/2015:12:05:03 +0200] "\x16\x03" 400 0"#.into(),
        r#"1.2.3.4 - ann [17/May/2015:05:35:03 -0430] "-" 408 -"#.into(),
    ];
    for line in &good {
        assert_parsed(&user, &[(line, Ok("ann 1.2.3.4 1431857103"))]);
    }
    let spaces = line("1.2.3.4 - a [b] \"c, d", "200 1");
    assert_parsed(
        &user,
        &[
            (&spaces, Ok("a [b] \"c, d 1.2.3.4 1431857103")),
            (&line("1.2.3.4 - -", "200 1"), Err(Skip::NoEntity)),
            (&line("1.2.3.4 - \"\"", "200 1"), Err(Skip::NoEntity)),
            (&line("1.2.3.4 - ann", "401 1"), Err(Skip::NotChosen)),
            (&line("2001:db8::1 - ann", "200 1"), Ok("ann 2001:db8:: 1431857103")),
            (&line("::1 - ann", "200 1"), Err(Skip::UnspecifiedIpv6)),
            (&line("fe80::1 - ann", "200 1"), Err(Skip::LinkLocalIpv6)),
            (&line("host.example - ann", "200 1"), Err(Skip::NotAddress)),
            (&line("1.2.3.4 - ann", "2xx 1"), Err(Skip::NoMatch)),
            (&line("1.2.3.4 - ann", ""), Err(Skip::NoMatch)),
            (&line("1.2.3.4", "200 1"), Err(Skip::NoMatch)),
            (r#"1.2.3.4 - ann [31/Feb/2015:10:05:03 +0000] "GET" 200 1"#, Err(Skip::BadTime)),
            (r#"1.2.3.4 - ann [17/Mai/2015:10:05:03 +0000] "GET" 200 1"#, Err(Skip::BadTime)),
            (r#"1.2.3.4 - ann [17/May/2015:10:05:03 +0000] "GET 200 1"#, Err(Skip::NoMatch)),
            ("hello", Err(Skip::NoMatch)),
            ("", Err(Skip::NoMatch)),
        ],
    );
}

#[test]
fn other_fields_of_an_access_log_are_entities_too() {
    let line = format!(
        r#"example.org:443 1.2.3.4 - - {TIME} "GET /a/b?q=1 HTTP/1.1" 200 5 "http://r/" "Mozilla/5.0 (X; \"y\")""#
    );
    for (field, entity) in
        [("user_agent", r#"Mozilla/5.0 (X; \"y\")"#), ("path", "/a/b"), ("vhost", "example.org")]
    {
        let expected = format!("{entity} 1.2.3.4 1431857103");
        assert_parsed(&options(LogFormat::Apache, &[field]), &[(&line, Ok(&expected))]);
    }
    let common = format!(r#"1.2.3.4 - - {TIME} "\x16\x03" 400 5"#);
    for field in ["user_agent", "path", "vhost"] {
        assert_parsed(&options(LogFormat::Apache, &[field]), &[(&common, Err(Skip::NoEntity))]);
    }
}

#[test]
fn a_refused_name_of_an_access_log_is_a_failed_login() {
    let refused = format!(r#"1.2.3.4 - ann {TIME} "GET / HTTP/1.1" 401 5"#);
    let let_in = format!(r#"1.2.3.4 - ann {TIME} "GET / HTTP/1.1" 403 5"#);
    let with = |outcomes| ImportOptions { outcomes: Some(outcomes), ..options(LogFormat::Apache, &[]) };
    let login = Ok("ann 1.2.3.4 1431857103");
    let left_out = Err(Skip::NotChosen);
    assert_parsed(&with(Outcomes::Failed), &[(&refused, login), (&let_in, left_out)]);
    assert_parsed(&with(Outcomes::Accepted), &[(&refused, left_out), (&let_in, login)]);
    assert_parsed(&with(Outcomes::All), &[(&refused, login), (&let_in, login)]);
}
