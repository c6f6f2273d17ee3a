//! What a request is for, as far as rules and the log need to know.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    DeleteObjects,
    ListObjects,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    /// Anything else, which is about buckets.
    Bucket,
}

/// An operation and what it is on. The key of a list is its prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) operation: Operation,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Target {
    /// Reads a request's path (`/bucket/key`), query and headers.
    pub(crate) fn of(parts: &Parts) -> Target {
        let path = decoded(parts.uri.path().trim_start_matches('/'), false);
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let operation = operation(&parts.method, key, &query, &parts.headers);
        let key = match operation {
            Operation::ListObjects => query.get("prefix").unwrap_or_default().to_owned(),
            _ => key.to_owned(),
        };
        Target { operation, bucket: bucket.to_owned(), key }
    }
}

fn operation(method: &Method, key: &str, query: &Query, headers: &HeaderMap) -> Operation {
    let is_upload = query.get("uploadId").is_some();
    match (method.as_str(), key.is_empty()) {
        ("GET", true) if query.get("list-type").is_some() => Operation::ListObjects,
        ("POST", true) if query.get("delete").is_some() => Operation::DeleteObjects,
        (_, true) => Operation::Bucket,
        ("GET", _) => Operation::GetObject,
        ("HEAD", _) => Operation::HeadObject,
        ("PUT", _) if is_upload => Operation::UploadPart,
        ("PUT", _) if headers.contains_key("x-amz-copy-source") => Operation::CopyObject,
        ("PUT", _) => Operation::PutObject,
        ("DELETE", _) if is_upload => Operation::AbortUpload,
        ("DELETE", _) => Operation::DeleteObject,
        ("POST", _) if is_upload => Operation::CompleteUpload,
        _ => Operation::CreateUpload,
    }
}

struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Query {
        let pairs = text.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true), decoded(value, true))
        });
        Query(pairs.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-encoding; in a query `+` is a blank. What is no encoding stays as it is.
fn decoded(text: &str, is_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], encoded) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if is_query => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &str, uri: &str) -> (Operation, String, String) {
        let request = hyper::Request::builder().method(method).uri(uri).body(()).unwrap();
        let Target { operation, bucket, key } = Target::of(&request.into_parts().0);
        (operation, bucket, key)
    }

    #[test]
    fn requests_are_told_apart() {
        let b = "b".to_owned();
        let is = |method, uri, operation, key: &str| {
            assert_eq!(target(method, uri), (operation, b.clone(), key.to_owned()), "{uri}");
        };
        is("GET", "/b/a%20b/c+d", Operation::GetObject, "a b/c+d");
        is("GET", "/b?list-type=2&prefix=x%2Fy+z", Operation::ListObjects, "x/y z");
        is("GET", "/b/?list-type=2", Operation::ListObjects, "");
        is("PUT", "/b", Operation::Bucket, "");
        is("PUT", "/b/k", Operation::PutObject, "k");
        is("PUT", "/b/k?partNumber=1&uploadId=u", Operation::UploadPart, "k");
        is("POST", "/b/k?uploads", Operation::CreateUpload, "k");
        is("POST", "/b/k?uploadId=u", Operation::CompleteUpload, "k");
        is("DELETE", "/b/k?uploadId=u", Operation::AbortUpload, "k");
        is("POST", "/b?delete", Operation::DeleteObjects, "");
    }
}
