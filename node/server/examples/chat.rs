//! A chat: one lobby, whispers, and who is there. Server with a page for browsers, and a terminal client, in one program.
//!
//! ```sh
//! cargo run -p halley --example chat -- serve                       # the page is on http://127.0.0.1:8080/
//! cargo run -p halley --example chat -- join http://127.0.0.1:8080/cometd ann
//! cargo run -p halley --example chat -- join http://127.0.0.1:8080/cometd bob
//! ```
//!
//! In the client a line is said in the lobby, `/w bob hello` is whispered to bob, and `/who` asks who is there.

use std::error::Error;
use std::time::Duration;

use halley::services::DirectoryListener;
use halley::{Node, NodeHandle, RpcError, UserId};
use halley_client::{CallError, Client, Event, Json};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Where everybody talks.
const LOBBY: &str = "/chat/lobby";
/// Where everybody is whispered to: it is delivered to one user, not to subscribers.
const WHISPERS: &str = "/chat/whispers";

/// How long a client waits for the result of a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is said, in the lobby or in somebody's ear.
#[derive(Serialize, Deserialize)]
struct Said {
    from: String,
    text: String,
}

/// What the client calls `/service/whisper` with.
#[derive(Serialize, Deserialize)]
struct Whisper {
    to: String,
    text: String,
}

/// Tells the lobby who comes and goes.
struct Doorman {
    node: NodeHandle,
}

impl Doorman {
    fn announce(&self, user: &UserId, what: &str) {
        let said = Said {
            from: "doorman".to_owned(),
            text: format!("{user} {what}"),
        };
        if let Err(error) = self.node.publish(LOBBY, said) {
            eprintln!("not announced: {error}");
        }
    }
}

// Listeners run on the node's own threads: they must not block.
impl DirectoryListener for Doorman {
    fn joined(&self, user: &UserId, _node: &str) {
        self.announce(user, "has come");
    }

    fn left(&self, user: &UserId, _node: &str) {
        self.announce(user, "has gone");
    }
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let builder = Node::builder()
        .set("client.listen", address)
        .set("admin.listen", "127.0.0.1:0")
        // Everybody is who they say: for a trial. See authenticated.rs for the real thing.
        .set("seti.trust_handshake_user", true);
    // The handle exists before the node, so that services and listeners can hold it.
    let node = builder.handle();
    let node = builder
        .user_listener(Doorman { node })
        // A page whose client is the stock JavaScript client; the three files are in the folder beside this one.
        .javascript_client()
        .file(
            "/",
            "text/html; charset=utf-8",
            include_str!("chat/page.html"),
        )
        .file(
            "/chat.js",
            "text/javascript; charset=utf-8",
            include_str!("chat/page.js"),
        )
        .file(
            "/chat.css",
            "text/css; charset=utf-8",
            include_str!("chat/page.css"),
        )
        .rpc("/service/whisper", |call| async move {
            let whisper: Whisper = call.data()?;
            let from = call
                .user()
                .ok_or("only those with a name whisper")?
                .to_string();
            let said = Said {
                from,
                text: whisper.text,
            };
            match call.node().publish_to_user(&whisper.to, WHISPERS, said)? {
                true => Ok("whispered"),
                false => Err(RpcError::new(
                    "not_here",
                    format!("{} is not here", whisper.to),
                )),
            }
        })
        .rpc("/service/who", |call| async move {
            let mut names: Vec<String> = call
                .node()
                .users()
                .iter()
                .map(ToString::to_string)
                .collect();
            names.sort();
            Ok(names)
        })
        .start()
        .await?;
    println!("listening {}", node.client_url());
    tokio::signal::ctrl_c().await?;
    // Clients are told, and connect elsewhere or later.
    node.drain().await;
    Ok(())
}

/// What is typed, read by a thread of its own: reading a terminal blocks.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The outcome of a call, as JSON.
fn show(outcome: Result<Json, CallError>) {
    match outcome {
        Ok(result) => println!("{result}"),
        Err(error) => println!("{error}"),
    }
}

async fn join(url: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let (client, mut events) = Client::builder(url).user(name).connect().await?;
    // Events and the answers to requests come over one connection: read events in a task of their own.
    let printer = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::Message(message) => match (message.channel(), message.parse::<Said>()) {
                    (LOBBY, Ok(said)) => println!("{}: {}", said.from, said.text),
                    (WHISPERS, Ok(said)) => println!("{} whispers: {}", said.from, said.text),
                    (channel, _) => println!("{channel} {}", message.data()),
                },
                Event::Ended(why) => println!("the end: {why:?}"),
                other => println!("({other:?})"),
            }
        }
    });
    client.subscribe(LOBBY).await?;
    println!("you are {name}");

    let mut lines = typed_lines();
    while let Some(line) = lines.recv().await {
        match line.split_once(' ') {
            _ if line == "/who" => show(client.call("who", (), PATIENCE).await),
            Some(("/w", rest)) => {
                let (to, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let whisper = Whisper {
                    to: to.to_owned(),
                    text: text.to_owned(),
                };
                show(client.call("whisper", whisper, PATIENCE).await);
            }
            _ => {
                let said = Said {
                    from: name.to_owned(),
                    text: line,
                };
                if let Err(error) = client.publish(LOBBY, said).await {
                    println!("not said: {error}");
                }
            }
        }
    }
    client.disconnect().await;
    printer.abort();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] | ["serve"] => serve("127.0.0.1:8080").await,
        ["serve", address] => serve(address).await,
        ["join", url, name] => join(url, name).await,
        _ => Err("usage: chat serve [ADDRESS] | chat join URL NAME".into()),
    }
}
