//! Sets up a node: the configuration, and what the application brings.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use halley_bayeux::{
    Authorization, Authorizer, ChannelName, DataFilter, EndReason, Extension, Filtered, Flow,
    Message, MessageListener, Operation, QueueListener, RemoteCall, SecurityPolicy, Service,
    Session, SessionListener, SubscriptionListener,
};
use halley_cluster::MembershipListener;
use serde::Serialize;
use toml::Value;

use crate::application::{Application, Handler, PolicyChoice};
use crate::closures::{Added, Decide, Filter, Removed, Seen};
use crate::config::{Config, ConfigError, Problem};
use crate::files::File;
use crate::handle::NodeHandle;
use crate::node::{Node, StartError};
use crate::rpc::{Call, Rpc, RpcError};
use crate::services::DirectoryListener;

/// Where the configuration comes from.
#[derive(Debug)]
enum Source {
    Text(String),
    File(PathBuf),
    Ready(Box<Config>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// Sets up a [`Node`]: its configuration, and the services, listeners, extensions and policies that the application brings. The binary
/// `halley` is one of those applications, which brings nothing.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use halley::Node;
///
/// let node = Node::builder()
///     .set("client.listen", "127.0.0.1:0")
///     .set("admin.listen", "127.0.0.1:0")
///     .rpc("/service/sum", |call| async move {
///         let numbers: Vec<i64> = call.data()?;
///         Ok(numbers.iter().sum::<i64>())
///     })
///     .start()
///     .await?;
///
/// let (session, mut inbox) = node.handle().local_session()?;
/// session.subscribe("/news/*").await?;
/// node.handle().publish("/news/sport", "a goal")?;
/// assert_eq!(inbox.next().await?.parse::<String>()?, "a goal");
/// assert_eq!(session.call::<i64>("/service/sum", [1, 2, 3]).await?, 6);
///
/// node.drain().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// Nothing is checked before [`NodeBuilder::start`], which names everything that is wrong.
#[derive(Debug, Default)]
pub struct NodeBuilder {
    source: Source,
    environment: bool,
    set: Vec<(String, Value)>,
    application: Application,
    handle: NodeHandle,
}

impl NodeBuilder {
    /// Reads the configuration from a TOML file, when the node starts.
    #[must_use]
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.source = Source::File(file.into());
        self
    }

    /// Takes the configuration from TOML text.
    #[must_use]
    pub fn config_text(mut self, text: impl Into<String>) -> Self {
        self.source = Source::Text(text.into());
        self
    }

    /// Takes a configuration that has been read already, as it is: neither the environment nor [`NodeBuilder::set`] goes on top of it.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.source = Source::Ready(Box::new(config));
        self
    }

