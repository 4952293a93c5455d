//! Frames byte by byte, against `halley ws-echo`: fragments, control frames, UTF-8, reserved bits, close codes. A small
//! part of the Autobahn suite (docs/websocket.md) that runs everywhere.

mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use support::{Http, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The last frame of a message.
const FIN: u8 = 0x80;

/// The echo server, which ends with the test.
struct Echo {
    _process: Child,
    address: SocketAddr,
}

impl Echo {
    async fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_halley"))
            .args(["ws-echo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("halley runs");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let line = within("the address", lines.next_line()).await;
        let line = line.expect("UTF-8").expect("a line");
        let address = line
            .strip_prefix("ws://")
            .and_then(|rest| rest.strip_suffix('/'))
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("an address was expected: {line}"));
        Self {
            _process: process,
            address,
        }
    }

    async fn open(&self) -> Raw {
        let mut http = Http::connect(self.address).await;
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ];
        let answer = http.request("GET", "/any/path", &headers, b"").await;
        assert_eq!(answer.status, 101);
        assert_eq!(
            answer.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        Raw { http }
    }

    /// The code with which the node answers the frames; they may come in one write.
    async fn code(&self, frames: &[Vec<u8>]) -> u16 {
        let mut raw = self.open().await;
        raw.http.raw(&frames.concat()).await;
        raw.close_code().await
    }
}

/// A connection on which frames are written and read.
struct Raw {
    http: Http,
}

impl Raw {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.http.raw(&frame(first, payload)).await;
    }

    /// First byte and payload of the next frame.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        within("a frame", async {
            let mut head = [0; 2];
            self.read(&mut head).await;
            assert_eq!(head[1] & 0x80, 0, "a server does not mask");
            let length = match head[1] {
                126 => {
                    let mut more = [0; 2];
                    self.read(&mut more).await;
                    usize::from(u16::from_be_bytes(more))
                }
                127 => {
                    let mut more = [0; 8];
                    self.read(&mut more).await;
                    u64::from_be_bytes(more) as usize
                }
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.read(&mut payload).await;
            (head[0], payload)
        })
        .await
    }

    async fn read(&mut self, into: &mut [u8]) {
        let ready = self.http.buffer.len().min(into.len());
        for (to, from) in into.iter_mut().zip(self.http.buffer.drain(..ready)) {
            *to = from;
        }
        let rest = &mut into[ready..];
        self.http.stream.read_exact(rest).await.expect("bytes");
    }

    /// Reads the node's close frame, and the end of the connection after it.
    async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.next().await;
        assert_eq!(first, FIN | CLOSE, "{payload:?}");
        self.http.closed().await;
        match payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => panic!("a close frame without code"),
        }
    }
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        middle @ ..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

#[tokio::test]
async fn text_and_binary_of_every_length_form() {
    let echo = Echo::start().await;
    let mut raw = echo.open().await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 300_000] {
        let payload = vec![b'x'; length];
        for opcode in [TEXT, BINARY] {
            raw.send(FIN | opcode, &payload).await;
            assert_eq!(
                raw.next().await,
                (FIN | opcode, payload.clone()),
                "{length}"
            );
        }
    }
}

