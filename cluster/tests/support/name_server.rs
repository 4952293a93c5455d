//! A name server on loopback, just large enough for the resolver: UDP, one question per datagram, no compression.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A record.
#[derive(Clone, Debug)]
pub enum Answer {
    A(Ipv4Addr),
    /// Port and host.
    Srv(u16, String),
}

type Zone = BTreeMap<String, Vec<Answer>>;

#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let served = zone.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(answer) = answer(&buffer[..length], &served.lock()) {
                    socket.try_send_to(&answer, from).unwrap();
                }
            }
        });
        Self {
            address,
            zone,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the records of an absolute name.
    pub fn set(&self, name: &str, answers: Vec<Answer>) {
        self.zone.lock().insert(name.into(), answers);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;

fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut name = String::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name += &String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase();
        name.push('.');
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let question = query.get(12..at + 4)?;
    let known = zone.get(&name);
    let records: Vec<Vec<u8>> = known
        .into_iter()
        .flatten()
        .filter_map(|record| data(record, kind))
        .collect();
    let status = if known.is_some() { 0 } else { 3 };
    let mut out = query[..2].to_vec();
    // A response with authority and recursion; one question, so many answers.
    out.extend([
        0x85,
        0x80 | status,
        0,
        1,
        0,
        records.len() as u8,
        0,
        0,
        0,
        0,
    ]);
    out.extend(question);
    for data in records {
        // The name of the question, the type, class IN, a TTL of a minute.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

fn data(record: &Answer, kind: u16) -> Option<Vec<u8>> {
    match record {
        Answer::A(ip) if kind == TYPE_A => Some(ip.octets().to_vec()),
        Answer::Srv(port, host) if kind == TYPE_SRV => {
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            for label in host.split_terminator('.') {
                data.push(label.len() as u8);
                data.extend(label.bytes());
            }
            data.push(0);
            Some(data)
        }
        _ => None,
    }
}
