//! The datagram by which a node makes itself known: version, body, MAC.
//!
//! Anybody can send a recorded one again. That can at most cause one dial to an allowed address, where the node must
//! prove itself anew.

use serde::{Deserialize, Serialize};

use crate::auth::{datagram_mac, same};
use crate::wire::{MAC_BYTES, decode_body, encode_body};
use crate::{Member, Secrets};

/// Version of the datagram's layout.
const VERSION: u8 = 1;
/// Fits into one packet on every network in use.
pub(super) const DATAGRAM_BYTES_MAX: usize = 1400;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Advert {
    pub(super) member: Member,
    /// Grows with every datagram of one incarnation.
    pub(super) counter: u64,
}

impl Advert {
    /// The datagram, unless it would be too long.
    pub(super) fn seal(&self, secrets: &Secrets) -> Option<Vec<u8>> {
        let mut datagram = vec![VERSION];
        datagram.extend_from_slice(&encode_body(self));
        let mac = datagram_mac(secrets.first(), &datagram);
        datagram.extend_from_slice(&mac);
        (datagram.len() <= DATAGRAM_BYTES_MAX).then_some(datagram)
    }

    /// Reads a datagram. Nothing in it is looked at before the MAC is right.
    pub(super) fn open(datagram: &[u8], secrets: &Secrets) -> Option<Self> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        let (signed, mac) = datagram.split_last_chunk::<MAC_BYTES>()?;
        secrets.find(|secret| same(&datagram_mac(secret, signed), mac))?;
        match signed {
            [VERSION, body @ ..] => decode_body(body).ok(),
            _ => None,
        }
    }
}

/// Opens bytes as a datagram, and as the signed part of one: nothing but a right MAC gets past the first check.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let secret = crate::Secret::new(&[7; 32]).expect("long enough");
    let secrets = Secrets::from(secret.clone());
    assert!(Advert::open(bytes, &secrets).is_none(), "a forged MAC");
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&datagram_mac(&secret, bytes));
    if let Some(advert) = Advert::open(&sealed, &secrets) {
        assert_eq!(advert.seal(&secrets), Some(sealed), "sealed anew");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeName, Secret};

    fn secret(byte: u8) -> Secrets {
        Secret::new(&[byte; 32]).unwrap().into()
    }

    fn advert(url: &str) -> Advert {
        Advert {
            member: Member {
                name: NodeName::new("n1").unwrap(),
                incarnation: Incarnation(1),
                mesh_address: "10.0.0.1:7400".parse().unwrap(),
                client_url: url.into(),
            },
            counter: 3,
        }
    }

    #[test]
    fn only_whole_datagrams_of_the_cluster_are_read() {
        let secret = secret(1);
        let datagram = advert("ws://x").seal(&secret).unwrap();
        assert_eq!(Advert::open(&datagram, &secret), Some(advert("ws://x")));
        assert_eq!(Advert::open(&datagram, &self::secret(2)), None);
        for cut in 0..datagram.len() {
            assert_eq!(Advert::open(&datagram[..cut], &secret), None);
        }
        for at in 0..datagram.len() {
            let mut forged = datagram.clone();
            forged[at] ^= 1;
            assert_eq!(Advert::open(&forged, &secret), None, "byte {at}");
        }
        assert_eq!(Advert::open(&[0; 2000], &secret), None);
    }

    #[test]
    fn while_secrets_are_rotated_the_first_seals_and_all_open() {
        let (old, new) = ("o".repeat(32), "n".repeat(32));
        let secrets = |text: String| Secrets::from_lines(text.as_bytes()).unwrap();
        let new_first = secrets(format!("{new}\n{old}"));
        let datagram = advert("ws://x").seal(&new_first).unwrap();
        let old_first = secrets(format!("{old}\n{new}"));
        assert!(Advert::open(&datagram, &old_first).is_some());
        assert!(Advert::open(&datagram, &secrets(new)).is_some());
        assert!(Advert::open(&datagram, &secrets(old)).is_none());
    }

    #[test]
    fn one_that_is_too_long_is_not_made() {
        let secret = secret(1);
        assert_eq!(advert(&"x".repeat(1400)).seal(&secret), None);
    }
}