    /// Puts the environment of the process (`HALLEY__SECTION__KEY`) on top of file or text, as the binary does. Without this an embedded node
    /// does not look at it.
    #[must_use]
    pub fn environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// Sets one option, on top of file, text and environment. Keys, types and bounds are those of the configuration file:
    /// `.set("session.maxQueue", 500)`.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set.push((key.into(), value.into()));
        self
    }

    /// A handle to the node to be, for services and listeners that need it.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Handles what clients send to a service channel, or with a pattern such as `/service/x/*` to those that have no handler of their own. A
    /// service accepts or refuses; one that answers is a [`NodeBuilder::rpc`] or a [`NodeBuilder::remote_call`].
    #[must_use]
    pub fn service(mut self, channel: impl Into<String>, service: impl Service + 'static) -> Self {
        let handler = Handler::Service(Arc::new(service));
        self.application.handlers.push((channel.into(), handler));
        self
    }

    /// Answers what clients call on a service channel or pattern (CometD's remote calls), now or later, from any thread.
    #[must_use]
    pub fn remote_call(
        mut self,
        channel: impl Into<String>,
        call: impl RemoteCall + 'static,
    ) -> Self {
        let handler = Handler::Call(Arc::new(call));
        self.application.handlers.push((channel.into(), handler));
        self
    }

    /// Answers calls with an async closure, which runs as a task of the node's runtime: it may wait, and calls run beside each other. How many
    /// may be under way is bounded by `session.maxCallsPerSession` and `session.maxCalls`.
    #[must_use]
    pub fn rpc<F, Fut, T>(self, channel: impl Into<String>, answer: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, RpcError>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let rpc = Rpc::new(self.handle.clone(), answer);
        self.remote_call(channel, rpc)
    }

    /// Is told of sessions that begin and end, local ones among them.
    #[must_use]
    pub fn session_listener(mut self, listener: impl SessionListener + 'static) -> Self {
        self.application
            .session_listeners
            .push(Arc::new(listener) as Arc<dyn SessionListener>);
        self
    }

    /// Calls a closure for each session that has begun. It must not block.
    #[must_use]
    pub fn on_session_added(self, told: impl Fn(&Arc<Session>) + Send + Sync + 'static) -> Self {
        self.session_listener(Added(told))
    }

    /// Calls a closure for each session that has ended. It must not block.
    #[must_use]
    pub fn on_session_removed(
        self,
        told: impl Fn(&Arc<Session>, EndReason) + Send + Sync + 'static,
    ) -> Self {
        self.session_listener(Removed(told))
    }

    /// Is told of subscriptions of this node's sessions.
    #[must_use]
    pub fn subscription_listener(mut self, listener: impl SubscriptionListener + 'static) -> Self {
        self.application
            .subscription_listeners
            .push(Arc::new(listener) as Arc<dyn SubscriptionListener>);
        self
    }

    /// Is told of users who come and go, on any node of the cluster.
    #[must_use]
    pub fn user_listener(mut self, listener: impl DirectoryListener + 'static) -> Self {
        self.application
            .directory_listeners
            .push(Arc::new(listener) as Arc<dyn DirectoryListener>);
        self
    }

    /// Is told of the siblings that join and leave. When a sibling has joined, what the listener publishes reaches those who
    /// are subscribed there. A node that runs alone has none, and nothing is told.
    #[must_use]
    pub fn membership_listener(mut self, listener: impl MembershipListener + 'static) -> Self {
        self.application
            .membership_listeners
            .push(Arc::new(listener) as Arc<dyn MembershipListener>);
        self
    }

    /// Sees, and may stop, every message at fixed places of its way; in the order in which extensions are added.
    #[must_use]
    pub fn extension(mut self, extension: impl Extension + 'static) -> Self {
        self.application
            .extensions
            .push(Arc::new(extension) as Arc<dyn Extension>);
        self
    }

    /// Decides who clients are and what they may do, in place of the configured policy: `security.policy`, `[[security.channels]]` and
    /// `seti.trust_handshake_user` must then not be set. The engine's own refusals stay: no client reaches `/oort/`, `/seti/` and `/meta/`.
    ///
    /// A policy that only wants to say a little more begins with [`halley_bayeux::DefaultPolicy`], or wraps the configured one, see
    /// [`NodeBuilder::wrap_policy`].
    #[must_use]
    pub fn policy(mut self, policy: impl SecurityPolicy + 'static) -> Self {
        self.application.policy = PolicyChoice::Own(Arc::new(policy));
        self
    }

    /// Makes the node's policy out of the configured one (by token, by hooks, by `[[security.channels]]`), which it may ask.
    #[must_use]
    pub fn wrap_policy<P: SecurityPolicy + 'static>(
        mut self,
        wrap: impl FnOnce(Arc<dyn SecurityPolicy>) -> P + Send + 'static,
    ) -> Self {
        self.application.policy = PolicyChoice::Around(Box::new(move |configured| {
            Arc::new(wrap(configured)) as Arc<dyn SecurityPolicy>
        }));
        self
    }

    /// Sees what clients and local sessions send on a channel or pattern, and what the node publishes there, and may stop it. Any channel:
    /// those of the protocol and of services too. What siblings send was seen on their side.
    #[must_use]
    pub fn channel_listener(
        mut self,
        channel: impl Into<String>,
        listener: impl MessageListener + 'static,
    ) -> Self {
        let listener = Arc::new(listener) as Arc<dyn MessageListener>;
        self.application
            .message_listeners
            .push((channel.into(), listener));
        self
    }

    /// Calls a closure for each message that a client or a local session sends on a channel or pattern, after the policy has granted it. It
    /// must not block, and may stop the message (`404::message_deleted`). For a handshake there is no session.
    #[must_use]
    pub fn on_message(
        self,
        channel: impl Into<String>,
        seen: impl Fn(Option<&Arc<Session>>, &Message<'_>) -> Flow + Send + Sync + 'static,
    ) -> Self {
        self.channel_listener(channel, Seen(seen))
    }

    /// Replaces or refuses the data of what is published on a broadcast or service channel or pattern, before subscribers and services get it:
    /// the raw JSON, of what clients, local sessions and the node itself publish. What siblings send was filtered on their side.
    #[must_use]
    pub fn data_filter(
        mut self,
        channel: impl Into<String>,
        filter: impl DataFilter + 'static,
    ) -> Self {
        let filter = Arc::new(filter) as Arc<dyn DataFilter>;
        self.application.data_filters.push((channel.into(), filter));
        self
    }

    /// The same with a closure, which must not block. There is no session where the node publishes by itself.
    #[must_use]
    pub fn filter_data(
        self,
        channel: impl Into<String>,
        filter: impl Fn(Option<&Arc<Session>>, &ChannelName, &str) -> Filtered + Send + Sync + 'static,
    ) -> Self {
        self.data_filter(channel, Filter(filter))
    }

    /// Calls a closure for each session of a client that has begun, which may give it a listener of its own for what waits for it: that decides
    /// what becomes of messages that have no place, and may thin what leaves. The bounds of the queue stand. Of several closures the last that
    /// gives a listener decides. (A local session has an inbox instead.)
    #[must_use]
    pub fn queue_listener<L: QueueListener + 'static>(
        mut self,
        listener: impl Fn(&Arc<Session>) -> Option<L> + Send + Sync + 'static,
    ) -> Self {
        let listener = Box::new(move |session: &Arc<Session>| {
            listener(session).map(|listener| Arc::new(listener) as Arc<dyn QueueListener>)
        });
        self.application.queue_listeners.push(listener);
        self
    }

    /// Serves a fixed file on the client listener, beside the Bayeux endpoint: `.file("/", "text/html; charset=utf-8", include_str!("page.html"))`.
    /// Browsers are told to ask each time whether it has changed. For more than a page and its scripts there are web servers.
    #[must_use]
    pub fn file(
        mut self,
        path: impl Into<String>,
        media_type: impl Into<String>,
        content: impl Into<Bytes>,
    ) -> Self {
        self.application.files.push(File {
            path: path.into(),
            media_type: media_type.into(),
            content: content.into(),
        });
        self
    }

    /// Serves the stock CometD JavaScript client, as npm has released it, below `/assets/cometd/`: a page imports it with
    /// `import {CometD} from "/assets/cometd/cometd.js"`.
    #[must_use]
    pub fn javascript_client(mut self) -> Self {
        let client = crate::pages::javascript_client();
        self.application.files.extend(client);
        self
    }

    /// Decides on one channel or pattern, after the policy has granted.
    #[must_use]
    pub fn authorizer(
        mut self,
        channel: impl Into<String>,
        authorizer: impl Authorizer + 'static,
    ) -> Self {
        let authorizer = Arc::new(authorizer) as Arc<dyn Authorizer>;
        self.application
            .authorizers
            .push((channel.into(), authorizer));
        self
    }

    /// Decides on one channel or pattern with a closure, which must not block.
    #[must_use]
    pub fn authorize(
        self,
        channel: impl Into<String>,
        decide: impl Fn(Operation, &Arc<Session>, &ChannelName, &Message<'_>) -> Authorization
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.authorizer(channel, Decide(decide))
    }

    /// Starts the node on the current tokio runtime, which must have its network and its timers enabled. When this returns, clients are served.
    ///
    /// Dropping the future before that leaves nothing behind. What the node logs goes to `tracing`: without a subscriber it is silent.
    ///
    /// # Errors
    /// The configuration cannot be used (all that is wrong with it is named), what the application brings does not fit, or an address is taken.
    pub async fn start(self) -> Result<Node, StartError> {
        let config = self.source.read(self.environment, self.set)?;
        Node::launch(config, self.application, self.handle).await
    }
}

impl Source {
    fn read(self, environment: bool, set: Vec<(String, Value)>) -> Result<Config, ConfigError> {
        let text = match self {
            Self::Text(text) => text,
            Self::File(file) => std::fs::read_to_string(&file)
                .map_err(|error| ConfigError::Unreadable { file, error })?,
            Self::Ready(config) => {
                let problem = |key: &str| {
                    Problem::new(
                        key,
                        "cannot be set on top of a configuration that has been read: give it as file or text",
                    )
                };
                let mut problems: Vec<_> = set.iter().map(|(key, _)| problem(key)).collect();
                problems.extend(environment.then(|| problem("the environment")));
                return if problems.is_empty() {
                    Ok(*config)
                } else {
                    Err(ConfigError::Invalid(problems))
                };
            }
        };
        let variables = environment.then(crate::config::environment);
        Config::from_layers(&text, variables.into_iter().flatten(), set)
    }
}
