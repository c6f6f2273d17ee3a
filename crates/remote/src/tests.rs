//! Tests of what leaves or enters the machine: the egress policy, the load directory, listing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use base::Secret;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::{
    Access, EgressPolicy, LoadDirectory, S3Options, SourceUrl, list, list_manifest, open_source,
    s3_bucket, store_error,
};

fn keys() -> S3Options {
    S3Options {
        access_key_id: Some("key".into()),
        secret_access_key: Some(Secret::new("secret")),
        from_environment: false,
        allow_http: true,
        ..S3Options::default()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_may_be_reached_by_default() {
    let none = EgressPolicy::deny_all();
    for host in ["example.com", "127.0.0.1", "10.0.0.1", "169.254.169.254", "localhost", "[::1]"] {
        let error = none.check(host, 443).unwrap_err();
        assert_eq!(error.sqlstate().code(), "42501", "{host}");
    }
    let error = s3_bucket("b", &keys(), &none).unwrap_err();
    assert!(error.message().contains("b.s3.us-east-1.amazonaws.com:443"), "{error:?}");
}

#[test]
fn hosts_are_allowed_by_name_port_and_domain() {
    let policy = EgressPolicy::parse("s3.example.com:9000, *.amazonaws.com, 10.1.2.3").unwrap();
    for (host, port, fine) in [
        ("s3.example.com", 9000, true),
        ("S3.EXAMPLE.COM.", 9000, true),
        ("s3.example.com", 443, false),
        ("evil-s3.example.com", 9000, false),
        ("b.s3.amazonaws.com", 443, true),
        ("amazonaws.com", 443, false),
        ("amazonaws.com.evil.org", 443, false),
        ("evilamazonaws.com", 443, false),
        ("10.1.2.3", 80, true),
        ("10.1.2.4", 80, false),
        ("::ffff:10.1.2.3", 80, true),
    ] {
        assert_eq!(policy.check(host, port).is_ok(), fine, "{host}:{port}");
    }
    for bad in ["a b", "http://x", "x:y", "*."] {
        assert!(EgressPolicy::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn metadata_addresses_are_refused_under_every_name() {
    let policy = EgressPolicy::parse("*.example.com, exact.org, public, private").unwrap();
    for address in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "100.100.100.200",
        "224.0.0.1",
    ] {
        for host in ["a.example.com", "exact.org", address] {
            assert!(policy.check_address(host, 443, ip(address)).is_err(), "{host} {address}");
        }
    }
    let listed = EgressPolicy::parse("169.254.169.254:80").unwrap();
    assert!(listed.check("169.254.169.254", 80).is_ok());
    assert!(listed.check("169.254.169.254", 443).is_err());
}

#[test]
fn private_addresses_need_an_exact_name_or_the_word() {
    let policy = EgressPolicy::parse("*.example.com, exact.org").unwrap();
    for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1"] {
        assert!(policy.check_address("a.example.com", 443, ip(address)).is_err(), "{address}");
        assert!(policy.check_address("exact.org", 443, ip(address)).is_ok(), "{address}");
        let private = policy.clone().allow_private();
        assert!(private.check_address("a.example.com", 443, ip(address)).is_ok(), "{address}");
        assert!(private.check_address("other.org", 443, ip(address)).is_err(), "{address}");
    }
    let public = EgressPolicy::deny_all().allow_public();
    assert!(public.check("example.com", 443).is_ok());
    assert!(public.check("localhost", 443).is_err());
    assert!(public.check_address("rebinding.org", 443, ip("127.0.0.1")).is_err());
}

#[tokio::test]
async fn a_name_is_judged_by_where_it_leads() {
    let wide = EgressPolicy::parse("*.localhost, localhost.:1").unwrap();
    assert!(wide.check_resolved("localhost", 1).await.is_ok());
    assert!(wide.check_resolved("localhost", 2).await.is_err());
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named_soon() {
    // A port that was free a moment ago, so that nobody answers.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = S3Options { endpoint: Some(endpoint), ..keys() };
    let egress = EgressPolicy::deny_all().allow_endpoint("bucket", &options).unwrap();
    let store = s3_bucket("bucket", &options, &egress).unwrap();
    let began = Instant::now();
    let error = store.get(&Path::from("key")).await.unwrap_err();
    let error = store_error("read s3://bucket/key", error);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(error.sqlstate().code(), "08006", "{error:?}");
    let detail = error.get_detail().unwrap();
    assert!(error.message().contains("bucket"), "{error:?}");
    assert!(detail.contains(&format!("127.0.0.1:{port}")), "{detail}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn credentials_are_never_mixed_or_lent() {
    let error = s3_bucket(
        "b",
        &S3Options { from_environment: false, ..S3Options::default() },
        &EgressPolicy::parse("*.amazonaws.com").unwrap(),
    )
    .unwrap_err();
    assert_eq!(error.sqlstate().code(), "28000");
    let plain = S3Options { endpoint: Some("http://h.org".into()), allow_http: false, ..keys() };
    let error = s3_bucket("b", &plain, &EgressPolicy::parse("h.org").unwrap()).unwrap_err();
    assert_eq!(error.sqlstate().code(), "22023");
    for endpoint in ["h.org", "ftp://h.org", "http://user:pw@h.org", "http://"] {
        let options = S3Options { endpoint: Some(endpoint.into()), ..keys() };
        assert!(options.host("b").is_err(), "{endpoint}");
    }
    let region = S3Options { region: Some("evil.org/".into()), ..keys() };
    assert!(s3_bucket("b", &region, &EgressPolicy::deny_all().allow_public()).is_err());
}

struct Files {
    _temporary: tempfile::TempDir,
    outside: std::path::PathBuf,
    access: Access,
    root: std::path::PathBuf,
}

fn files() -> Files {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("load");
    let outside = temporary.path().join("secret.csv");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::create_dir_all(temporary.path().join("load2")).unwrap();
    std::fs::write(&outside, "secret").unwrap();
    for name in ["a1.csv", "a2.csv", "b.csv", "sub/c.csv"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let load = Some(LoadDirectory::open(&root).unwrap());
    Files { _temporary: temporary, outside, access: Access { load, ..Access::default() }, root }
}

fn local(path: &std::path::Path, name: &str) -> SourceUrl {
    SourceUrl::Local(path.join(name))
}

#[tokio::test]
async fn files_are_listed_by_name_prefix_pattern_and_directory() {
    let files = files();
    for (name, found) in [
        ("a1.csv", vec!["a1.csv"]),
        ("a", vec!["a1.csv", "a2.csv"]),
        ("*.csv", vec!["a1.csv", "a2.csv", "b.csv"]),
        ("?.csv", vec!["b.csv"]),
        ("sub", vec!["c.csv"]),
        ("sub/", vec!["c.csv"]),
    ] {
        let objects = list(&local(&files.root, name), &files.access).await.unwrap();
        let names: Vec<String> = objects
            .iter()
            .map(|object| object.url.to_string().rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, found, "{name}");
        let source = open_source(&objects[0].url, &files.access).unwrap();
        let bytes = source.store.get(&source.path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, objects[0].size);
        assert!(source.store.put(&source.path, "x".into()).await.is_err(), "reading only");
    }
    let error = list(&local(&files.root, "zz"), &files.access).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "58P01");
    let error = list(&local(&files.root, "a1.csv"), &Access::default()).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "42501");
}

#[tokio::test]
async fn no_path_leads_out_of_the_load_directory() {
    let files = files();
    std::os::unix::fs::symlink(&files.outside, files.root.join("link.csv")).unwrap();
    std::os::unix::fs::symlink(files.root.parent().unwrap(), files.root.join("up")).unwrap();
    for path in [
        files.outside.clone(),
        files.root.join("../secret.csv"),
        files.root.join("sub/../../secret.csv"),
        files.root.join("link.csv"),
        files.root.join("up/secret.csv"),
        files.root.join("up"),
        files.root.join(".."),
        files.root.join("../load2/x"),
        files.root.join("../absent"),
        files.root.join("up/absent"),
        files.root.join("absent/../../secret.csv"),
        "/etc/passwd".into(),
        "/absent/file".into(),
        "/".into(),
    ] {
        let url = SourceUrl::Local(path.clone());
        let error = list(&url, &files.access).await.unwrap_err();
        assert_eq!(error.sqlstate().code(), "42501", "list {path:?}: {error:?}");
        let error = open_source(&url, &files.access).unwrap_err();
        assert_eq!(error.sqlstate().code(), "42501", "open {path:?}: {error:?}");
    }
    let error = list(&local(&files.root, "*"), &files.access).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "42501", "a link among the files: {error:?}");
}

#[tokio::test]
async fn manifests_name_what_must_be_there() {
    let files = files();
    let manifest = local(&files.root, "sub/m.manifest");
    let entry = |name: &str, rest: &str| {
        format!("{{\"url\":\"{}\"{rest}}}", files.root.join(name).display())
    };
    let write = |entries: &[String]| {
        let text = format!("{{\"entries\":[{}]}}", entries.join(","));
        std::fs::write(files.root.join("sub/m.manifest"), text).unwrap();
    };
    write(&[entry("b.csv", ""), entry("zz", ""), entry("a1.csv", ",\"mandatory\":true")]);
    let objects = list_manifest(&manifest, &files.access).await.unwrap();
    assert_eq!(objects.len(), 2);
    assert!(objects[0].url.to_string().ends_with("b.csv"), "in the manifest's order");
    for (entries, code) in [
        (vec![entry("zz", ",\"mandatory\":true")], "58P01"),
        (vec![entry("zz", "")], "58P01"),
        (vec![entry("b.csv", ",\"meta\":{\"content_length\":99}")], "22P04"),
        (vec![entry("../secret.csv", "")], "42501"),
        (vec!["7".to_owned()], "22P04"),
    ] {
        write(&entries);
        let error = list_manifest(&manifest, &files.access).await.unwrap_err();
        assert_eq!(error.sqlstate().code(), code, "{error:?}");
    }
}
