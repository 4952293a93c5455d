//! Presence and messages to users, in the Oort dialect.
//!
//! All lists go to a node's session on `/seti/all`, the way that presence changes go, so that none overtakes another.

use std::collections::HashMap;

use bytes::Bytes;
use halley_bayeux::{ChannelName, Json, Publication, UserId};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::state::{OortOutput, OortPeer, OortState};
use super::url::OortUrl;
use super::wire::{self, Directed, Presence, SETI_ALL};
use crate::parts::{PartFrame, PartState};
use crate::seti::{Seti, UserChange, UserSet, message};
use crate::{Clock, StateChannel};

/// Bytes of user ids in one message: Java's servers take 64 KiB unless configured otherwise.
const LIST_BYTES: usize = 32 << 10;
/// More changes than these travel as a whole set.
const DELTAS_MAX: usize = 32;

/// What is known of one node's users.
#[derive(Debug)]
struct Users {
    set: UserSet,
    version: u64,
    joined: bool,
}

/// The translator.
#[derive(Debug)]
pub(super) struct SetiState {
    seti: Seti,
    /// The name of this node's own channel.
    own: String,
    clock: Clock,
    /// By URL.
    nodes: Mutex<HashMap<String, Users>>,
}

impl SetiState {
    pub(super) fn new(seti: Seti, url: &OortUrl, clock: Clock) -> Self {
        Self {
            seti,
            own: format!("/seti/{}", url.seti_id()),
            clock,
            nodes: Mutex::default(),
        }
    }

    /// Tells a node all users of this one.
    fn list(&self, peer: &OortPeer, alive: Option<bool>, out: &mut Vec<OortOutput>) {
        let mut presence = Presence {
            user_ids: Vec::new(),
            oort_url: peer.this_url.clone(),
            presence: true,
            replace: true,
            alive: None,
        };
        let mut bytes = 0;
        for user in self.seti.local_users() {
            bytes += user.as_str().len() + 4;
            presence.user_ids.push(user.as_str().to_owned());
            if bytes >= LIST_BYTES {
                deliver(&presence, out);
                presence.user_ids.clear();
                (presence.replace, bytes) = (false, 0);
            }
        }
        if presence.replace || !presence.user_ids.is_empty() {
            presence.alive = alive;
            deliver(&presence, out);
        } else if alive.is_some() {
            (presence.alive, presence.replace) = (alive, false);
            deliver(&presence, out);
        }
    }

    fn presence(&self, peer: &OortPeer, presence: &Presence, out: &mut Vec<OortOutput>) {
        if presence.oort_url != peer.url {
            tracing::debug!(
                url = peer.url,
                of = presence.oort_url,
                "presence of another node"
            );
            return;
        }
        let mut nodes = self.nodes.lock();
        let Some(users) = nodes.get_mut(&peer.url) else {
            return;
        };
        let named = presence
            .user_ids
            .iter()
            .filter_map(|id| UserId::new(id).ok());
        let mut changes = Vec::new();
        if presence.replace {
            let mut after = UserSet::default();
            for user in named {
                let present = true;
                after.apply(UserChange { user, present }, &mut Vec::new());
            }
            UserSet::differences(Some(&users.set), Some(&after), &mut changes);
        } else {
            let present = presence.presence;
            changes.extend(
                named
                    .filter(|user| users.set.contains(user) != present)
                    .map(|user| UserChange { user, present }),
            );
        }
        let one_by_one = changes.len() <= DELTAS_MAX;
        for change in changes {
            users.set.apply(change.clone(), &mut Vec::new());
            if one_by_one {
                users.version += 1;
                if users.joined {
                    let delta = PartFrame::Delta {
                        incarnation: peer.id.incarnation,
                        version: users.version,
                        bytes: UserSet::encode_delta(&change),
                    };
                    out.push(OortOutput::Frame(StateChannel::SETI, delta.encode()));
                }
            }
        }
        if !one_by_one {
            users.version += 1;
            if users.joined {
                out.push(users.snapshot(peer));
            }
        }
    }

    /// A message to a user of this node.
    fn directed(&self, directed: &Directed<'_>, out: &mut Vec<OortOutput>) {
        let user = UserId::new(&directed.user_id);
        let channel = ChannelName::parse(&directed.channel);
        let data = Json::validate(directed.data.get(), halley_bayeux::DEPTH_MAX);
        if let (Ok(user), Ok(channel), Ok(data)) = (user, channel, data) {
            let publication = Publication::new(&channel, data);
            let frame = message::encode(&user, &publication);
            out.push(OortOutput::Frame(StateChannel::SETI_MESSAGES, frame));
        }
    }
}

