//! A server that is allowed must not be able to send the client on to one that is not.

use std::io::{Read, Write};
use std::net::TcpListener;

use base::Secret;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use remote::{Access, EgressPolicy, S3Options, SourceUrl, open_source};

/// Answers every request with a redirect to `target`.
fn redirect(listener: TcpListener, target: u16) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{target}/secret\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let secret = TcpListener::bind("127.0.0.1:0").unwrap();
    secret.set_nonblocking(true).unwrap();
    let allowed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = allowed.local_addr().unwrap().port();
    redirect(allowed, secret.local_addr().unwrap().port());
    let s3 = S3Options {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        access_key_id: Some("test".into()),
        secret_access_key: Some(Secret::new("test")),
        allow_http: true,
        from_environment: false,
        retries_max: 1,
        ..S3Options::default()
    };
    let egress = EgressPolicy::deny_all().allow_endpoint("bucket", &s3).unwrap();
    let access = Access { s3, egress, load: None };
    let source = open_source(&SourceUrl::parse("s3://bucket/key").unwrap(), &access).unwrap();
    assert!(source.store.get(&Path::from("key")).await.is_err());
    let visited = secret.accept();
    assert!(visited.is_err(), "the redirect was followed: {visited:?}");
}
