use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Longest channel name in bytes. Bounds what one lookup of a hostile name costs.
pub const CHANNEL_NAME_BYTES_MAX: usize = 1024;

/// Most segments of a channel name. Each segment is one more wildcard to look up when publishing.
pub const CHANNEL_SEGMENTS_MAX: usize = 64;

/// A channel name: validated and normalised (trailing spaces and one trailing `/` dropped).
///
/// Cheap to clone. Compares, orders and hashes as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// `/meta/...`: the protocol's own.
    Meta,
    /// `/service/...`: from a client to the node, never fanned out.
    Service,
    /// Everything else, including `/meta` and `/service` themselves and wildcards such as `/**`.
    Broadcast,
}

/// Not a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidChannel {
    /// Shorter than two characters, or no leading `/`.
    #[error("a channel name starts with '/' and has at least two characters")]
    Start,
    /// A character outside the allowed set.
    #[error(
        "a channel name holds ASCII letters, digits and the characters ` !#$()*+-./@_{{~}}` only"
    )]
    Character,
    /// Two slashes in a row.
    #[error("a channel name has no empty segment")]
    EmptySegment,
    /// `*` or `**` before the last segment, or together with a `{variable}`.
    #[error("a wildcard is the whole last segment, and not together with a variable")]
    Wildcard,
    /// Longer than [`CHANNEL_NAME_BYTES_MAX`] or more segments than [`CHANNEL_SEGMENTS_MAX`].
    #[error(
        "a channel name has at most {CHANNEL_NAME_BYTES_MAX} bytes and {CHANNEL_SEGMENTS_MAX} segments"
    )]
    TooLong,
}

const fn is_channel_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b' ' | b'!'
                | b'#'
                | b'$'
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'/'
                | b'@'
                | b'_'
                | b'{'
                | b'~'
                | b'}'
        )
}

impl ChannelName {
    /// Validates and normalises `text` (reference 5.3 for the characters, 6.1 for the structure).
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidChannel> {
        if text.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(InvalidChannel::TooLong);
        }
        if text.len() < 2 || !text.starts_with('/') {
            return Err(InvalidChannel::Start);
        }
        if !text.bytes().all(is_channel_byte) {
            return Err(InvalidChannel::Character);
        }
        let text = text.trim_end_matches(' ');
        let text = text.strip_suffix('/').unwrap_or(text);
        let Some(path) = text.strip_prefix('/') else {
            return Err(InvalidChannel::EmptySegment);
        };
        if path.ends_with(' ') {
            // Normalising twice must not give another name.
            return Err(InvalidChannel::Character);
        }
        let (mut segments, mut wild, mut variable) = (0, false, false);
        for segment in path.split('/') {
            if segment.is_empty() {
                return Err(InvalidChannel::EmptySegment);
            }
            if wild {
                return Err(InvalidChannel::Wildcard);
            }
            wild = matches!(segment, "*" | "**");
            variable |= segment.len() > 2 && segment.starts_with('{') && segment.ends_with('}');
            segments += 1;
        }
        if wild && variable {
            return Err(InvalidChannel::Wildcard);
        }
        if segments > CHANNEL_SEGMENTS_MAX {
            return Err(InvalidChannel::TooLong);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the channel is for.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        if self.0.starts_with("/meta/") {
            ChannelKind::Meta
        } else if self.0.starts_with("/service/") {
            ChannelKind::Service
        } else {
            ChannelKind::Broadcast
        }
    }

    /// Whether the last segment is `*` or `**`.
    #[must_use]
    pub fn is_wild(&self) -> bool {
        matches!(self.split().1, "*" | "**")
    }

    /// Whether the name is the cluster's own: `/oort`, `/seti` and everything below. No client reaches these.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        ["/oort", "/seti"].iter().any(|root| {
            self.0
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether this name, as a pattern, matches `channel`: itself, or a wildcard of its consulted list.
    #[must_use]
    pub fn matches(&self, channel: &Self) -> bool {
        if self == channel {
            return true;
        }
        let (parent, last) = self.split();
        match last {
            // Exactly one more segment, and `/foo/*` does not match its sibling wildcard `/foo/**`.
            "*" => {
                let (other, name) = channel.split();
                parent == other && name != "**"
            }
            "**" => channel
                .0
                .strip_prefix(parent)
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
            _ => false,
        }
    }

