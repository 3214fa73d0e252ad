//! CloudTrail.

use super::*;

#[test]
fn cloudtrail_has_identities_services_and_errors() {
    let record = |identity: &str, ip: &str, more: &str| {
        format!(
            r#"{{"eventName":"GetObject","eventTime":"2024-05-31T23:59:59Z","userIdentity":{identity},"sourceIPAddress":"{ip}"{more}}}"#
        )
    };
    let arn = r#"{"arn":"arn:aws:iam::1:user/ann","principalId":"AID","userName":"ann"}"#;
    let ann = Ok("ann 1.2.3.4 1717199999");
    assert_parsed(
        &options(LogFormat::CloudTrail, &[]),
        &[
            (&record(arn, "1.2.3.4", ""), Ok("arn:aws:iam::1:user/ann 1.2.3.4 1717199999")),
            (&record(r#"{"principalId":"AID"}"#, "1.2.3.4", ""), Ok("AID 1.2.3.4 1717199999")),
            (&record(r#"{"userName":"ann"}"#, "1.2.3.4", ""), ann),
            (&record(r#"{"type":"AWSService"}"#, "1.2.3.4", ""), Err(Skip::NoEntity)),
            (&record(arn, "s3.amazonaws.com", ""), Err(Skip::Service)),
            (&record(arn, "AWS Internal", ""), Err(Skip::Service)),
            (&record(arn, "2001:db8::1", ""), Ok("arn:aws:iam::1:user/ann 2001:db8:: 1717199999")),
            (&record(arn, "1.2.3.4", r#","errorCode":"AccessDenied""#), Err(Skip::NotChosen)),
            (
                &record(arn, "1.2.3.4", r#","errorCode":null"#),
                Ok("arn:aws:iam::1:user/ann 1.2.3.4 1717199999"),
            ),
            (r#"{"entity":"ann","ip":"1.2.3.4"}"#, Err(Skip::NoMatch)),
        ],
    );
    assert_parsed(
        &options(LogFormat::CloudTrail, &["userIdentity.userName"]),
        &[(&record(arn, "1.2.3.4", ""), ann)],
    );
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::CloudTrail, &[]) };
    let login = r#","responseElements":{"ConsoleLogin":"Failure"}"#;
    let hidden = r#"{"userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#;
    assert_parsed(
        &failed,
        &[
            (&record(r#"{"userName":"ann"}"#, "1.2.3.4", login), ann),
            (&record(hidden, "1.2.3.4", login), Err(Skip::NoEntity)),
            (&record(arn, "1.2.3.4", ""), Err(Skip::NotChosen)),
        ],
    );
}
