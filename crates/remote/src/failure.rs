//! The one place where a store's error becomes ours.

use base::{Error, SqlState};
use object_store::client::{HttpError, HttpErrorKind};

/// How deep a chain of causes is looked into.
const CAUSES_MAX: usize = 16;

/// The error of a store while doing `what`, for example `read s3://bucket/key`.
///
/// 58P01 not found, 42501 not permitted, 53100 disk full, 08006 not reachable, 58030 otherwise.
#[track_caller]
pub fn store_error(what: impl std::fmt::Display, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    if let Some(ours) = find::<Error>(&error) {
        return ours.clone();
    }
    let (state, hint) = match &error {
        Store::NotFound { .. } => (SqlState::UndefinedFile, None),
        Store::AlreadyExists { .. } => (SqlState::DuplicateObject, None),
        Store::PermissionDenied { .. } => {
            (SqlState::InsufficientPrivilege, Some("The credentials do not permit it."))
        }
        Store::Unauthenticated { .. } => {
            (SqlState::InsufficientPrivilege, Some("Check the access key and its secret."))
        }
        Store::NotSupported { .. } | Store::NotImplemented { .. } => {
            (SqlState::FeatureNotSupported, None)
        }
        Store::InvalidPath { .. } => (SqlState::InvalidParameterValue, None),
        other => (beneath(other), None),
    };
    let reason = match state {
        SqlState::UndefinedFile => "it does not exist".to_owned(),
        SqlState::InsufficientPrivilege => "access is denied".to_owned(),
        SqlState::DiskFull => "the disk is full".to_owned(),
        SqlState::ConnectionFailure => "the store cannot be reached".to_owned(),
        _ => "the store refused or failed".to_owned(),
    };
    Error::new(state, format!("could not {what}: {reason}"))
        .detail(chain(&error))
        .maybe_hint(hint.map(str::to_owned))
        .with_source(error)
}

/// The condition that the causes of a generic error give.
fn beneath(error: &object_store::Error) -> SqlState {
    if let Some(http) = find::<HttpError>(error) {
        return match http.kind() {
            HttpErrorKind::Connect | HttpErrorKind::Timeout => SqlState::ConnectionFailure,
            _ => SqlState::IoError,
        };
    }
    // The library keeps the status of a refused list request only in its text.
    let text = chain(error);
    if text.contains("status code: 404") {
        return SqlState::UndefinedFile;
    }
    if text.contains("status code: 403") || text.contains("status code: 401") {
        return SqlState::InsufficientPrivilege;
    }
    match find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
            SqlState::DiskFull
        }
        Some(std::io::ErrorKind::PermissionDenied) => SqlState::InsufficientPrivilege,
        _ => SqlState::IoError,
    }
}

fn find<T: std::error::Error + 'static>(error: &object_store::Error) -> Option<&T> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    for _ in 0..CAUSES_MAX {
        let error = cause?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The messages of an error and its causes, each once.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text.push('.');
    text
}