impl Users {
    fn snapshot(&self, peer: &OortPeer) -> OortOutput {
        let snapshot = PartFrame::Snapshot {
            incarnation: peer.id.incarnation,
            version: self.version,
            piece: 0,
            pieces: 1,
            bytes: self.set.encode(),
        };
        OortOutput::Frame(StateChannel::SETI, snapshot.encode())
    }
}

fn deliver(presence: &Presence, out: &mut Vec<OortOutput>) {
    out.push(OortOutput::Deliver {
        channel: SETI_ALL.to_owned(),
        data: wire::json(presence),
    });
}

impl OortState for SetiState {
    fn channels(&self) -> Vec<String> {
        vec![SETI_ALL.to_owned(), self.own.clone()]
    }

    fn handles(&self, channel: &str) -> bool {
        channel.starts_with("/seti/")
    }

    fn connected(&self, peer: &OortPeer, _: &mut Vec<OortOutput>) {
        // Above every version that an earlier membership of the same process can have reached.
        let version = self.clock.now().0 << 20;
        self.nodes
            .lock()
            .entry(peer.url.clone())
            .or_insert_with(|| Users {
                set: UserSet::default(),
                version,
                joined: false,
            });
    }

    fn joined(&self, peer: &OortPeer, out: &mut Vec<OortOutput>) {
        if let Some(users) = self.nodes.lock().get_mut(&peer.url) {
            users.joined = true;
            out.push(users.snapshot(peer));
        }
    }

    fn left(&self, peer: &OortPeer) {
        self.nodes.lock().remove(&peer.url);
    }

    fn send(
        &self,
        peer: &OortPeer,
        channel: StateChannel,
        frame: Bytes,
        out: &mut Vec<OortOutput>,
    ) {
        if channel == StateChannel::SETI_MESSAGES {
            let Ok((user, publication)) = message::decode(&frame) else {
                return;
            };
            let data = publication.data().unwrap_or("null").to_owned();
            let (Ok(data), Ok(to)) = (RawValue::from_string(data), OortUrl::parse(&peer.url))
            else {
                return;
            };
            let directed = Directed {
                user_id: user.as_str().to_owned(),
                channel: publication.channel().as_str().to_owned(),
                seti_id: self.own.trim_start_matches("/seti/").to_owned(),
                data: &data,
            };
            return out.push(OortOutput::Deliver {
                channel: format!("/seti/{}", to.seti_id()),
                data: wire::json(&directed),
            });
        }
        match PartFrame::decode(frame) {
            Ok(PartFrame::Delta { bytes, .. }) => {
                if let Ok(change) = UserSet::decode_delta(&bytes) {
                    let presence = Presence {
                        user_ids: vec![change.user.as_str().to_owned()],
                        oort_url: peer.this_url.clone(),
                        presence: change.present,
                        replace: false,
                        alive: None,
                    };
                    deliver(&presence, out);
                }
            }
            // What it would hold is what the directory holds; of the pieces the first one stands for all.
            Ok(PartFrame::Snapshot { piece: 0, .. }) => self.list(peer, None, out),
            Ok(PartFrame::Pull { .. }) => {
                if let Some(users) = self.nodes.lock().get(&peer.url) {
                    out.push(users.snapshot(peer));
                }
            }
            Ok(PartFrame::Snapshot { .. } | PartFrame::Current { .. }) | Err(_) => {}
        }
    }

    fn received(&self, peer: &OortPeer, _: &str, data: &str, out: &mut Vec<OortOutput>) {
        if let Ok(presence) = serde_json::from_str::<Presence>(data) {
            self.presence(peer, &presence, out);
            if presence.alive == Some(true) {
                self.list(peer, None, out);
            }
        } else if let Ok(directed) = serde_json::from_str::<Directed<'_>>(data) {
            self.directed(&directed, out);
        }
    }

    fn subscribed(&self, peer: &OortPeer, channel: &str, out: &mut Vec<OortOutput>) {
        if channel == SETI_ALL {
            self.list(peer, Some(true), out);
        }
    }
}
