use proptest::prelude::*;

use super::*;
use crate::{Incarnation, NodeName};

fn identity() -> Member {
    Member {
        name: NodeName::new("n1").unwrap(),
        incarnation: Incarnation(0x0102),
        mesh_address: "10.0.0.1:7400".parse().unwrap(),
        client_url: "ws://x".into(),
    }
}

fn ping(clock: u64, rtt_us: u64) -> Frame {
    Frame::Ping(Ping { clock, rtt_us })
}

fn pong(clock: u64, frames: u64, publications: u64) -> Frame {
    let received = Received {
        frames,
        publications,
    };
    Frame::Pong(Pong { clock, received })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes on the wire are fixed: a change of one of these lines is a new version of the dialect.
#[test]
fn golden_vectors() {
    let identity_hex = "02000000000000006e31\
                        0201000000000000\
                        000000000a000001e81c\
                        060000000000000077733a2f2f78";
    let nonce = "11".repeat(32);
    let mac = "22".repeat(32);
    let cases: Vec<(Frame, String)> = vec![
        (
            Frame::Hello(Hello {
                version_min: 1,
                version_max: 2,
                nonce: [0x11; 32],
            }),
            format!("00010102{nonce}"),
        ),
        (
            Frame::Challenge(Challenge {
                version: 1,
                nonce: [0x11; 32],
            }),
            format!("010201{nonce}"),
        ),
        (
            Frame::Proof(Proof {
                identity: identity(),
                uptime_ms: 5,
                link: LinkClaim::default(),
                mac: [0x22; 32],
            }),
            format!("0103{identity_hex}0500000000000000{mac}"),
        ),
        (
            Frame::Welcome(Welcome {
                identity: identity(),
                reached: Reached::default(),
                mac: [0x22; 32],
            }),
            format!("0104{identity_hex}{mac}"),
        ),
        (
            Frame::Refused(Refused {
                reason: Refusal::NameTaken {
                    holder: "10.0.0.1:7400".parse().unwrap(),
                },
                mac: [0x22; 32],
            }),
            format!("010501000000000000000a000001e81c{mac}"),
        ),
        (ping(3, 0), "01100300000000000000".into()),
        (pong(3, 0, 0), "01110300000000000000".into()),
        (
            Frame::Interest(Interest {
                added: vec!["/a".into()],
                removed: vec![],
                snapshot_end: true,
            }),
            "0112010000000000000002000000000000002f61000000000000000001".into(),
        ),
        (
            Frame::Known(vec!["[::1]:80".parse().unwrap()]),
            "0113010000000000000001000000000000000000000000000000000000015000".into(),
        ),
        (Frame::Leaving, "0114".into()),
        (
            Frame::State(State {
                channel: 2,
                last: true,
                body: Bytes::from_static(b"xy"),
            }),
            "012002017879".into(),
        ),
        (
            Frame::Publications(Publications {
                first_sequence: 9,
                items: vec![(Bytes::from_static(b"/a"), Bytes::from_static(b"{}"))],
            }),
            "01300900000000000000010000000000000002000000000000002f6102000000000000007b7d".into(),
        ),
    ];
    for (frame, expected) in cases {
        let bytes = frame.encode(1);
        assert_eq!(hex(&bytes), expected, "{frame:?}");
        assert_eq!(Frame::decode(&bytes), Ok(frame));
    }
}

/// What version 2 says otherwise than version 1.
#[test]
fn golden_vectors_of_version_2() {
    let identity_hex = "02000000000000006e31\
                        0201000000000000\
                        000000000a000001e81c\
                        060000000000000077733a2f2f78";
    let mac = "22".repeat(32);
    let link = LinkClaim {
        id: 6,
        resumes: true,
    };
    let reached = Reached {
        received: Received {
            frames: 7,
            publications: 8,
        },
        former: Some((9, 10)),
    };
    let cases: Vec<(Frame, String)> = vec![
        (
            Frame::Proof(Proof {
                identity: identity(),
                uptime_ms: 5,
                link,
                mac: [0x22; 32],
            }),
            format!("0203{identity_hex}0500000000000000060000000000000001{mac}"),
        ),
        (
            Frame::Welcome(Welcome {
                identity: identity(),
                reached,
                mac: [0x22; 32],
            }),
            format!(
                "0204{identity_hex}070000000000000008000000000000000109000000000000000a00000000000000{mac}"
            ),
        ),
        (
            Frame::Refused(Refused {
                reason: Refusal::LinkEnded,
                mac: [0x22; 32],
            }),
            format!("020506000000{mac}"),
        ),
        (ping(3, 4), "021003000000000000000400000000000000".into()),
        (
            pong(3, 4, 5),
            "0211030000000000000004000000000000000500000000000000".into(),
        ),
        (Frame::Leaving, "0214".into()),
    ];
    for (frame, expected) in cases {
        let bytes = frame.encode(2);
        assert_eq!(hex(&bytes), expected, "{frame:?}");
        assert_eq!(Frame::decode(&bytes), Ok(frame));
    }
}

#[test]
fn truncated_and_longer_frames_are_refused() {
    let frame = Frame::Proof(Proof {
        identity: identity(),
        uptime_ms: 5,
        link: LinkClaim::default(),
        mac: [0x22; 32],
    });
    let bytes = frame.encode(1);
    for cut in 0..bytes.len() {
        assert!(Frame::decode(&bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(Frame::decode(&longer.into()), Err(FrameError::Malformed));
}

#[test]
fn versions_and_kinds_are_checked() {
    assert_eq!(
        Frame::decode(&Bytes::from_static(&[9, 20])),
        Err(FrameError::Version(9))
    );
    assert_eq!(
        Frame::decode(&Bytes::from_static(&[0, 20])),
        Err(FrameError::Version(0))
    );
    assert_eq!(
        Frame::decode(&Bytes::from_static(&[1, 99])),
        Err(FrameError::Kind(99))
    );
    // A hostile length does not allocate.
    let mut known = vec![1, KIND_KNOWN];
    known.extend_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(Frame::decode(&known.into()), Err(FrameError::Malformed));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..128) {
        if bytes.len() > 1 {
            bytes[0] = 1 + kind % 2;
            bytes[1] = kind / 2;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(frame) = Frame::decode(&bytes) {
            prop_assert_eq!(Frame::decode(&frame.encode(bytes[0].max(1))), Ok(frame));
        }
    }
}
