//! S3-compatible stores: credentials, endpoint, bounded retries, and the egress check before
//! every request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base::{Result, Secret, error, fail};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::egress::EgressPolicy;
use crate::failure::store_error;

/// The region when neither options nor environment name one.
const DEFAULT_REGION: &str = "us-east-1";
/// How long a host that passed the check is not resolved again.
const CHECKED_FOR: Duration = Duration::from_secs(30);

/// How a bucket is reached. Empty fields are taken from the environment (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`,
/// `AWS_ENDPOINT_URL`) unless `from_environment` is off.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The URL of an S3-compatible service; `None` is AWS in `region`.
    pub endpoint: Option<String>,
    /// The region; `None` is us-east-1.
    pub region: Option<String>,
    /// The access key.
    pub access_key_id: Option<String>,
    /// The secret of the access key.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Requests are not signed: for public buckets.
    pub anonymous: bool,
    /// Takes what is empty from the environment. Off for what a client's statement names, so
    /// that the server's own credentials are not lent to it.
    pub from_environment: bool,
    /// Permits an endpoint whose URL begins with `http:`.
    pub allow_http: bool,
    /// `bucket.host` instead of `host/bucket`; `None` is so for AWS only.
    pub virtual_hosted: Option<bool>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the whole of one request.
    pub request_timeout: Duration,
    /// How long a request is tried again.
    pub retry_timeout: Duration,
    /// How often a request is tried again.
    pub retries_max: usize,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            anonymous: false,
            from_environment: true,
            allow_http: false,
            virtual_hosted: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(60),
            retry_timeout: Duration::from_secs(8),
            retries_max: 4,
        }
    }
}

impl S3Options {
    /// These options with what is empty taken from the environment.
    pub fn resolved(&self) -> S3Options {
        self.resolved_from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn resolved_from(&self, variable: impl Fn(&str) -> Option<String>) -> S3Options {
        let mut options = self.clone();
        if !self.from_environment {
            return options;
        }
        options.endpoint = options
            .endpoint
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        options.region = options
            .region
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        // Keys belong together: never one from here and one from there.
        if options.access_key_id.is_none() && options.secret_access_key.is_none() {
            options.access_key_id = variable("AWS_ACCESS_KEY_ID");
            options.secret_access_key = variable("AWS_SECRET_ACCESS_KEY").map(Secret::new);
            options.session_token = variable("AWS_SESSION_TOKEN").map(Secret::new);
        }
        options
    }

    /// The host and port at which these options reach a bucket.
    ///
    /// # Errors
    /// 22023 when the endpoint is no URL.
    pub fn host(&self, bucket: &str) -> Result<(String, u16)> {
        let options = self.resolved();
        let url = options.base_url(bucket)?;
        let host = url.host_str().unwrap_or_default();
        let host = if options.is_virtual_hosted() && options.endpoint.is_some() {
            format!("{bucket}.{host}")
        } else {
            host.to_owned()
        };
        Ok((host, url.port_or_known_default().unwrap_or(443)))
    }

    fn is_virtual_hosted(&self) -> bool {
        // A dot in the bucket's name does not fit the certificate of AWS.
        self.virtual_hosted.unwrap_or(self.endpoint.is_none())
    }

    fn base_url(&self, bucket: &str) -> Result<Url> {
        let region = self.region.as_deref().unwrap_or(DEFAULT_REGION);
        let text = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None if self.is_virtual_hosted() => {
                format!("https://{bucket}.s3.{region}.amazonaws.com")
            }
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let bad = || {
            error!(InvalidParameterValue, "\"{text}\" is not the URL of an S3 endpoint")
                .hint("An endpoint is http://host:port or https://host:port.")
        };
        let url = Url::parse(&text).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad().detail("An endpoint's URL holds no credentials."));
        }
        Ok(url)
    }
}

/// Opens a bucket.
///
/// # Errors
/// 42501 when the policy forbids its host, 22023 when an option is wrong, 28000 when there are
/// no credentials. Nothing is sent here.
pub fn s3_bucket(
    bucket: &str,
    options: &S3Options,
    egress: &EgressPolicy,
) -> Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(amazon_s3(bucket, options, egress)?))
}

