//! What one publisher sends to channels, and to users, arrives on another node in the order in which it was sent.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel as pipe};

use bytes::Bytes;
use halley_bayeux::{Json, LocalSession, Publication, UserId};
use halley_cluster::{Member, StateChannel, StateHandler, StateSender};
use parking_lot::Mutex;
use support::{Inbox, Node, channel, eventually, mesh};

const NEWS: &str = "/shop/news";
/// Longer than what goes into one write, so that writes end in between.
const LONG: usize = 40_000;

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

/// A session of alice on `to` that is subscribed to the news, as soon as `from` knows of both.
async fn alice_at(to: &Node, from: &Node) -> (LocalSession, Arc<Inbox>) {
    let inbox = Arc::new(Inbox::default());
    let session = to.engine.local_session(Some(alice()), inbox.clone());
    session
        .subscribe(&channel(NEWS), to.clock.now())
        .await
        .unwrap();
    from.until_reached(NEWS, &inbox).await;
    let seti = from.cluster.seti();
    eventually("alice is known", || seti.is_present(&alice())).await;
    (session, inbox)
}

fn to_alice(from: &Node, data: &str) {
    let data = Json::validate(data, 4).unwrap();
    let outcome = from
        .cluster
        .seti()
        .send(&alice(), &Publication::new(&channel("/shop/inbox"), data));
    assert_eq!((outcome.nodes.len(), outcome.refused.len()), (1, 0));
}

/// Sends that many messages, in turns to the channel and to the user, without giving way in between.
fn send(from: &Node, count: usize) -> Vec<String> {
    let message = |number: usize| match number % 7 {
        0 => format!("\"{number} {}\"", "x".repeat(LONG)),
        _ => format!("\"{number}\""),
    };
    let sent: Vec<_> = (0..count).map(message).collect();
    for (number, data) in sent.iter().enumerate() {
        match number % 3 {
            0 | 2 if number % 2 == 0 => to_alice(from, data),
            _ => from.publish(NEWS, data),
        }
    }
    sent
}

fn received(inbox: &Inbox) -> Vec<String> {
    let data = inbox.data().into_iter();
    data.filter(|data| data != "\"probe\"").collect()
}

/// The numbers alone: a failure is to be read.
fn numbers(messages: &[String]) -> Vec<&str> {
    messages
        .iter()
        .map(|text| text.trim_matches('"').split(' ').next().unwrap())
        .collect()
}

/// One thread: all is queued before the link's writer takes any of it.
#[tokio::test]
async fn publications_and_messages_to_a_user_keep_one_order() {
    let nodes = mesh(&["a", "b"]).await;
    let (_session, inbox) = alice_at(&nodes[1], &nodes[0]).await;
    let sent = send(&nodes[0], 200);
    eventually("all messages", || received(&inbox).len() == sent.len()).await;
    let got = received(&inbox);
    assert_eq!(numbers(&got), numbers(&sent));
    assert!(got == sent, "to the letter");
    for node in nodes {
        node.stop().await;
    }
}

/// Holds up the task of the cluster, which takes in what goes by the lane of state.
struct Gate {
    entered: Sender<()>,
    open: Mutex<Receiver<()>>,
}

impl StateHandler for Gate {
    fn joined(&self, _: &Member) {}
    fn left(&self, _: &Member) {}
    fn received(&self, _: &Member, _: Bytes) {
        self.entered.send(()).unwrap();
        let _ = self.open.lock().recv();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_holds_while_the_lane_of_state_is_held_back() {
    const HELD: StateChannel = StateChannel(200);
    let nodes = mesh(&["a", "b"]).await;
    let (_session, inbox) = alice_at(&nodes[1], &nodes[0]).await;
    let (entered, has_entered) = pipe();
    let (open, opened) = pipe();
    let gate = Gate {
        entered,
        open: Mutex::new(opened),
    };
    nodes[1].cluster.register(HELD, Arc::new(gate));
    let b = nodes[1].cluster.this_node().id();
    // A handler is taken over by the same task that calls it: what comes before is not for it.
    eventually("the lane of state is held", || {
        let held = nodes[0]
            .cluster
            .send_state(&b, HELD, Bytes::from_static(b"wait"));
        held.unwrap();
        has_entered.try_recv().is_ok()
    })
    .await;
    let sent = send(&nodes[0], 50);
    eventually("all messages", || received(&inbox).len() == sent.len()).await;
    assert_eq!(numbers(&received(&inbox)), numbers(&sent));
    drop(open);
    for node in nodes {
        node.stop().await;
    }
}

/// The last words to a user whose sessions are ended reach it, as everything before them.
#[tokio::test]
async fn a_user_is_shown_out_after_what_was_sent_to_it() {
    let nodes = mesh(&["a", "b"]).await;
    let (session, inbox) = alice_at(&nodes[1], &nodes[0]).await;
    let sent = send(&nodes[0], 50);
    to_alice(&nodes[0], "\"goodbye\"");
    assert_eq!(nodes[0].cluster.seti().disconnect(&alice()).nodes.len(), 1);
    nodes[0].publish(NEWS, "\"too late\"");
    let id = *session.session().id();
    eventually("the session has ended", || {
        nodes[1].engine.session(&id).is_none()
    })
    .await;
    let got = received(&inbox);
    let (last, before) = got.split_last().unwrap();
    assert_eq!(numbers(before), numbers(&sent));
    assert_eq!(last, "\"goodbye\"");
    for node in nodes {
        node.stop().await;
    }
}