    /// Visits the channels whose subscribers a message to this channel reaches: itself, then the matching wildcards, most specific first.
    pub fn for_each_consulted(&self, mut visit: impl FnMut(&str)) {
        visit(&self.0);
        let (mut parent, last) = self.split();
        let mut wildcard = String::with_capacity(self.0.len() + 3);
        let mut push = |parent: &str, suffix: &str| {
            wildcard.clear();
            wildcard.push_str(parent);
            wildcard.push_str(suffix);
            visit(&wildcard);
        };
        match last {
            "**" => {}
            "*" => push(parent, "/**"),
            _ => {
                push(parent, "/*");
                push(parent, "/**");
            }
        }
        while let Some(at) = parent.rfind('/') {
            parent = &parent[..at];
            push(parent, "/**");
        }
    }

    /// The consulted list as names, see [`ChannelName::for_each_consulted`].
    #[must_use]
    pub fn consulted(&self) -> Vec<Self> {
        let mut out = Vec::new();
        self.for_each_consulted(|name| out.push(Self(Arc::from(name))));
        out
    }

    /// The parent path (without the slash between) and the last segment.
    fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    #[test]
    fn section_6_1_consulted_lists() {
        for (channel, list) in [
            ("/foo", vec!["/foo", "/*", "/**"]),
            (
                "/foo/bar/baz",
                vec![
                    "/foo/bar/baz",
                    "/foo/bar/*",
                    "/foo/bar/**",
                    "/foo/**",
                    "/**",
                ],
            ),
            ("/foo/*", vec!["/foo/*", "/foo/**", "/**"]),
            ("/foo/**", vec!["/foo/**", "/**"]),
            ("/*", vec!["/*", "/**"]),
            ("/**", vec!["/**"]),
        ] {
            let consulted = name(channel).consulted();
            let texts: Vec<_> = consulted.iter().map(ChannelName::as_str).collect();
            assert_eq!(texts, list, "{channel}");
        }
    }

    #[test]
    fn matches_agrees_with_the_consulted_list() {
        let names = [
            "/foo",
            "/bar",
            "/foo/bar",
            "/foo/bar/baz",
            "/*",
            "/**",
            "/foo/*",
            "/foo/**",
            "/foo/bar/*",
            "/foo/bar/**",
            "/foo*",
            "/foo/***",
            "/fo",
            "/foobar/x",
        ];
        for pattern in names {
            for channel in names {
                let expected = name(channel).consulted().contains(&name(pattern));
                assert_eq!(
                    name(pattern).matches(&name(channel)),
                    expected,
                    "{pattern} on {channel}"
                );
            }
        }
    }

    #[test]
    fn section_5_3_and_6_1_names() {
        for (text, normal) in [
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a ", "/a"),
            ("/foo/***", "/foo/***"),
            ("/foo*", "/foo*"),
            ("/a b!#$()*+-.@_{~}", "/a b!#$()*+-.@_{~}"),
            ("/x/{var}", "/x/{var}"),
        ] {
            assert_eq!(name(text).as_str(), normal);
        }
        for (text, error) in [
            ("", InvalidChannel::Start),
            ("/", InvalidChannel::Start),
            ("a/b", InvalidChannel::Start),
            (" /a", InvalidChannel::Start),
            ("/é", InvalidChannel::Character),
            ("/a?b", InvalidChannel::Character),
            ("/a\n", InvalidChannel::Character),
            ("/a /", InvalidChannel::Character),
            ("//", InvalidChannel::EmptySegment),
            ("/ ", InvalidChannel::EmptySegment),
            ("/a//b", InvalidChannel::EmptySegment),
            ("/a//", InvalidChannel::EmptySegment),
            ("/a/*/b", InvalidChannel::Wildcard),
            ("/**/b", InvalidChannel::Wildcard),
            ("/{x}/*", InvalidChannel::Wildcard),
        ] {
            assert_eq!(ChannelName::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(
            ChannelName::parse(&"/a".repeat(65)),
            Err(InvalidChannel::TooLong)
        );
        assert_eq!(
            ChannelName::parse(&format!("/{}", "a".repeat(1024))),
            Err(InvalidChannel::TooLong)
        );
    }

    #[test]
    fn kinds() {
        assert_eq!(name("/meta/connect").kind(), ChannelKind::Meta);
        assert_eq!(name("/meta").kind(), ChannelKind::Broadcast);
        assert_eq!(name("/service/x").kind(), ChannelKind::Service);
        assert_eq!(name("/service").kind(), ChannelKind::Broadcast);
        assert_eq!(name("/**").kind(), ChannelKind::Broadcast);
        for (text, internal) in [
            ("/oort", true),
            ("/oort/x", true),
            ("/seti/**", true),
            ("/oorty", false),
            ("/**", false),
        ] {
            assert_eq!(name(text).is_internal(), internal, "{text}");
        }
    }
}
