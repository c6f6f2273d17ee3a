//! The files of a load: from the FROM string to a list, and from a list entry to bytes.
//!
//! Connections, credentials' use and the load directory are `remote`'s; here they are put
//! together from what the statement says and what the process allows.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Error, Result, Secret, error};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use remote::{S3Options, SourceObject, SourceUrl};
use serde::{Deserialize, Serialize};
use sql::ast::{CopyAuthorization, CopySourceKind, CopyStatement};

use crate::Sources;
use crate::fetch::StoredFile;

/// A file as it travels in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRef {
    /// Its full location, without credentials.
    pub(crate) url: String,
    pub(crate) size: u64,
}

/// How buckets are reached, as it travels to compute nodes: only there, over mutual TLS.
/// It has no `Debug`, so that no log can show it.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireAccess {
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    from_environment: bool,
    allow_http: bool,
}

impl WireAccess {
    pub(crate) fn of(s3: &S3Options) -> WireAccess {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|s| s.reveal().to_owned());
        WireAccess {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            access_key_id: s3.access_key_id.clone(),
            secret_access_key: secret(&s3.secret_access_key),
            session_token: secret(&s3.session_token),
            from_environment: s3.from_environment,
            allow_http: s3.allow_http,
        }
    }

    /// The access of a process that may read `own`, with the statement's way to buckets.
    pub(crate) fn within(self, own: &Sources) -> Sources {
        let s3 = S3Options {
            endpoint: self.endpoint,
            region: self.region,
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key.map(Secret::new),
            session_token: self.session_token.map(Secret::new),
            from_environment: self.from_environment,
            allow_http: self.allow_http,
            ..own.s3.clone()
        };
        Sources { s3, ..own.clone() }
    }
}

/// What a statement may read, and how: the server's sources with the statement's credentials.
///
/// # Errors
/// 0A000 for a way of authorization that is not served, 28000 for keys that do not belong
/// together.
pub(crate) fn access(copy: &CopyStatement, server: &Sources) -> Result<Sources> {
    let mut sources = server.clone();
    let keys = Keys::read(copy)?;
    let local = copy.from.kind != CopySourceKind::S3;
    if local && !copy.options.manifest {
        no_use_for_local(copy)?;
    }
    // The server's region and endpoint come from its environment.
    sources.s3 = sources.s3.resolved();
    if let Some(region) = &copy.options.region {
        sources.s3.region = Some(region.clone());
    }
    if let Some(endpoint) = &copy.options.endpoint {
        sources.s3.endpoint = Some(endpoint.clone());
        sources.s3.allow_http = true;
    }
    if keys.default_role {
        return if copy.options.endpoint.is_some() { Err(lent_keys()) } else { Ok(sources) };
    }
    if keys.id.is_some() != keys.secret.is_some() {
        return Err(error!(
            InvalidAuthorizationSpecification,
            "ACCESS_KEY_ID and SECRET_ACCESS_KEY must be given together"
        ));
    }
    if keys.id.is_none() && !local {
        return Err(error!(InvalidAuthorizationSpecification, "COPY from S3 needs credentials")
            .hint(
                "Give ACCESS_KEY_ID and SECRET_ACCESS_KEY, or IAM_ROLE default for the server's \
                 own credentials.",
            )
            .at(copy.from.position));
    }
    // Without IAM_ROLE default the server's own keys are used for nothing, not even for what a
    // local manifest names.
    sources.s3.access_key_id = keys.id;
    sources.s3.secret_access_key = keys.secret;
    sources.s3.session_token = keys.token;
    sources.s3.from_environment = false;
    Ok(sources)
}

/// The server's keys would sign requests to a host that a client chose.
fn lent_keys() -> Error {
    error!(InvalidAuthorizationSpecification, "ENDPOINT cannot be used with IAM_ROLE default")
        .hint("Give ACCESS_KEY_ID and SECRET_ACCESS_KEY for this endpoint.")
}

/// A file of the server needs no credentials: giving some is a mistake to be told of.
fn no_use_for_local(copy: &CopyStatement) -> Result<()> {
    let words = [
        "IAM_ROLE",
        "ACCESS_KEY_ID",
        "SECRET_ACCESS_KEY",
        "SESSION_TOKEN",
        "CREDENTIALS",
        "WITH",
        "REGION",
        "ENDPOINT",
    ];
    let given = words.iter().find_map(|word| Some((word, copy.options.position(word)?)));
    match given {
        None => Ok(()),
        Some((word, position)) => {
            Err(error!(SyntaxError, "COPY parameter {word} cannot be used with a local file")
                .at(position))
        }
    }
}

#[derive(Default)]
struct Keys {
    id: Option<String>,
    secret: Option<Secret>,
    token: Option<Secret>,
    default_role: bool,
}

