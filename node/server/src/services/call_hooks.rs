//! Calls on service channels that the application answers over HTTP.
//!
//! ```text
//! publish on /service/… ──> Engine ──> CallHook ──POST──> application
//!                                         │ bounded: under way, waiting, time, bytes of the answer
//! client <── result or failure <── Responder
//! ```
//!
//! Unlike the hooks that decide, a call holds nothing up: the client goes on, its other messages too, and results come in the order in which the
//! application gives them.

use std::fmt;
use std::sync::Arc;

use halley_bayeux::{
    ChannelName, Engine, Json, Message, Millis, RemoteCall, Responder, Session, UserId,
};
use http::Uri;
use prometheus::{IntCounterVec, IntGauge};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::config::ServicesConfig;
use crate::metrics::Metrics;
use crate::security::{Asker, HookClient, HookFailure, HookLimits, hook_address};
use crate::tasks::Tasks;

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    hook: &'static str,
    node: &'a str,
    session: u64,
    user: Option<&'a str>,
    channel: &'a str,
    data: Option<&'a RawValue>,
    #[serde(flatten)]
    asker: Asker<'a>,
}

/// What is answered: one of the two. `null` is a result like any other.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    failure: Option<Box<RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

/// What all rows share.
struct Shared {
    client: HookClient,
    /// One place for each call that is under way or waits to be.
    places: Arc<Semaphore>,
    node: String,
    /// Headers that are shown, in lower case.
    headers: Vec<String>,
    depth_max: usize,
    tasks: Tasks,
    calls: IntCounterVec,
    under_way: IntGauge,
}

/// One row: sends the calls of a channel or pattern to an address.
pub(crate) struct CallHook {
    url: Uri,
    shared: Arc<Shared>,
}

impl fmt::Debug for CallHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Counts a call that is under way, until it is dropped.
struct UnderWay(IntGauge);

impl UnderWay {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a call has no answer of the application.
enum Failure {
    /// More calls are under way and waiting than may.
    Busy,
    Hook(HookFailure),
}

impl Failure {
    /// The word in the failure, and a sentence without anything of the application's addresses.
    const fn told(&self) -> (&'static str, &'static str) {
        match self {
            Self::Busy => ("hook_busy", "too many calls at one time"),
            Self::Hook(HookFailure::Unreachable(_)) => {
                ("hook_unreachable", "the service cannot be reached")
            }
            Self::Hook(HookFailure::Timeout) => ("hook_timeout", "no answer in time"),
            Self::Hook(HookFailure::Unusable(_)) => {
                ("hook_answer_invalid", "the service did not answer properly")
            }
        }
    }

    const fn outcome(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Hook(HookFailure::Unreachable(_)) => "unreachable",
            Self::Hook(HookFailure::Timeout) => "timeout",
            Self::Hook(HookFailure::Unusable(_)) => "invalid",
        }
    }
}

/// Registers what answers the configured channels.
///
/// # Errors
/// An address is not one.
pub(crate) fn start(
    config: &ServicesConfig,
    node: &str,
    engine: &Engine,
    metrics: &Metrics,
    tasks: Tasks,
) -> Result<(), String> {
    if config.hooks.is_empty() {
        return Ok(());
    }
    let limits = HookLimits {
        timeout_ms: config.timeout_ms,
        max_concurrent: config.max_concurrent,
        retries: config.retries,
        answer_bytes_max: config.max_answer_bytes,
    };
    let shared = Arc::new(Shared {
        client: HookClient::new(&limits, config.token()),
        places: Arc::new(Semaphore::new(config.max_concurrent + config.max_waiting)),
        node: node.to_owned(),
        headers: config.headers.clone(),
        depth_max: engine.config().max_depth,
        tasks,
        calls: metrics.service_calls.clone(),
        under_way: metrics.service_calls_pending.clone(),
    });
    for hook in &config.hooks {
        let (Some(pattern), Some(url)) = (&hook.pattern, &hook.url) else {
            continue;
        };
        let url = hook_address(url)?;
        let shared = Arc::clone(&shared);
        engine.add_remote_call(pattern.clone(), Arc::new(CallHook { url, shared }));
    }
    Ok(())
}

impl RemoteCall for CallHook {
    fn call(&self, session: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis) {
        let shared = &self.shared;
        let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
            shared.fail(message.channel(), responder, &Failure::Busy);
            return;
        };
        let body = shared.question(session, message);
        let (shared, url) = (Arc::clone(shared), self.url.clone());
        let under_way = UnderWay::new(&shared.under_way);
        self.shared.tasks.spawn(async move {
            let answer = shared.client.call::<Answer>(&url, body).await;
            drop((place, under_way));
            shared.answer(responder, answer);
        });
    }
}

impl Shared {
    fn question(&self, session: &Session, message: &Message<'_>) -> Vec<u8> {
        let question = Question {
            hook: "call",
            node: &self.node,
            session: session.key(),
            user: session.user().map(UserId::as_str),
            channel: message.channel().as_str(),
            // Validated by the engine, and not looked into here.
            data: message
                .data()
                .and_then(|data| serde_json::from_str(data).ok()),
            asker: Asker::of(message, &self.headers),
        };
        serde_json::to_vec(&question).unwrap_or_default()
    }

    fn answer(&self, responder: Responder, answer: Result<Answer, HookFailure>) {
        let channel = responder.channel().clone();
        let unusable = |what: &str| Failure::Hook(HookFailure::Unusable(what.to_owned()));
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.fail(&channel, responder, &Failure::Hook(failure)),
        };
        let (raw, failed) = match (&answer.result, &answer.failure) {
            (Some(result), None) => (result, false),
            (None, Some(failure)) => (failure, true),
            _ => {
                let failure = unusable("it needs either result or failure");
                return self.fail(&channel, responder, &failure);
            }
        };
        match Json::validate(raw.get(), self.depth_max) {
            Ok(json) if failed => {
                self.count("failed");
                responder.fail(json);
            }
            Ok(json) => {
                self.count("answered");
                responder.succeed(json);
            }
            Err(_) => self.fail(&channel, responder, &unusable("it nests too deep")),
        }
    }

    fn fail(&self, channel: &ChannelName, responder: Responder, failure: &Failure) {
        self.count(failure.outcome());
        match failure {
            // Told by the metric alone: it comes in floods.
            Failure::Busy => debug!(%channel, "a call found no place"),
            Failure::Hook(failure) => warn!(%channel, %failure, "a call has no answer"),
        }
        let (code, message) = failure.told();
        let text = json!({ "code": code, "message": message }).to_string();
        if let Ok(json) = Json::validate(&text, self.depth_max) {
            responder.fail(json);
        }
    }

    fn count(&self, outcome: &'static str) {
        self.calls.with_label_values(&[outcome]).inc();
    }
}