#[tokio::test]
async fn fragments_and_control_frames_between_them() {
    let echo = Echo::start().await;
    let mut raw = echo.open().await;
    // "grüße", cut within both letters, with a ping after each piece.
    let text = "grüße".as_bytes();
    for (at, piece) in [&text[..3], &text[3..5], &text[5..]].iter().enumerate() {
        let first = match at {
            0 => TEXT,
            1 => CONTINUATION,
            _ => FIN | CONTINUATION,
        };
        raw.send(first, piece).await;
        if at < 2 {
            raw.send(FIN | PING, b"between").await;
            assert_eq!(raw.next().await, (FIN | PONG, b"between".to_vec()));
            raw.send(FIN | PONG, b"unasked").await;
        }
    }
    assert_eq!(raw.next().await, (FIN | TEXT, text.to_vec()));
    // Empty pieces, and a message byte by byte on the wire.
    raw.send(BINARY, b"").await;
    raw.send(CONTINUATION, b"").await;
    for byte in frame(FIN | CONTINUATION, b"end") {
        raw.http.raw(&[byte]).await;
    }
    assert_eq!(raw.next().await, (FIN | BINARY, b"end".to_vec()));
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let echo = Echo::start().await;
    for frames in [
        vec![frame(FIN | TEXT, b"\xff")],
        // Cut off within a character at the end of the message.
        vec![frame(FIN | TEXT, b"a\xc3")],
        // A surrogate, an overlong form, beyond the last character.
        vec![frame(FIN | TEXT, b"\xed\xa0\x80")],
        vec![frame(FIN | TEXT, b"\xc0\xaf")],
        vec![frame(FIN | TEXT, b"\xf4\x90\x80\x80")],
        // Across two fragments, and told before the message is complete.
        vec![frame(TEXT, b"\xce"), frame(FIN | CONTINUATION, b"\xce")],
        vec![frame(TEXT, b"\xf4"), frame(CONTINUATION, b"\x90\x80\x80")],
        // The reason of a close frame is text too.
        vec![frame(FIN | CLOSE, b"\x03\xe8\xff")],
    ] {
        assert_eq!(echo.code(&frames).await, 1007, "{frames:?}");
    }
}

#[tokio::test]
async fn violations_close_with_1002() {
    let echo = Echo::start().await;
    let mut violations = vec![
        // Reserved bits without an extension.
        vec![frame(FIN | 0x40 | TEXT, b"a")],
        vec![frame(FIN | 0x20 | TEXT, b"a")],
        vec![frame(FIN | 0x10 | PING, b"a")],
        // Control frames that are too long, or in pieces.
        vec![frame(FIN | PING, &[0; 126])],
        vec![frame(PING, b"a")],
        vec![frame(FIN | CLOSE, &[3; 126])],
        // A continuation of nothing; a new message within another.
        vec![frame(FIN | CONTINUATION, b"a")],
        vec![frame(CONTINUATION, b"a")],
        vec![frame(TEXT, b"a"), frame(FIN | TEXT, b"b")],
        vec![frame(TEXT, b"a"), frame(BINARY, b"b")],
        // A close frame with one byte, which is no code.
        vec![frame(FIN | CLOSE, &[3])],
        // Not masked.
        vec![vec![FIN | TEXT, 1, b'a']],
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        violations.push(vec![frame(FIN | opcode, b"a")]);
    }
    for code in [
        0_u16, 999, 1004, 1005, 1006, 1015, 1100, 2000, 2999, 5000, 65_535,
    ] {
        violations.push(vec![frame(FIN | CLOSE, &code.to_be_bytes())]);
    }
    for frames in violations {
        assert_eq!(echo.code(&frames).await, 1002, "{frames:02x?}");
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let echo = Echo::start().await;
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        let close = [&code.to_be_bytes()[..], b"why"].concat();
        // What comes after a close frame is not looked at.
        let frames = [frame(FIN | CLOSE, &close), frame(FIN | TEXT, b"late")];
        assert_eq!(echo.code(&frames).await, code);
    }
    let mut raw = echo.open().await;
    raw.send(FIN | CLOSE, b"").await;
    let (first, payload) = raw.next().await;
    assert_eq!((first, payload.len()), (FIN | CLOSE, 0));
    raw.http.closed().await;
}

#[tokio::test]
async fn a_message_over_the_bound_closes_with_1009() {
    let echo = Echo::start().await;
    let mut raw = echo.open().await;
    // The head alone is enough: nothing is allocated for what is only announced.
    let head = [
        &[FIN | BINARY, 0x80 | 127][..],
        &(33_u64 << 20).to_be_bytes(),
        &[0; 4],
    ]
    .concat();
    raw.http.raw(&head).await;
    assert_eq!(raw.close_code().await, 1009);
}

#[tokio::test]
async fn what_is_not_an_upgrade_is_refused() {
    let echo = Echo::start().await;
    let answer = Http::connect(echo.address)
        .await
        .request("GET", "/", &[], b"")
        .await;
    assert_eq!(answer.status, 400);
}
