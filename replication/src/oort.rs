//! Replicated objects in the Oort dialect.
//!
//! A part is the same in both dialects: one owner, versions that count its changes. A whole value becomes a snapshot, an
//! item update a delta, and a pull is a pull; nothing of a Java node's part is kept here.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use halley_cluster::parts::PartFrame;
use halley_cluster::{OortOutput, OortPeer, OortState, StateChannel};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::debug;

use crate::objects::{named, split};
use crate::{Objects, OortForm};

/// Where changes are told to every node.
const BROADCAST: &str = "/oort/objects/";
/// Where nodes push and pull.
const SERVICE: &str = "/service/oort/objects/";
const PUSH: &str = "oort.object.push";
const PULL: &str = "oort.object.pull";

#[derive(Debug, Serialize, Deserialize)]
struct Info<'a> {
    #[serde(rename = "oort.info.url")]
    url: String,
    #[serde(rename = "oort.info.name")]
    name: String,
    #[serde(
        rename = "oort.info.object",
        borrow,
        skip_serializing_if = "Option::is_none",
        default
    )]
    object: Option<&'a RawValue>,
    #[serde(
        rename = "oort.info.version",
        skip_serializing_if = "Option::is_none",
        default
    )]
    version: Option<u64>,
    #[serde(
        rename = "oort.info.type",
        skip_serializing_if = "Option::is_none",
        default
    )]
    kind: Option<String>,
    #[serde(
        rename = "oort.info.action",
        skip_serializing_if = "Option::is_none",
        default
    )]
    action: Option<String>,
    #[serde(
        rename = "oort.info.peer",
        skip_serializing_if = "Option::is_none",
        default
    )]
    peer: Option<String>,
}

/// Translates the objects of a node: to be registered with
/// [`Cluster::register_oort`](halley_cluster::Cluster::register_oort).
#[derive(Debug)]
pub struct OortObjects {
    objects: Objects,
    /// The version of the own part that each node was told last, by URL and object.
    told: Mutex<HashMap<String, HashMap<String, u64>>>,
}

impl OortObjects {
    /// The translator of these objects.
    pub fn new(objects: Objects) -> Self {
        Self {
            objects,
            told: Mutex::default(),
        }
    }

    fn object(&self, name: &str) -> Option<Arc<dyn OortForm>> {
        self.objects.by_name(name)
    }

    fn note(&self, peer: &OortPeer, name: &str, version: u64) {
        let mut told = self.told.lock();
        let versions = told.entry(peer.url.clone()).or_default();
        versions.insert(name.to_owned(), version);
    }

    fn told(&self, peer: &OortPeer, name: &str) -> Option<u64> {
        self.told.lock().get(&peer.url)?.get(name).copied()
    }

    /// The own part, for one node: delivered on the channel of changes, or pushed with this as its peer.
    fn whole(
        &self,
        peer: &OortPeer,
        name: &str,
        push: Option<Option<String>>,
        out: &mut Vec<OortOutput>,
    ) {
        let Some((version, json)) = self.object(name).and_then(|object| object.oort_own()) else {
            return;
        };
        let info = Info {
            url: peer.this_url.clone(),
            name: name.to_owned(),
            object: Some(&json),
            version: Some(version),
            kind: None,
            action: push.is_some().then(|| PUSH.to_owned()),
            peer: push.clone().flatten(),
        };
        let Some(data) = written(&info) else { return };
        self.note(peer, name, version);
        out.push(match push {
            Some(_) => OortOutput::Publish {
                channel: format!("{SERVICE}{name}"),
                data,
            },
            None => OortOutput::Deliver {
                channel: format!("{BROADCAST}{name}"),
                data,
            },
        });
    }

    fn pull(peer: &OortPeer, name: &str, out: &mut Vec<OortOutput>) {
        let info = Info {
            url: peer.this_url.clone(),
            name: name.to_owned(),
            object: None,
            version: None,
            kind: None,
            action: Some(PULL.to_owned()),
            peer: None,
        };
        out.extend(written(&info).map(|data| OortOutput::Publish {
            channel: format!("{SERVICE}{name}"),
            data,
        }));
    }

    /// A frame for the handler of the objects, as if the node had sent it.
    fn frame(name: &str, frame: &PartFrame, out: &mut Vec<OortOutput>) {
        let frame = named(name, &frame.encode());
        out.push(OortOutput::Frame(StateChannel::OBJECTS, frame));
    }