pub(crate) fn amazon_s3(
    bucket: &str,
    options: &S3Options,
    egress: &EgressPolicy,
) -> Result<AmazonS3> {
    let options = options.resolved();
    let url = options.base_url(bucket)?;
    let (host, port) = options.host(bucket)?;
    egress.check(&host, port)?;
    let http = url.scheme() == "http";
    if http && !options.allow_http {
        return Err(error!(
            InvalidParameterValue,
            "the S3 endpoint {url} is not encrypted and http is not allowed"
        ));
    }
    let region = options.region.as_deref().unwrap_or(DEFAULT_REGION);
    check_region(region)?;
    let connector = Checked {
        egress: Arc::new(egress.clone()),
        http,
        connect_timeout: options.connect_timeout,
        request_timeout: options.request_timeout,
    };
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: options.retries_max,
        retry_timeout: options.retry_timeout,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(options.is_virtual_hosted())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(ClientOptions::new().with_allow_http(http))
        .with_retry(retry)
        .with_http_connector(connector);
    if options.endpoint.is_some() {
        let mut url = url;
        if options.is_virtual_hosted() {
            url.set_host(Some(&host))
                .map_err(|_| error!(InvalidParameterValue, "\"{host}\" is not a host"))?;
        }
        builder = builder.with_endpoint(url.as_str().trim_end_matches('/')).with_allow_http(http);
    }
    builder = credentials(builder, &options)?;
    builder.build().map_err(|error| store_error(format!("open bucket {bucket}"), error))
}

fn credentials(builder: AmazonS3Builder, options: &S3Options) -> Result<AmazonS3Builder> {
    if options.anonymous {
        return Ok(builder.with_skip_signature(true));
    }
    let (Some(key), Some(secret)) = (&options.access_key_id, &options.secret_access_key) else {
        return Err(error!(
            InvalidAuthorizationSpecification,
            "there are no credentials for the S3 bucket"
        )
        .hint("Give ACCESS_KEY_ID and SECRET_ACCESS_KEY, or set them in the environment."));
    };
    let mut builder = builder.with_access_key_id(key).with_secret_access_key(secret.reveal());
    if let Some(token) = &options.session_token {
        builder = builder.with_token(token.reveal());
    }
    Ok(builder)
}

/// A region becomes part of a host name.
fn check_region(region: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if region.is_empty() || !region.bytes().all(fine) {
        fail!(InvalidParameterValue, "\"{region}\" is not a region");
    }
    Ok(())
}

/// Makes HTTP clients that check the policy before each request.
#[derive(Debug)]
struct Checked {
    egress: Arc<EgressPolicy>,
    /// Whether requests may go unencrypted.
    http: bool,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl HttpConnector for Checked {
    /// A client that goes where the request says and nowhere else: a redirect or a proxy of the
    /// environment would lead to a host that the policy has not seen.
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("blueshift/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .https_only(!self.http)
            .http1_only()
            .build()
            .map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })?;
        Ok(HttpClient::new(CheckedService {
            inner: HttpClient::new(client),
            egress: self.egress.clone(),
            passed: parking_lot::Mutex::new(None),
        }))
    }
}

#[derive(Debug)]
struct CheckedService {
    inner: HttpClient,
    egress: Arc<EgressPolicy>,
    /// The host and port that passed last, and when.
    passed: parking_lot::Mutex<Option<(String, u16, Instant)>>,
}

#[async_trait]
impl HttpService for CheckedService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default().to_owned();
        let default_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default_port);
        let fresh = self.passed.lock().as_ref().is_some_and(|(name, at, when)| {
            *name == host && *at == port && when.elapsed() < CHECKED_FOR
        });
        if !fresh {
            self.egress
                .check_resolved(&host, port)
                .await
                .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
            *self.passed.lock() = Some((host, port, base::clock::instant()));
        }
        self.inner.execute(request).await
    }
}
