//! Clients are known by a signed token (JWT), and channels have rules: all of it configuration, none of it code.
//!
//! ```sh
//! head -c 32 /dev/urandom | base64 > secret
//! cargo run -p halley --example jwt -- secret 127.0.0.1:8080
//! ```
//!
//! Clients put the token into their handshake, as `ext.authentication.token`. docs/security.md says what it must hold, and how
//! to use the public keys of a login server in place of a shared secret.

use std::error::Error;

use halley::Node;
use serde_json::json;

/// What could as well stand in a file, see `NodeBuilder::config_file`.
const CONFIGURATION: &str = r#"
[admin]
listen = "127.0.0.1:0"

[security]
policy = "jwt"

[security.jwt]
algorithms = ["HS256"]
audience = ["chat"]

# Members talk, everybody with a token reads. What no rule matches is closed.
[[security.channels]]
pattern = "/chat/**"
subscribe = ["user"]
publish = ["member"]

[[security.channels]]
pattern = "/service/whoami"
publish = ["user"]
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let secret = arguments.next().ok_or("usage: jwt SECRET_FILE [ADDRESS]")?;
    let address = arguments.next();
    let node = Node::builder()
        .config_text(CONFIGURATION)
        // What differs from place to place is set in code, or by `.environment()`.
        .set("security.jwt.secret_file", secret)
        .set(
            "client.listen",
            address.as_deref().unwrap_or("127.0.0.1:8080"),
        )
        .rpc("/service/whoami", |call| async move {
            // The user is the token's `sub`. The session ends with the token, and the client handshakes with a new one.
            let user = call.user().map(ToString::to_string);
            Ok(json!({ "user": user, "session": call.session().key() }))
        })
        .start()
        .await?;
    println!("listening {}", node.client_url());
    tokio::signal::ctrl_c().await?;
    node.drain().await;
    Ok(())
}
