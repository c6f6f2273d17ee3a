//! One request from its head to its answer: the fault it meets, its effect, its line in the log.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use s3s::Body;
use s3s::service::S3Service;

use crate::faults::{Fate, Fault, Faults};
use crate::log::{Line, Log};
use crate::request::Target;
use crate::store::now_ms;

/// No name of a bucket begins like this.
const CONTROL: &str = "/_control/faults";

/// The connection ends here, in the midst of what was going on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was broken off")
    }
}

impl std::error::Error for Broken {}

pub(crate) type Answer = Response<BoxBody<Bytes, Broken>>;

pub(crate) struct Server {
    pub(crate) s3: S3Service,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
}

/// A request that was received in whole.
struct Exchange {
    target: Target,
    fate: Fate,
    headers: HeaderMap,
    received_bytes: u64,
    started: Instant,
}

/// What an operation answered, its body in whole.
struct Effect {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Server {
    /// Serves a request. `reset` is set when the connection is to end with a reset and not with an
    /// orderly close.
    ///
    /// # Errors
    /// The connection is to be closed without an answer.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        reset: Arc<AtomicBool>,
    ) -> Result<Answer, Broken> {
        let (parts, body) = request.into_parts();
        let started = Instant::now();
        let bytes = body.collect().await.map_err(|_| Broken)?.to_bytes();
        if parts.uri.path() == CONTROL {
            return Ok(self.control(&parts.method, &bytes));
        }
        let target = Target::of(&parts);
        let exchange = Exchange {
            fate: self.faults.meet(&target),
            target,
            headers: parts.headers.clone(),
            received_bytes: bytes.len() as u64,
            started,
        };
        let is_reset = exchange.fate.dice.is_multiple_of(2);
        let answer = self.exchange(exchange, parts, bytes).await;
        if answer.is_err() {
            // Clients tell a reset from an orderly close, after which some send a request again.
            reset.store(is_reset, Ordering::Relaxed);
        }
        answer
    }

    async fn exchange(
        self: Arc<Self>,
        exchange: Exchange,
        parts: Parts,
        bytes: Bytes,
    ) -> Result<Answer, Broken> {
        let Some(rule) = exchange.fate.rule.clone() else {
            pause(exchange.fate.delay_ms).await;
            let effect = self.perform(parts, bytes).await?;
            exchange.log(&self.log, Some(effect.status), Some(effect.status), effect.body.len())?;
            return Ok(effect.answer());
        };
        pause(exchange.fate.delay_ms).await;
        match rule.fault {
            Fault::Error => {
                let told = refusal(rule.status);
                exchange.log(&self.log, None, Some(told.status), told.body.len())?;
                Ok(told.answer())
            }
            Fault::Forget => {
                exchange.log(&self.log, None, Some(StatusCode::OK), 0)?;
                Ok(forgotten().answer())
            }
            Fault::Reset => {
                exchange.log(&self.log, None, None, 0)?;
                Err(Broken)
            }
            Fault::Late => {
                tokio::spawn(async move {
                    pause(rule.delay_ms).await;
                    let effect = self.perform(parts, bytes).await?;
                    exchange.log(&self.log, Some(effect.status), None, 0)
                });
                Err(Broken)
            }
            fault => {
                let effect = self.perform(parts, bytes).await?;
                let done = Some(effect.status);
                match fault {
                    Fault::ErrorAfter => {
                        let told = refusal(rule.status);
                        exchange.log(&self.log, done, Some(told.status), told.body.len())?;
                        Ok(told.answer())
                    }
                    Fault::ResetAfter => {
                        exchange.log(&self.log, done, None, 0)?;
                        Err(Broken)
                    }
                    _ => {
                        let (answer, sent) = effect.spoiled(fault, exchange.fate.dice);
                        exchange.log(&self.log, done, done, sent)?;
                        Ok(answer)
                    }
                }
            }
        }
    }

    async fn perform(&self, parts: Parts, bytes: Bytes) -> Result<Effect, Broken> {
        let request = Request::from_parts(parts, Body::from(bytes));
        let answer = self.s3.call(request).await.map_err(|_| Broken)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        Ok(Effect { status: parts.status, headers: parts.headers, body })
    }

    /// `PUT` replaces the rules, `GET` gives how often they matched and fired.
    fn control(&self, method: &Method, bytes: &[u8]) -> Answer {
        let (status, text) = match *method {
            Method::PUT => match self.faults.set(bytes) {
                Ok(()) => (StatusCode::OK, String::new()),
                Err(error) => (StatusCode::BAD_REQUEST, error),
            },
            Method::GET => match serde_json::to_string(&self.faults.counts()) {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, "PUT or GET".to_owned()),
        };
        Effect { status, headers: HeaderMap::new(), body: text.into() }.answer()
    }
}

async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// An error as S3 tells it.
fn refusal(status: u16) -> Effect {
    let code = match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        501 => "NotImplemented",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>a fault of the test</Message></Error>"
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Effect { status, headers, body: body.into() }
}

/// The answer to a put that never was one.
fn forgotten() -> Effect {
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, HeaderValue::from_static("\"d41d8cd98f00b204e9800998ecf8427e\""));
    Effect { status: StatusCode::OK, headers, body: Bytes::new() }
}

fn boxed(body: Full<Bytes>) -> BoxBody<Bytes, Broken> {
    body.map_err(|never: Infallible| match never {}).boxed()
}

impl Effect {
    fn answer(self) -> Answer {
        let mut answer = Response::new(boxed(Full::new(self.body)));
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers;
        answer
    }

    /// The answer with its body spoiled, and the bytes of it that are sent. An error, or a body
    /// without bytes, stays as it is.
    fn spoiled(mut self, fault: Fault, dice: u64) -> (Answer, usize) {
        let length = self.body.len();
        if !self.status.is_success() || length == 0 {
            return (self.answer(), length);
        }
        let at = (dice / 8) as usize % length;
        match fault {
            Fault::FlipBit => {
                let mut bytes = self.body.to_vec();
                bytes[at] ^= 1 << (dice % 8);
                self.body = bytes.into();
                (self.answer(), length)
            }
            Fault::TruncateBody => {
                self.headers.insert(CONTENT_LENGTH, HeaderValue::from(at));
                self.body.truncate(at);
                (self.answer(), at)
            }
            Fault::CutBody => {
                self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                let part = self.body.split_to(at);
                let frames = futures::stream::iter([Ok(Frame::data(part)), Err(Broken)]);
                let (status, headers) = (self.status, self.headers);
                let mut answer = Response::new(BodyExt::boxed(StreamBody::new(frames)));
                *answer.status_mut() = status;
                *answer.headers_mut() = headers;
                (answer, at)
            }
            _ => (self.answer(), length),
        }
    }
}

impl Exchange {
    fn log(
        &self,
        log: &Log,
        effect: Option<StatusCode>,
        status: Option<StatusCode>,
        sent: usize,
    ) -> Result<(), Broken> {
        let header = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        log.write(&Line {
            at_ms: now_ms(),
            took_ms: self.started.elapsed().as_millis() as u64,
            operation: self.target.operation,
            bucket: &self.target.bucket,
            key: &self.target.key,
            range: header("range"),
            if_match: header("if-match"),
            if_none_match: header("if-none-match"),
            received_bytes: self.received_bytes,
            sent_bytes: sent as u64,
            effect: effect.map(|status| status.as_u16()),
            status: status.map(|status| status.as_u16()),
            fault: self.fate.rule.as_ref().map(|rule| rule.fault),
            delay_ms: self.fate.delay_ms,
        })
        .map_err(|_| Broken)
    }
}
