//! Who may do what: the application's own policy, alone or around the configured one.

use std::sync::Arc;

use halley::{
    ApplicationError, Attachment, BoxFuture, ChannelName, Decision, DefaultPolicy,
    HandshakeVerdict, Message, SecurityPolicy, Session, StartError, UserId, Verdict,
};
use serde_json::json;

use crate::support::Ws;
use crate::{builder, started};

/// Knows its users by a password, and lets nobody but the chief publish news.
struct Passwords {
    base: DefaultPolicy,
}

impl SecurityPolicy for Passwords {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let password = message.ext_field("password").unwrap_or("null").to_owned();
        let later: BoxFuture<HandshakeVerdict> = Box::pin(async move {
            tokio::task::yield_now().await;
            match password.as_str() {
                "\"open\"" => HandshakeVerdict::Grant {
                    user: UserId::new("ann").ok(),
                    attachment: Some(Attachment::new("member")),
                },
                _ => HandshakeVerdict::Deny {
                    reason: "wrong_password".into(),
                    advice: None,
                },
            }
        });
        Decision::Later(later)
    }

    fn can_create(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        self.base.can_create(session, channel, message)
    }

    fn can_subscribe(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        self.base.can_subscribe(session, channel, message)
    }

    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        if channel.as_str() == "/news" && session.attachment::<&str>() != Some(&"chief") {
            return Decision::Now(Verdict::Deny("not_the_chief".into()));
        }
        self.base.can_publish(session, channel, message)
    }
}

#[tokio::test]
async fn an_own_policy_decides_in_place_of_the_configured_one() {
    let policy = || Passwords {
        base: DefaultPolicy::new(false),
    };
    let node = started(builder().policy(policy())).await;
    let mut client = Ws::open(node.client_address()).await;
    let reply = client
        .exchange(json!({ "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["websocket"], "ext": { "password": "shut" } }))
        .await;
    assert_eq!(reply["error"], "403:wrong_password:handshake_denied");
    let mut client = Ws::joined_with(node.client_address(), json!({ "password": "open" })).await;
    assert_eq!(node.handle().users()[0].as_str(), "ann");
    let reply = client.publish("/news", json!(1)).await;
    assert_eq!(reply["error"], "403:not_the_chief:publish_denied");
    let reply = client.publish("/talk", json!(1)).await;
    assert_eq!(reply["successful"], true);

    for (text, key) in [
        (
            "[seti]\ntrust_handshake_user = true",
            "seti.trust_handshake_user",
        ),
        (
            "[[security.channels]]\npattern = \"/a\"",
            "security.channels",
        ),
    ] {
        let error = builder()
            .config_text(text)
            .policy(policy())
            .start()
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StartError::Application(ApplicationError::TwoPolicies(named)) if *named == key),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_policy_around_the_configured_one_may_ask_it() {
    struct Quiet(Arc<dyn SecurityPolicy>);
    impl SecurityPolicy for Quiet {
        fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
            self.0.can_handshake(message)
        }
        fn can_create(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            self.0.can_create(s, c, m)
        }
        fn can_subscribe(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            self.0.can_subscribe(s, c, m)
        }
        fn can_publish(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            if m.data() == Some("\"loud\"") {
                return Decision::Now(Verdict::Deny("too_loud".into()));
            }
            self.0.can_publish(s, c, m)
        }
    }
    let rules =
        "[[security.channels]]\npattern = \"/open\"\nsubscribe = [\"*\"]\npublish = [\"*\"]";
    let node = started(builder().config_text(rules).wrap_policy(Quiet)).await;
    let mut client = Ws::joined(node.client_address()).await;
    assert_eq!(
        client.publish("/open", json!("calm")).await["successful"],
        true
    );
    assert_eq!(
        client.publish("/open", json!("loud")).await["error"],
        "403:too_loud:publish_denied"
    );
    assert_eq!(
        client.publish("/closed", json!("calm")).await["error"],
        "403:denied_by_security_policy:channel_create_denied"
    );
}