impl Keys {
    fn read(copy: &CopyStatement) -> Result<Keys> {
        let mut keys = Keys::default();
        for part in &copy.authorization {
            match part {
                CopyAuthorization::DefaultRole => keys.default_role = true,
                CopyAuthorization::SessionRole => {
                    return Err(Error::unsupported("IAM_ROLE 'SESSION' is not supported"));
                }
                CopyAuthorization::Role(_) => return Err(role_not_served()),
                CopyAuthorization::AccessKeyId(id) => keys.id = Some(id.reveal().to_owned()),
                CopyAuthorization::SecretAccessKey(secret) => keys.secret = Some(secret.clone()),
                CopyAuthorization::SessionToken(token) => keys.token = Some(token.clone()),
                CopyAuthorization::Credentials(pairs) => keys.pairs(pairs)?,
            }
        }
        if keys.default_role && (keys.id.is_some() || keys.secret.is_some()) {
            return Err(error!(SyntaxError, "IAM_ROLE and access keys cannot be used together"));
        }
        Ok(keys)
    }

    fn pairs(&mut self, pairs: &[(String, Secret)]) -> Result<()> {
        for (name, value) in pairs {
            match name.as_str() {
                "aws_access_key_id" => self.id = Some(value.reveal().to_owned()),
                "aws_secret_access_key" => self.secret = Some(value.clone()),
                "token" | "aws_session_token" => self.token = Some(value.clone()),
                "aws_iam_role" if value.reveal() == "default" => self.default_role = true,
                "aws_iam_role" => return Err(role_not_served()),
                "master_symmetric_key" => {
                    return Err(Error::unsupported("master_symmetric_key is not supported"));
                }
                other => {
                    return Err(error!(
                        InvalidParameterValue,
                        "unknown name \"{other}\" in CREDENTIALS"
                    )
                    .hint(
                        "The names are aws_access_key_id, aws_secret_access_key, token and \
                         aws_iam_role.",
                    ));
                }
            }
        }
        Ok(())
    }
}

fn role_not_served() -> Error {
    Error::unsupported("IAM_ROLE with a role's ARN is not supported")
        .hint("Use IAM_ROLE default for the server's own credentials, or access keys.")
}

/// The files that the statement names, in order.
///
/// # Errors
/// 58P01 in Redshift's words for a prefix without files; all else as `remote` says.
pub(crate) async fn list(copy: &CopyStatement, sources: &Sources) -> Result<Vec<SourceObject>> {
    let position = copy.from.position;
    let url = SourceUrl::parse(&copy.from.url).map_err(|error| error.at(position))?;
    if copy.options.manifest {
        return remote::list_manifest(&url, sources).await;
    }
    match remote::list(&url, sources).await {
        // An error of the store itself, for example for an absent bucket, has a cause.
        Err(error)
            if error.sqlstate() == base::SqlState::UndefinedFile
                && std::error::Error::source(&error).is_none() =>
        {
            Err(absent(&url).at(position))
        }
        found => found,
    }
}

fn absent(url: &SourceUrl) -> Error {
    match url {
        SourceUrl::S3 { bucket, key } => {
            error!(UndefinedFile, "the specified S3 prefix '{key}' does not exist")
                .detail(format!("No object in bucket {bucket} has a name that begins so."))
        }
        SourceUrl::Local(_) => error!(UndefinedFile, "there is no file at {url}"),
    }
}

/// Opens files for reading, one client per bucket.
#[derive(Debug)]
pub(crate) struct Opener {
    sources: Sources,
    buckets: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Opener {
    pub(crate) fn new(sources: Sources) -> Opener {
        Opener { sources, buckets: Mutex::default() }
    }

    /// The file in its store; nothing is fetched.
    ///
    /// # Errors
    /// 42501 when this process may not read it.
    pub(crate) fn open(&self, file: &FileRef) -> Result<StoredFile> {
        let url = SourceUrl::parse(&file.url)?;
        let (store, path) = match &url {
            SourceUrl::S3 { bucket, key } => {
                let known = self.buckets.lock().get(bucket).cloned();
                match (known, Path::parse(key)) {
                    (Some(store), Ok(path)) => (store, path),
                    _ => {
                        let source = remote::open_source(&url, &self.sources)?;
                        let store = Arc::clone(&source.store);
                        self.buckets.lock().insert(bucket.clone(), store);
                        (source.store, source.path)
                    }
                }
            }
            SourceUrl::Local(_) => {
                let source = remote::open_source(&url, &self.sources)?;
                (source.store, source.path)
            }
        };
        Ok(StoredFile { store, path, size: file.size, name: Arc::from(file.url.as_str()) })
    }
}

#[cfg(test)]
mod tests;
