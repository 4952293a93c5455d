//! Channel names: a name is its own normal form, and the consulted channels are those that match.

#![no_main]

use halley_bayeux::{CHANNEL_NAME_BYTES_MAX, CHANNEL_SEGMENTS_MAX, ChannelName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(name) = ChannelName::parse(text) else {
        return;
    };
    assert!(text.starts_with(name.as_str()) && text.len() <= CHANNEL_NAME_BYTES_MAX);
    assert_eq!(
        ChannelName::parse(name.as_str()).as_ref(),
        Ok(&name),
        "read anew"
    );
    let consulted = name.consulted();
    assert!(consulted.len() <= CHANNEL_SEGMENTS_MAX + 3);
    for pattern in consulted {
        assert!(
            pattern.matches(&name),
            "{} does not match {text}",
            pattern.as_str()
        );
    }
});
