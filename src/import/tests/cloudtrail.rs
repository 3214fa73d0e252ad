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

#[test]
fn outcomes_and_identities_stand_in_several_places() {
    let record = |identity: &str, more: &str| {
        format!(
            r#"{{"eventName":"x","eventTime":"2024-05-31T23:59:59Z","userIdentity":{identity},"sourceIPAddress":"1.2.3.4"{more}}}"#
        )
    };
    let center = r#"{"type":"IdentityCenterUser","accountId":"1","onBehalfOf":{"userId":"u-1"}}"#;
    let before = r#"{"type":"Unknown","principalId":"1","arn":"","accountId":"1","userName":"ann@corp"}"#;
    let role = r#"{"type":"AssumedRole","principalId":"AROA:ann","arn":"arn:aws:sts::1:assumed-role/R/ann","accountId":"1"}"#;
    let saml = r#"{"type":"SAMLUser","principalId":"ns:ann","userName":"ann"}"#;
    let account = r#"{"type":"AWSAccount","principalId":"1","accountId":"1"}"#;
    let all = ImportOptions { outcomes: Some(Outcomes::All), ..options(LogFormat::CloudTrail, &[]) };
    for (identity, entity) in
        [(center, "u-1"), (before, "ann@corp"), (role, "arn:aws:sts::1:assumed-role/R/ann"), (saml, "ns:ann")]
    {
        let expected = format!("{entity} 1.2.3.4 1717199999");
        assert_parsed(&all, &[(&record(identity, ""), Ok(&expected))]);
    }
    assert_parsed(&all, &[(&record(account, ""), Err(Skip::NoEntity))]);
    let accepted = options(LogFormat::CloudTrail, &[]);
    for (more, is_accepted) in [
        (r#","serviceEventDetails":{"CredentialVerification":"Failure"}"#, false),
        (r#","serviceEventDetails":{"UserAuthentication":"Success"}"#, true),
        (r#","responseElements":{"ConsoleLogin":"Failure"}"#, false),
        (r#","responseElements":{"SwitchRole":"Failure"}"#, false),
        (r#","responseElements":{"ConsoleLogin":"Success"}"#, true),
        (r#","responseElements":null"#, true),
        (r#","errorMessage":"Failed authentication""#, false),
        (r#","errorCode":"AccessDenied""#, false),
        (r#","errorCode":null,"errorMessage":"""#, true),
    ] {
        let expected = if is_accepted { Ok("u-1 1.2.3.4 1717199999") } else { Err(Skip::NotChosen) };
        assert_parsed(&accepted, &[(&record(center, more), expected)]);
    }
    let inner = record(center, "");
    let text = serde_json::to_string(&inner).unwrap();
    for envelope in
        [format!(r#"{{"EventId":"e","CloudTrailEvent":{text}}}"#), format!(r#"{{"detail":{inner}}}"#)]
    {
        assert_parsed(&accepted, &[(&envelope, Ok("u-1 1.2.3.4 1717199999"))]);
    }
}
