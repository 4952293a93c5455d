//! Actions for services on the node that owns their data, in the Oort dialect.
//!
//! Java nodes find an owner by asking all as well: an action that is asked so is answered by whoever has the service.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::state::{OortOutput, OortPeer, OortState};
use super::wire;
use crate::StateChannel;
use crate::service::{ServiceFrame, Services, Verdict};

/// Asks one node.
const SERVICE: &str = "/service/oort/service/";
/// Asks all nodes.
const BROADCAST: &str = "/oort/service/";
/// Ends the channel of results.
const RESULT: &str = "/result";
/// Actions that all Java nodes together may have asked this one for. Beyond, the oldest gets no answer.
const ASKED_MAX: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct Request<'a> {
    #[serde(rename = "oort.service.id")]
    id: u64,
    #[serde(rename = "oort.service.url")]
    url: String,
    #[serde(rename = "oort.service.parameter", borrow, default)]
    parameter: Option<&'a RawValue>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Response<'a> {
    #[serde(rename = "oort.service.id")]
    id: u64,
    #[serde(rename = "oort.service.url")]
    url: String,
    #[serde(rename = "oort.service.result")]
    result: bool,
    #[serde(rename = "oort.service.data", borrow, default)]
    data: Option<&'a RawValue>,
}

/// An action that a Java node has asked this one for.
#[derive(Debug)]
struct Asked {
    url: String,
    service: String,
    id: u64,
    /// It has asked all nodes: one that has nothing to say is silent.
    all: bool,
}

/// The translator.
#[derive(Debug)]
pub(super) struct ServiceState {
    services: Services,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By this node's own number: those of Java nodes count per service.
    asked: BTreeMap<u64, Asked>,
    next: u64,
    /// The name of the service of each action that this node has asked a Java node for, by node and number.
    asking: HashMap<(String, u64), String>,
}

impl ServiceState {
    pub(super) fn new(services: Services) -> Self {
        Self {
            services,
            inner: Mutex::default(),
        }
    }

