//! A message to a user as bytes.

use halley_bayeux::{ChannelName, Json, Publication, UserId};
use proptest::prelude::*;

use crate::seti::message::{decode, encode};

#[test]
fn a_message_keeps_user_channel_and_object() {
    let user = UserId::new("alice é").unwrap();
    let channel = ChannelName::parse("/service/user").unwrap();
    let sent = Publication::new(&channel, Json::validate(r#"{"a":1.50}"#, 8).unwrap());
    let bytes = encode(&user, &sent);
    let (to, received) = decode(&bytes).unwrap();
    assert_eq!(
        (to, received.channel(), received.object()),
        (user, &channel, sent.object())
    );
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode(&bytes);
    }
}
