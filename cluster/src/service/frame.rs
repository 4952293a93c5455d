//! What the nodes say about actions.
//!
//! ```text
//! request  1, id u64, length of the service's name u16, name, parameter
//! result   2, id u64, verdict u8, data
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ForwardError;
use crate::NodeName;
use crate::parts::Malformed;

const MALFORMED: Malformed = Malformed("service frame");
const REQUEST: u8 = 1;
const RESULT: u8 = 2;
/// Longest name of a service.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// How an action went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    Success = 0,
    Failure = 1,
    NoService = 2,
    Busy = 3,
    Dropped = 4,
    /// The result was too large; its size follows, as u64.
    TooLarge = 5,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceFrame {
    Request {
        id: u64,
        service: String,
        parameter: Bytes,
    },
    Result {
        id: u64,
        verdict: Verdict,
        data: Bytes,
    },
}

impl ServiceFrame {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Request {
                id,
                service,
                parameter,
            } => {
                out.reserve(11 + service.len() + parameter.len());
                out.put_u8(REQUEST);
                out.put_u64_le(*id);
                // At most 256 bytes.
                out.put_u16_le(service.len() as u16);
                out.put_slice(service.as_bytes());
                out.put_slice(parameter);
            }
            Self::Result { id, verdict, data } => {
                out.reserve(10 + data.len());
                out.put_u8(RESULT);
                out.put_u64_le(*id);
                out.put_u8(*verdict as u8);
                out.put_slice(data);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() < 10 {
            return Err(MALFORMED);
        }
        let (tag, id) = (bytes.get_u8(), bytes.get_u64_le());
        match tag {
            REQUEST => {
                let length = usize::from(bytes.try_get_u16_le().map_err(|_| MALFORMED)?);
                if length > bytes.len() || length > NAME_BYTES_MAX {
                    return Err(MALFORMED);
                }
                let name = bytes.split_to(length);
                let service = std::str::from_utf8(&name).map_err(|_| MALFORMED)?;
                Ok(Self::Request {
                    id,
                    service: service.to_owned(),
                    parameter: bytes,
                })
            }
            RESULT => {
                let verdict = match bytes.get_u8() {
                    0 => Verdict::Success,
                    1 => Verdict::Failure,
                    2 => Verdict::NoService,
                    3 => Verdict::Busy,
                    4 => Verdict::Dropped,
                    5 => Verdict::TooLarge,
                    _ => return Err(MALFORMED),
                };
                Ok(Self::Result {
                    id,
                    verdict,
                    data: bytes,
                })
            }
            _ => Err(MALFORMED),
        }
    }
}

/// What a verdict means to the caller.
pub(super) fn outcome(
    verdict: Verdict,
    data: Bytes,
    owner: &NodeName,
    bytes_max: usize,
) -> Result<Bytes, ForwardError> {
    match verdict {
        Verdict::Success if data.len() > bytes_max => Err(ForwardError::TooLarge {
            size: data.len(),
            max: bytes_max,
        }),
        Verdict::Success => Ok(data),
        Verdict::Failure => Err(ForwardError::Failed(data)),
        Verdict::NoService => Err(ForwardError::NoService(owner.clone())),
        Verdict::Busy => Err(ForwardError::Busy(owner.clone())),
        Verdict::Dropped => Err(ForwardError::Dropped),
        Verdict::TooLarge => Err(ForwardError::TooLarge {
            size: data
                .as_ref()
                .try_into()
                .map_or(usize::MAX, |size| u64::from_le_bytes(size) as usize),
            max: bytes_max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_back_and_cut_ones_do_not_decode() {
        let request = ServiceFrame::Request {
            id: 7,
            service: "edit".into(),
            parameter: Bytes::from_static(b"{}"),
        };
        let bytes = request.encode();
        assert_eq!(ServiceFrame::decode(bytes.clone()), Ok(request));
        for cut in 0..bytes.len() - 2 {
            assert!(ServiceFrame::decode(bytes.slice(..cut)).is_err(), "{cut}");
        }
        let result = ServiceFrame::Result {
            id: 7,
            verdict: Verdict::Busy,
            data: Bytes::new(),
        };
        assert_eq!(ServiceFrame::decode(result.encode()), Ok(result));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(frame) = ServiceFrame::decode(bytes.into()) {
                prop_assert_eq!(ServiceFrame::decode(frame.encode()), Ok(frame));
            }
        }
    }
}