    fn request(
        &self,
        peer: &OortPeer,
        service: &str,
        all: bool,
        data: &str,
        out: &mut Vec<OortOutput>,
    ) {
        let Ok(request) = serde_json::from_str::<Request<'_>>(data) else {
            return;
        };
        if request.url != peer.url {
            return;
        }
        let id = {
            let mut inner = self.inner.lock();
            if inner.asked.len() >= ASKED_MAX {
                inner.asked.pop_first();
            }
            inner.next += 1;
            let id = inner.next;
            let asked = Asked {
                url: request.url,
                service: service.to_owned(),
                id: request.id,
                all,
            };
            inner.asked.insert(id, asked);
            id
        };
        let parameter = request.parameter.map_or("null", RawValue::get);
        let frame = ServiceFrame::Request {
            id,
            service: service.to_owned(),
            parameter: Bytes::copy_from_slice(parameter.as_bytes()),
        };
        out.push(OortOutput::Frame(StateChannel::SERVICES, frame.encode()));
    }

    fn response(&self, peer: &OortPeer, service: &str, data: &str, out: &mut Vec<OortOutput>) {
        let Ok(response) = serde_json::from_str::<Response<'_>>(data) else {
            return;
        };
        let key = (peer.url.clone(), response.id);
        {
            let mut inner = self.inner.lock();
            if inner.asking.get(&key).is_none_or(|asked| asked != service) {
                return;
            }
            inner.asking.remove(&key);
        }
        let data = response.data.map_or("null", RawValue::get);
        let verdict = if response.result {
            Verdict::Success
        } else {
            Verdict::Failure
        };
        Self::result(
            response.id,
            verdict,
            Bytes::copy_from_slice(data.as_bytes()),
            out,
        );
    }

    fn result(id: u64, verdict: Verdict, data: Bytes, out: &mut Vec<OortOutput>) {
        let frame = ServiceFrame::Result { id, verdict, data };
        out.push(OortOutput::Frame(StateChannel::SERVICES, frame.encode()));
    }

    /// An action of this node, for a Java node.
    fn ask(
        &self,
        peer: &OortPeer,
        id: u64,
        service: &str,
        parameter: &[u8],
        out: &mut Vec<OortOutput>,
    ) {
        let text = std::str::from_utf8(parameter).unwrap_or_default();
        let Ok(parameter) = serde_json::from_str::<&RawValue>(text) else {
            // Bytes that are no JSON do not travel in this dialect.
            return Self::result(id, Verdict::NoService, Bytes::new(), out);
        };
        {
            let mut inner = self.inner.lock();
            if inner.asking.len() >= ASKED_MAX {
                // Whoever waits for them has given up long ago.
                inner.asking.clear();
            }
            inner
                .asking
                .insert((peer.url.clone(), id), service.to_owned());
        }
        out.push(OortOutput::Publish {
            channel: format!("{SERVICE}{service}"),
            data: wire::json(&Request {
                id,
                url: peer.this_url.clone(),
                parameter: Some(parameter),
            }),
        });
    }

    /// The answer to an action of a Java node.
    fn answer(
        &self,
        peer: &OortPeer,
        id: u64,
        verdict: Verdict,
        data: &[u8],
        out: &mut Vec<OortOutput>,
    ) {
        let Some(asked) = self.inner.lock().asked.remove(&id) else {
            return;
        };
        let problem = match verdict {
            Verdict::Success | Verdict::Failure => None,
            Verdict::NoService => Some("no such service"),
            Verdict::Busy => Some("busy"),
            Verdict::Dropped => Some("dropped"),
            Verdict::TooLarge => Some("too large"),
        };
        if asked.url != peer.url || (asked.all && problem.is_some()) {
            return;
        }
        // What an action says in bytes that are no JSON is a text.
        let data = match problem {
            Some(problem) => wire::json(&problem),
            None => serde_json::from_slice::<Box<RawValue>>(data)
                .unwrap_or_else(|_| wire::json(&String::from_utf8_lossy(data))),
        };
        out.push(OortOutput::Publish {
            channel: format!("{SERVICE}{}{RESULT}", asked.service),
            data: wire::json(&Response {
                id: asked.id,
                url: peer.this_url.clone(),
                result: verdict == Verdict::Success,
                data: Some(&data),
            }),
        });
    }
}

impl OortState for ServiceState {
    fn channels(&self) -> Vec<String> {
        let names = self.services.names();
        names
            .iter()
            .map(|name| format!("{BROADCAST}{name}"))
            .collect()
    }

    fn handles(&self, channel: &str) -> bool {
        channel.starts_with(SERVICE) || channel.starts_with(BROADCAST)
    }

    fn left(&self, peer: &OortPeer) {
        let mut inner = self.inner.lock();
        inner.asked.retain(|_, asked| asked.url != peer.url);
        inner.asking.retain(|(url, _), _| *url != peer.url);
    }

    fn send(
        &self,
        peer: &OortPeer,
        channel: StateChannel,
        frame: Bytes,
        out: &mut Vec<OortOutput>,
    ) {
        if channel != StateChannel::SERVICES {
            return;
        }
        match ServiceFrame::decode(frame) {
            Ok(ServiceFrame::Request {
                id,
                service,
                parameter,
            }) => self.ask(peer, id, &service, &parameter, out),
            Ok(ServiceFrame::Result { id, verdict, data }) => {
                self.answer(peer, id, verdict, &data, out);
            }
            Err(_) => {}
        }
    }

    fn received(&self, peer: &OortPeer, channel: &str, data: &str, out: &mut Vec<OortOutput>) {
        if let Some(service) = channel.strip_prefix(BROADCAST) {
            return self.request(peer, service, true, data, out);
        }
        let Some(service) = channel.strip_prefix(SERVICE) else {
            return;
        };
        match service.strip_suffix(RESULT) {
            Some(service) => self.response(peer, service, data, out),
            None => self.request(peer, service, false, data, out),
        }
    }
}
