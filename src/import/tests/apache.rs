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

fn with_ip(ip: Option<&str>, trusted: &[&str]) -> ImportOptions {
    let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
    ImportOptions { ip: ip.map(str::to_string), trusted_proxies, ..options(LogFormat::Apache, &[]) }
}

#[test]
fn the_client_is_the_one_that_was_forwarded_and_never_a_proxy() {
    let line = |client: &str, more: &str| {
        format!(r#"{client} ann [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "agent"{more}"#)
    };
    let ann = |ip: &str| format!("ann {ip} 1431857103");
    for (client, ip) in [
        ("192.0.2.10, 198.51.100.200 -", "192.0.2.10"),
        ("192.0.2.10,198.51.100.200 -", "192.0.2.10"),
        ("192.0.2.44, 198.51.100.200, 127.0.0.1 -", "192.0.2.44"),
        ("2001:db8::10, 198.51.100.200 -", "2001:db8::"),
        ("198.51.100.200 (192.0.2.10) -", "192.0.2.10"),
        ("198.51.100.200 (192.0.2.10, 192.0.2.11) -", "192.0.2.10"),
        ("198.51.100.200 (-) -", "198.51.100.200"),
        ("www.example.org:443 192.0.2.10, 198.51.100.200 -", "192.0.2.10"),
        ("192.0.2.10:60162 -", "192.0.2.10"),
        ("[2001:db8::9]:7974 -", "2001:db8::"),
        ("192.0.2.10:60162, 198.51.100.200:443 -", "192.0.2.10"),
    ] {
        assert_parsed(&with_ip(None, &[]), &[(&line(client, ""), Ok(&ann(ip)))]);
    }
    // What is no host is no virtual host, and what is no address is not passed over in silence.
    for client in ["unknown, 198.51.100.200 -", "x,y 198.51.100.200 -"] {
        assert_parsed(&with_ip(None, &[]), &[(&line(client, ""), Err(Skip::NotAddress))]);
    }
    let chain = line("192.0.2.10, 192.0.2.20, 198.51.100.200 -", r#" "203.0.113.1, 203.0.113.2""#);
    for (ip, expected) in [
        ("first", "192.0.2.10"),
        ("2", "192.0.2.20"),
        ("last", "198.51.100.200"),
        ("forwarded", "203.0.113.1"),
        ("forwarded.last", "203.0.113.2"),
        ("forwarded.2", "203.0.113.2"),
    ] {
        assert_parsed(&with_ip(Some(ip), &[]), &[(&chain, Ok(&ann(expected)))]);
    }
    assert_parsed(&with_ip(Some("4"), &[]), &[(&chain, Err(Skip::NoAddress))]);
    let stock = line("198.51.100.200 -", "");
    assert_parsed(&with_ip(Some("forwarded"), &[]), &[(&stock, Err(Skip::NoAddress))]);
}

#[test]
fn of_a_chain_the_last_address_counts_that_no_trusted_proxy_added() {
    let line = |client: &str, forwarded: &str| {
        format!(
            r#"{client} - ann [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "agent" "{forwarded}""#
        )
    };
    let trusted = ["198.51.100.0/24", "10.0.0.0/8"];
    for (client, forwarded, ip) in [
        // A client can write what it likes before what the first proxy adds.
        ("198.51.100.200", "6.6.6.6, 192.0.2.10", "192.0.2.10"),
        ("198.51.100.200", "6.6.6.6, 192.0.2.10, 10.1.2.3", "192.0.2.10"),
        ("203.0.113.9", "6.6.6.6", "203.0.113.9"),
        ("198.51.100.200", "-", "198.51.100.200"),
        ("6.6.6.6, 192.0.2.10, 10.1.2.3", "-", "192.0.2.10"),
        ("10.1.2.4, 10.1.2.3", "-", "10.1.2.4"),
    ] {
        let expected = format!("ann {ip} 1431857103");
        assert_parsed(&with_ip(None, &trusted), &[(&line(client, forwarded), Ok(&expected))]);
    }
    let unknown = line("198.51.100.200", "192.0.2.10, unknown");
    assert_parsed(&with_ip(None, &trusted), &[(&unknown, Err(Skip::NotAddress))]);
}

#[test]
fn records_are_chosen_by_conditions() {
    let line = r#"www.example.org:443 192.0.2.1 - ann [17/May/2015:10:05:03 +0000] "POST /login?x=1 HTTP/1.1" 302 5 "r" "a""#;
    let with = |conditions: &[&str]| ImportOptions {
        filters: conditions.iter().map(|condition| condition.parse().unwrap()).collect(),
        ..options(LogFormat::Apache, &[])
    };
    let ann = Ok("ann 192.0.2.1 1431857103");
    for (conditions, expected) in [
        (&["path=/login"][..], ann),
        (&["path=/log*", "method=POST", "status=302", "host=*.example.org", "user=ann", "referer=r"], ann),
        (&["path=/login", "method=GET"], Err(Skip::Filtered)),
        (&["status!=3??"], Err(Skip::Filtered)),
    ] {
        assert_parsed(&with(conditions), &[(line, expected)]);
    }
}