    fn taken(&self, peer: &OortPeer, info: &Info<'_>, out: &mut Vec<OortOutput>) {
        let name = info.name.as_str();
        let (Some(object), Some(version), Some(json)) =
            (self.object(name), info.version, info.object)
        else {
            return;
        };
        let incarnation = peer.id.incarnation;
        if let Some(kind) = &info.kind {
            let action = info.action.as_deref().unwrap_or_default();
            let Some(bytes) = object.oort_item(kind, action, json) else {
                debug!(
                    url = peer.url,
                    name, kind, action, "an item update that is none"
                );
                return;
            };
            let delta = PartFrame::Delta {
                incarnation,
                version,
                bytes,
            };
            return Self::frame(name, &delta, out);
        }
        if let Some(bytes) = object.oort_whole(json) {
            let snapshot = PartFrame::Snapshot {
                incarnation,
                version,
                piece: 0,
                pieces: 1,
                bytes,
            };
            Self::frame(name, &snapshot, out);
        }
        let answers = info.peer.as_ref() == Some(&peer.this_url);
        let pushed = info.action.as_deref() == Some(PUSH);
        if !answers && (pushed || self.told(peer, name).is_none()) {
            self.whole(peer, name, Some(Some(peer.url.clone())), out);
        }
    }
}

fn written(info: &Info<'_>) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(info).ok()
}

impl OortState for OortObjects {
    fn channels(&self) -> Vec<String> {
        let names = self.objects.names();
        names
            .iter()
            .map(|name| format!("{BROADCAST}{name}"))
            .collect()
    }

    fn handles(&self, channel: &str) -> bool {
        channel.starts_with(BROADCAST) || channel.starts_with(SERVICE)
    }

    fn joined(&self, peer: &OortPeer, out: &mut Vec<OortOutput>) {
        for name in self.objects.names() {
            self.whole(peer, &name, Some(None), out);
        }
    }

    fn left(&self, peer: &OortPeer) {
        self.told.lock().remove(&peer.url);
    }

    fn send(
        &self,
        peer: &OortPeer,
        channel: StateChannel,
        frame: Bytes,
        out: &mut Vec<OortOutput>,
    ) {
        if channel != StateChannel::OBJECTS {
            return;
        }
        let Some((name, frame)) = split(frame) else {
            return;
        };
        let Ok(name) = std::str::from_utf8(&name) else {
            return;
        };
        match PartFrame::decode(frame) {
            Ok(PartFrame::Delta { version, bytes, .. }) => {
                let change = self
                    .object(name)
                    .and_then(|object| object.oort_change(&bytes));
                let Some(change) = change else {
                    return self.whole(peer, name, None, out);
                };
                let (kind, action) = change.item.unzip();
                let info = Info {
                    url: peer.this_url.clone(),
                    name: name.to_owned(),
                    object: Some(&change.object),
                    version: Some(version),
                    kind: kind.map(str::to_owned),
                    action: action.map(str::to_owned),
                    peer: None,
                };
                let Some(data) = written(&info) else { return };
                self.note(peer, name, version);
                out.push(OortOutput::Deliver {
                    channel: format!("{BROADCAST}{name}"),
                    data,
                });
            }
            // A change that was too long to travel as a delta; a node that has been told it needs nothing.
            Ok(PartFrame::Current { version, .. }) => {
                if self.told(peer, name).is_none_or(|told| told < version) {
                    self.whole(peer, name, None, out);
                }
            }
            // A node that has joined is pushed everything by then.
            Ok(PartFrame::Snapshot { .. }) | Err(_) => {}
            Ok(PartFrame::Pull { .. }) => Self::pull(peer, name, out),
        }
    }

    fn received(&self, peer: &OortPeer, _: &str, data: &str, out: &mut Vec<OortOutput>) {
        let Ok(info) = serde_json::from_str::<Info<'_>>(data) else {
            return;
        };
        if info.url != peer.url {
            // A node speaks for its own part only.
            debug!(
                url = peer.url,
                of = info.url,
                "an object's part of another node"
            );
        } else if info.action.as_deref() == Some(PULL) {
            self.whole(peer, &info.name, Some(Some(peer.url.clone())), out);
        } else {
            self.taken(peer, &info, out);
        }
    }

    fn subscribed(&self, peer: &OortPeer, channel: &str, out: &mut Vec<OortOutput>) {
        if let Some(name) = channel.strip_prefix(BROADCAST) {
            self.whole(peer, name, None, out);
        }
    }
}
