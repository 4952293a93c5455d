//! The floor: the least that a server can do for the fan-out load, to compare others with on the same machine.
//!
//! One thread, no sessions, no checks, no timers, no queues: it answers handshakes and subscriptions, and writes each
//! frame of publications at once to the subscribers, what goes to one of them in one write. Whatever a server spends
//! above this is the price of being one.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use tokio_tungstenite::{accept_async_with_config, tungstenite::protocol::WebSocketConfig};

use super::report::Report;

/// Largest frame that is read.
const FRAME_MAX: usize = 1 << 20;

/// The options of the floor.
#[derive(Debug, Args)]
pub(super) struct Floor {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// Seconds after which it ends.
    #[arg(long, default_value_t = 120.0)]
    seconds: f64,
}

#[derive(Debug, Default)]
struct Rooms {
    connections: Vec<Rc<TcpStream>>,
    /// Subscribers of each channel, by number of the connection.
    subscribers: HashMap<String, Vec<usize>>,
    /// The publications of the present frame that go to each connection.
    outgoing: Vec<Vec<usize>>,
    /// The connections to which any go.
    touched: Vec<usize>,
    deliveries: u64,
}

#[derive(Deserialize)]
struct Message<'a> {
    channel: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(default)]
    subscription: Option<&'a str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Floor {
    pub(super) async fn run(self) -> anyhow::Result<Report> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        eprintln!(
            "listening on {} as process {} for {} s",
            self.listen,
            std::process::id(),
            self.seconds
        );
        let rooms = Rc::new(RefCell::new(Rooms::default()));
        let serving = LocalSet::new();
        let accepting = serving.run_until(accept(listener, rooms.clone()));
        let seconds = Duration::from_secs_f64(self.seconds.clamp(0.0, 86_400.0));
        if let Ok(error) = tokio::time::timeout(seconds, accepting).await {
            return Err(error.into());
        }
        let mut report = Report::new("floor");
        report.count("deliveries", "deliveries", rooms.borrow().deliveries);
        Ok(report)
    }
}

/// Takes connections until that fails.
async fn accept(listener: TcpListener, rooms: Rc<RefCell<Rooms>>) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it the latencies are worse; the load runs all the same.
                let _ = stream.set_nodelay(true);
                tokio::task::spawn_local(serve(stream, rooms.clone()));
            }
            Err(error) => return error,
        }
    }
}

/// Serves one connection until anything is wrong with it.
async fn serve(stream: TcpStream, rooms: Rc<RefCell<Rooms>>) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(1024);
    let Ok(upgraded) = accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    let stream = Rc::new(upgraded.into_inner());
    let number = {
        let mut rooms = rooms.borrow_mut();
        rooms.connections.push(stream.clone());
        rooms.outgoing.push(Vec::new());
        rooms.connections.len() - 1
    };
    let mut bytes = Vec::new();
    while stream.readable().await.is_ok() {
        match stream.try_read_buf(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some(end) = unmask(&mut bytes) {
            let Ok(messages) = serde_json::from_slice::<Vec<Message<'_>>>(&bytes[end.0..end.1])
            else {
                return;
            };
            rooms.borrow_mut().frame(number, &messages);
            bytes.drain(..end.1);
        }
        if bytes.len() > FRAME_MAX {
            return;
        }
        if bytes.is_empty() {
            bytes = Vec::new();
        }
    }
}

/// Where the payload of the first frame begins and ends, when it is whole; it is unmasked in place.
fn unmask(bytes: &mut [u8]) -> Option<(usize, usize)> {
    let (start, len): (usize, usize) = match bytes.get(1)? & 0x7f {
        126 => (
            8,
            usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        ),
        127 => (
            14,
            usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?,
        ),
        len => (6, usize::from(len)),
    };
    let end = start.checked_add(len)?;
    let key: [u8; 4] = *bytes.get(start - 4..)?.first_chunk()?;
    let payload = bytes.get_mut(start..end)?;
    for (index, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[index % 4];
    }
    Some((start, end))
}

impl Rooms {
    /// Does what a frame asks for.
    fn frame(&mut self, number: usize, messages: &[Message<'_>]) {
        let (mut replies, mut events) = (Vec::new(), Vec::new());
        for Message {
            channel,
            id,
            subscription,
            data,
        } in messages
        {
            match (*channel, data) {
                ("/meta/connect", _) => continue,
                ("/meta/subscribe", _) => {
                    let channel = subscription.unwrap_or_default().to_owned();
                    self.subscribers.entry(channel).or_default().push(number);
                }
                (_, Some(data)) => {
                    for subscriber in self.subscribers.get(*channel).into_iter().flatten() {
                        let outgoing = &mut self.outgoing[*subscriber];
                        if outgoing.is_empty() {
                            self.touched.push(*subscriber);
                        }
                        outgoing.push(events.len());
                    }
                    events.push(format!(r#"{{"channel":"{channel}","data":{data}}}"#));
                }
                _ => {}
            }
            replies.push(format!(
                r#"{{"channel":"{channel}","id":{id},"successful":true,"clientId":"{number}"}}"#
            ));
        }
        let mut frame = Vec::new();
        for subscriber in self.touched.drain(..) {
            let outgoing = &mut self.outgoing[subscriber];
            self.deliveries += outgoing.len() as u64;
            write(
                &self.connections[subscriber],
                &mut frame,
                outgoing.drain(..).map(|event| events[event].as_str()),
            );
        }
        write(
            &self.connections[number],
            &mut frame,
            replies.iter().map(String::as_str),
        );
    }
}

/// Writes an array of messages in one frame; what the socket does not take is lost.
fn write<'a>(stream: &TcpStream, frame: &mut Vec<u8>, messages: impl Iterator<Item = &'a str>) {
    // The header is written last, right before the payload, when the length is known.
    const HEADER: usize = 4;
    frame.clear();
    frame.extend_from_slice(&[0; HEADER]);
    for message in messages {
        frame.push(if frame.len() == HEADER { b'[' } else { b',' });
        frame.extend_from_slice(message.as_bytes());
    }
    if frame.len() == HEADER {
        return;
    }
    frame.push(b']');
    let start = match frame.len() - HEADER {
        len @ 0..=125 => {
            frame[2..4].copy_from_slice(&[0x81, len as u8]);
            2
        }
        len => {
            // A frame of publications is bounded by `FRAME_MAX`, but only 16 bits are written here.
            let Ok(len) = u16::try_from(len) else { return };
            frame[0..2].copy_from_slice(&[0x81, 126]);
            frame[2..4].copy_from_slice(&len.to_be_bytes());
            0
        }
    };
    let _ = stream.try_write(&frame[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmasks_whole_frames_only() {
        let mut frame = vec![0x81, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2];
        assert_eq!(unmask(&mut frame[..7]), None);
        assert_eq!(unmask(&mut frame), Some((6, 8)));
        assert_eq!(&frame[6..], b"ab");
    }
}
