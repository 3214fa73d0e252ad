//! Logs of services whose fields are known, and formats that are told from the content.

use super::*;

const OKTA: &str = r#"{"actor":{"alternateId":"ann@corp"},"client":{"ipAddress":"192.0.2.1"},"eventType":"user.session.start","outcome":{"result":"SUCCESS"},"published":"2024-05-31T23:59:59.123Z"}"#;
const ENTRA: &str = r#"{"userPrincipalName":"ann@corp","ipAddress":"192.0.2.1","createdDateTime":"2024-05-31T23:59:59Z","status":{"errorCode":0}}"#;
const GOOGLE: &str = r#"{"kind":"admin#reports#activity","id":{"time":"2024-05-31T23:59:59.000Z","applicationName":"login"},"actor":{"email":"ann@corp"},"ipAddress":"192.0.2.1","events":[{"type":"login","name":"login_success"}]}"#;
const CLOUDFLARE: &str = r#"{"user_email":"ann@corp","ip_address":"192.0.2.1","action":"login","allowed":true,"created_at":"2024-05-31T23:59:59Z"}"#;
const CADDY: &str = r#"{"level":"info","ts":1717199999.52,"logger":"http.log.access","request":{"remote_ip":"192.0.2.1","method":"GET","uri":"/"},"user_id":"ann@corp","status":200}"#;
const TRAEFIK: &str = r#"{"ClientAddr":"192.0.2.1:4","ClientHost":"192.0.2.1","ClientUsername":"ann@corp","DownstreamStatus":200,"StartUTC":"2024-05-31T23:59:59.1Z"}"#;
const ZEEK: &str =
    r##"{"ts":1717199999.5,"id.orig_h":"192.0.2.1","id.resp_h":"198.51.100.1","user":"ann@corp"}"##;

#[test]
fn known_sources_have_their_entity_address_time_and_outcome() {
    let ann = Ok("ann@corp 192.0.2.1 1717199999");
    let refused = Err(Skip::NotChosen);
    let cases: [(LogFormat, &str, &str, &str, &str); 7] = [
        (LogFormat::Okta, OKTA, "SUCCESS", "FAILURE", "CHALLENGE"),
        (LogFormat::Entra, ENTRA, "\"errorCode\":0", "\"errorCode\":50126", ""),
        (LogFormat::Google, GOOGLE, "login_success", "login_failure", "logout"),
        (LogFormat::Cloudflare, CLOUDFLARE, "true", "false", ""),
        (LogFormat::Caddy, CADDY, "\"status\":200", "\"status\":401", ""),
        (LogFormat::Traefik, TRAEFIK, "DownstreamStatus\":200", "DownstreamStatus\":401", ""),
        (LogFormat::Zeek, ZEEK, "\"user\"", "\"success\":false,\"user\"", ""),
    ];
    for (format, record, success, failure, neither) in cases {
        let accepted = options(format, &[]);
        assert_parsed(&accepted, &[(record, ann), (&record.replace(success, failure), refused)]);
        let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(format, &[]) };
        assert_parsed(&failed, &[(&record.replace(success, failure), ann), (record, refused)]);
        if !neither.is_empty() {
            assert_parsed(&accepted, &[(&record.replace(success, neither), Err(Skip::OtherMessage))]);
        }
        assert_parsed(&accepted, &[("{\"a\":1}", Err(Skip::NoMatch))]);
    }
    let monitor = r#"{"time":"2024-05-31T23:59:59Z","category":"SignInLogs","resultType":"0","properties":{"userPrincipalName":"ann@corp","ipAddress":"192.0.2.1"}}"#;
    assert_parsed(&options(LogFormat::Entra, &[]), &[(monitor, ann)]);
    let ssh = r#"{"ts":1717199999.5,"id.orig_h":"192.0.2.1","id.resp_h":"198.51.100.1","auth_success":true,"client":"SSH-2.0-x"}"#;
    assert_parsed(&options(LogFormat::Zeek, &[]), &[(ssh, Ok("198.51.100.1 192.0.2.1 1717199999"))]);
}

/// The rows of an input of a format that is told from it, and what is said of it.
fn rows_of(text: &str) -> (Vec<String>, Vec<String>) {
    let mut kept = Kept::default();
    let mut importer = Importer::new(&options(LogFormat::Auto, &[]), &mut kept).unwrap();
    importer.newest = NEWEST;
    for piece in text.as_bytes().chunks(50) {
        importer.feed(piece).unwrap();
    }
    importer.end_input(true).unwrap();
    let notes = importer.take_notes();
    (kept.0, notes)
}

#[test]
fn the_format_is_told_from_the_content() {
    let sshd = syslog("Accepted password for ann@corp from 192.0.2.1 port 22 ssh2");
    let access = format!("192.0.2.1 - ann@corp {TIME} \"GET / HTTP/1.1\" 200 5");
    let trail = r#"{"Records":[{"eventName":"x","eventTime":"2024-05-31T23:59:59Z","userIdentity":{"userName":"ann@corp"},"sourceIPAddress":"192.0.2.1"}]}"#;
    let zeek = "#separator \\x09\n#fields\tts\tid.orig_h\tid.resp_h\tuser\n#types\ttime\taddr\taddr\tstring\n\
                1717199999.5\t192.0.2.1\t198.51.100.1\tann@corp\n1717199999.5\t192.0.2.1\t198.51.100.1\t-\n";
    let iis = "#Software: Microsoft Internet Information Services\n#Fields: date time cs-username c-ip sc-status\n\
               2024-05-31 23:59:59 ann@corp 192.0.2.1 200\n";
    let cloudfront = "#Version: 1.0\n#Fields: date time x-edge-location c-ip cs(Host) sc-status\n\
                      2024-05-31\t23:59:59\tFRA\t192.0.2.1\tann@corp\t200\n";
    let alb = "https 2024-05-31T23:59:59.123Z app/x/1 192.0.2.1:4 10.0.0.1:80 0 0 0 200 200 1 1 \"GET https://x:443/ HTTP/2\" \
               \"agent x\" C T arn \"Root=1\" \"ann@corp\" \"arn\" 0 2024-05-31T23:59:59.123Z \"forward\"\n";
    for (text, format) in [
        (sshd.as_str(), "sshd"),
        (&access, "apache"),
        (trail, "cloudtrail"),
        (OKTA, "okta"),
        (&format!("{{\"@odata.context\":\"x\",\"value\":[{ENTRA}]}}"), "entra"),
        (&format!("{{\"kind\":\"k\",\"items\":[{GOOGLE}]}}"), "google"),
        (CLOUDFLARE, "cloudflare"),
        (CADDY, "caddy"),
        (TRAEFIK, "traefik"),
        (ZEEK, "zeek"),
        (zeek, "zeek"),
        (iis, "w3c"),
        (cloudfront, "w3c"),
        (alb, "alb"),
        (r#"{"entity":"ann@corp","ip":"192.0.2.1"}"#, "json"),
    ] {
        let (rows, notes) = rows_of(text);
        assert_eq!(notes, [format!("the log is taken for {format}")], "{text}");
        let row = rows.first().map(|row| row.rsplitn(3, ',').skip(1).collect::<Vec<_>>());
        assert!(rows[0].starts_with("ann@corp,192.0.2.1,"), "{row:?} of {text}");
    }
    let (rows, notes) = rows_of("hello\nworld\n");
    assert!(rows.is_empty() && notes.is_empty());
}
