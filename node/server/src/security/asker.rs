use std::collections::BTreeMap;
use std::net::IpAddr;

use halley_bayeux::Message;
use serde::Serialize;

/// Who asks: what hooks are told of the request that brought a message; over WebSocket of the request that opened the connection.
#[derive(Serialize)]
pub(crate) struct Asker<'a> {
    transport: &'static str,
    address: Option<IpAddr>,
    /// The configured headers that the request has, of several the first. Absent when none are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, &'a str>>,
}

impl<'a> Asker<'a> {
    /// With those of the headers `names` that the request has.
    pub(crate) fn of(message: &Message<'a>, names: &'a [String]) -> Self {
        let request = message.request();
        let value = |name: &'a String| Some((name.as_str(), request.header(name)?));
        Self {
            transport: request.transport().name(),
            address: request.remote_address(),
            headers: (!names.is_empty()).then(|| names.iter().filter_map(value).collect()),
        }
    }
}
