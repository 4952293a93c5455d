//! Reads the body of a request, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::unfinished::Part;

/// Bytes of a too large body that are read and dropped before the answer, so that a client that writes first and reads
/// afterwards gets it.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Time for that; a client that waits for the answer before it sends the body waits no longer.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(300);

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    TooLarge,
    Broken,
    /// All clients together have begun too much.
    Crowded,
}

/// Reads the whole body, at most `bytes_max`; one that came in one piece is not copied. What has come of one that is not whole yet counts in `unfinished`.
pub(crate) async fn read_body<B>(
    mut body: B,
    bytes_max: usize,
    mut unfinished: Option<Part>,
) -> Result<Bytes, BodyFault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        drain(body).await;
        return Err(BodyFault::TooLarge);
    }
    let mut whole = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
            continue;
        };
        let so_far = joined.as_ref().map_or(whole.len(), BytesMut::len);
        if so_far + data.len() > bytes_max {
            drain(body).await;
            return Err(BodyFault::TooLarge);
        }
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&data),
            None if whole.is_empty() => whole = data,
            None => {
                let mut both =
                    BytesMut::with_capacity((whole.len() + data.len()).max(declared as usize));
                // Taken and not borrowed: the first piece holds the connection's read buffer.
                both.extend_from_slice(&std::mem::take(&mut whole));
                both.extend_from_slice(&data);
                joined = Some(both);
            }
        }
        if let Some(unfinished) = &mut unfinished
            && !body.is_end_stream()
        {
            let held = joined.as_ref().map_or(whole.len(), BytesMut::capacity);
            if !unfinished.set(held) {
                return Err(BodyFault::Crowded);
            }
        }
    }
    Ok(joined.map_or(whole, BytesMut::freeze))
}

async fn drain<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
    })
    .await;
}

/// No charset, or UTF-8.
pub(crate) fn is_utf8(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let Ok(kind) = kind.to_str() else {
        return false;
    };
    kind.split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| {
            let charset = charset.trim().trim_matches('"');
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
        })
}
