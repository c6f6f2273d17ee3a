//! Tests of `files`.

use sql::Statement;

use super::*;

fn server() -> Sources {
    let s3 = S3Options {
        access_key_id: Some("server".to_owned()),
        secret_access_key: Some(Secret::new("server's")),
        from_environment: false,
        ..S3Options::default()
    };
    Sources { s3, ..Sources::default() }
}

fn with(tail: &str) -> Result<Sources> {
    let text = format!("COPY t FROM {tail}");
    let Statement::Copy(copy) = sql::parse(&text).unwrap() else { panic!("{text}") };
    access(&copy, &server())
}

fn code(tail: &str) -> &'static str {
    with(tail).unwrap_err().sqlstate().code()
}

#[test]
fn keys_of_the_statement_replace_the_servers() {
    for keys in [
        "ACCESS_KEY_ID 'mine' SECRET_ACCESS_KEY 'my own' SESSION_TOKEN 'tok'",
        "CREDENTIALS 'aws_access_key_id=mine;aws_secret_access_key=my own;token=tok'",
    ] {
        let s3 = with(&format!("'s3://b/k' {keys} REGION 'eu-west-1'")).unwrap().s3;
        assert_eq!(s3.access_key_id.as_deref(), Some("mine"));
        assert_eq!(s3.secret_access_key.unwrap().reveal(), "my own");
        assert_eq!(s3.session_token.unwrap().reveal(), "tok");
        assert_eq!(s3.region.as_deref(), Some("eu-west-1"));
        assert!(!s3.from_environment);
    }
}

#[test]
fn the_servers_keys_are_lent_only_by_name() {
    for role in ["IAM_ROLE default", "CREDENTIALS 'aws_iam_role=default'"] {
        let s3 = with(&format!("'s3://b/k' {role}")).unwrap().s3;
        assert_eq!(s3.access_key_id.as_deref(), Some("server"));
    }
    assert_eq!(code("'s3://b/k'"), "28000");
    assert_eq!(code("'s3://b/k' IAM_ROLE default ENDPOINT 'http://evil'"), "28000");
    let s3 = with("'/data/manifest' MANIFEST").unwrap().s3;
    assert_eq!((s3.access_key_id, s3.from_environment), (None, false));
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(code("'s3://b/k' ACCESS_KEY_ID 'a'"), "28000");
    assert_eq!(code("'s3://b/k' IAM_ROLE 'arn:aws:iam::1:role/r'"), "0A000");
    assert_eq!(code("'s3://b/k' IAM_ROLE 'SESSION'"), "0A000");
    assert_eq!(code("'s3://b/k' CREDENTIALS 'aws_acess_key_id=a'"), "22023");
    assert_eq!(code("'/data/f' IAM_ROLE default"), "42601");
    assert_eq!(code("'/data/f' REGION 'eu-west-1'"), "42601");
}

#[test]
fn access_survives_the_way_within_the_nodes_own_limits() {
    let mut mine = server();
    mine.s3.endpoint = Some("http://s3.test:9000".to_owned());
    mine.s3.allow_http = true;
    let json = serde_json::to_string(&WireAccess::of(&mine.s3)).unwrap();
    let wire: WireAccess = serde_json::from_str(&json).unwrap();
    let node = Sources { egress: remote::EgressPolicy::deny_all(), ..Sources::default() };
    let back = wire.within(&node);
    assert_eq!(back.s3.endpoint, mine.s3.endpoint);
    assert_eq!(back.s3.secret_access_key.unwrap().reveal(), "server's");
    assert_eq!(back.egress, node.egress);
}
