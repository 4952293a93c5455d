//! An application that decides itself who its clients are: a `SecurityPolicy` with accounts, and an authorizer.
//!
//! ```sh
//! cargo run -p halley --example authenticated -- 127.0.0.1:8080
//! ```
//!
//! Clients put `{"login": {"name": "ann", "password": "…"}}` into the `ext` of their handshake.
//!
//! - Without a login that is right there is no session.
//! - Only editors publish on `/news/…`; everybody reads it.
//! - `/inbox/<name>` is subscribed to by its owner alone.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use halley::{
    Attachment, Authorization, ChannelName, Decision, DefaultPolicy, HandshakeVerdict, Message,
    Node, Operation, SecurityPolicy, Session, UserId, Verdict,
};
use serde::Deserialize;

/// What an account may do. The policy attaches it to the session at the handshake and finds it there again.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Reader,
    Editor,
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

/// The accounts, and for everything else the rules that every node has.
struct Accounts {
    accounts: HashMap<&'static str, (&'static str, Role)>,
    base: DefaultPolicy,
}

impl Accounts {
    fn new() -> Self {
        Self {
            // A real application keeps hashes, in a database: then `can_handshake` answers `Decision::Later` with a future that asks it.
            accounts: HashMap::from([
                ("ann", ("wonderland", Role::Editor)),
                ("bob", ("builder", Role::Reader)),
            ]),
            base: DefaultPolicy::new(false),
        }
    }

    fn check(&self, login: &Login) -> Option<(UserId, Role)> {
        let (password, role) = self.accounts.get(login.name.as_str())?;
        if *password != login.password {
            return None;
        }
        Some((UserId::new(&login.name).ok()?, *role))
    }
}

impl SecurityPolicy for Accounts {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let login: Option<Login> = message
            .ext_field("login")
            .and_then(|json| serde_json::from_str(json).ok());
        let account = login.and_then(|login| self.check(&login));
        Decision::Now(match account {
            Some((user, role)) => HandshakeVerdict::Grant {
                user: Some(user),
                attachment: Some(Attachment::new(role)),
            },
            // The client is told "403:login_wrong:handshake_denied", and advised not to try again.
            None => HandshakeVerdict::Deny {
                reason: "login_wrong".into(),
                advice: None,
            },
        })
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
        // A wildcard would read other people's inboxes, whatever the authorizer says about each of them.
        if channel.is_wild() && !channel.as_str().starts_with("/news/") {
            return Decision::Now(Verdict::Deny("no_wildcards".into()));
        }
        self.base.can_subscribe(session, channel, message)
    }

    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        let news = channel.as_str().starts_with("/news/");
        // Code inside the node is trusted: it has no attachment.
        if news && !session.is_local() && session.attachment::<Role>() != Some(&Role::Editor) {
            return Decision::Now(Verdict::Deny("editors_only".into()));
        }
        self.base.can_publish(session, channel, message)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let node = Node::builder()
        .set(
            "client.listen",
            address.as_deref().unwrap_or("127.0.0.1:8080"),
        )
        .set("admin.listen", "127.0.0.1:0")
        .policy(Accounts::new())
        // Asked after the policy has granted, about this pattern only.
        .authorize("/inbox/*", |operation, session, channel, _message| {
            let owner = channel.as_str().strip_prefix("/inbox/");
            let own = session.user().map(UserId::as_str) == owner;
            match operation {
                Operation::Subscribe if !own => Authorization::Deny("not_your_inbox".into()),
                _ => Authorization::Grant,
            }
        })
        .rpc("/service/whoami", |call| async move {
            Ok(call.user().map(ToString::to_string))
        })
        .start()
        .await?;
    println!("listening {}", node.client_url());
    tokio::signal::ctrl_c().await?;
    node.drain().await;
    Ok(())
}
