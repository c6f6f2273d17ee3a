//! The S3 store against a running S3-compatible service, named by `BLUESHIFT_TEST_S3_ENDPOINT`
//! (and `BLUESHIFT_TEST_S3_BUCKET`, a bucket that exists). Without one the test has nothing to
//! talk to, and says so by being ignored.

use base::Secret;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode, PutOptions};
use remote::{
    Access, EgressPolicy, S3Options, SourceUrl, StoreOptions, StoreUrl, list, list_manifest,
    open_source, open_store,
};

#[tokio::test]
#[ignore = "needs an S3-compatible service: set BLUESHIFT_TEST_S3_ENDPOINT"]
async fn a_bucket_is_a_store_and_a_source() {
    let endpoint = std::env::var("BLUESHIFT_TEST_S3_ENDPOINT").unwrap();
    let bucket = std::env::var("BLUESHIFT_TEST_S3_BUCKET").unwrap_or("blueshift".to_owned());
    let s3 = S3Options {
        endpoint: Some(endpoint),
        access_key_id: Some("test".into()),
        secret_access_key: Some(Secret::new("test")),
        allow_http: true,
        from_environment: false,
        ..S3Options::default()
    };
    let egress = EgressPolicy::deny_all().allow_endpoint(&bucket, &s3).unwrap();
    let run = format!("run-{:016x}", base::rng::u64());
    let url = StoreUrl::parse(&format!("s3://{bucket}/{run}")).unwrap();
    let options = StoreOptions { s3: s3.clone(), egress: egress.clone() };
    let store = open_store(&url, &options).await.unwrap();
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let key = Path::from("log/1");
    store.put_opts(&key, "one".into(), create()).await.unwrap();
    let second = store.put_opts(&key, "two".into(), create()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "one");
    assert_eq!(store.get_range(&key, 1..3).await.unwrap(), "ne");

    let mut upload = store.put_multipart(&Path::from("load/part-0")).await.unwrap();
    upload.put_part("big".into()).await.unwrap();
    upload.complete().await.unwrap();
    store.put(&Path::from("load/part-1"), "x".into()).await.unwrap();
    store.put(&Path::from("load/other"), "y".into()).await.unwrap();
    let access = Access { s3, egress, load: None };
    let at = |key: &str| SourceUrl::parse(&format!("s3://{bucket}/{run}/{key}")).unwrap();
    let parts = list(&at("load/part-"), &access).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.size).collect::<Vec<_>>(), [3, 1]);
    let source = open_source(&parts[0].url, &access).unwrap();
    assert_eq!(source.store.get(&source.path).await.unwrap().bytes().await.unwrap(), "big");
    let error = list(&at("absent"), &access).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "58P01");
    let manifest = format!(
        "{{\"entries\":[{{\"url\":\"{}\",\"mandatory\":true}},{{\"url\":\"{}\"}}]}}",
        at("load/other"),
        at("load/none")
    );
    store.put(&Path::from("load/m"), manifest.into()).await.unwrap();
    assert_eq!(list_manifest(&at("load/m"), &access).await.unwrap().len(), 1);
    let elsewhere = SourceUrl::parse("s3://no-such-bucket-here/x").unwrap();
    let error = list(&elsewhere, &access).await.unwrap_err();
    assert_eq!(error.sqlstate().code(), "58P01", "{error:?}");
}
