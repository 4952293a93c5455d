//! What an application brings into its node, and how that is put into the engine.

use std::fmt;
use std::sync::{Arc, Weak};

use axum::Router;
use halley_bayeux::{
    Authorizer, ChannelKind, ChannelName, DataFilter, Engine, Extension, MessageListener,
    QueueListener, RemoteCall, SecurityPolicy, Service, Session, SessionListener,
    SubscriptionListener,
};
use halley_cluster::MembershipListener;

use crate::cluster::ClusterParts;
use crate::config::{Config, PolicyKind};
use crate::files::{File, FileError};
use crate::services::{self, DirectoryListener};

/// Why what the application brings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationError {
    /// A name is not one.
    #[error("{name:?} is not a channel: {error}")]
    Channel {
        /// What was given.
        name: String,
        /// What is wrong with it.
        error: halley_bayeux::InvalidChannel,
    },
    /// A service stands on a channel that is none for services.
    #[error("a service needs a channel below /service/, and {0} is not one")]
    NotAService(ChannelName),
    /// Two services stand on one channel.
    #[error("{0} has a service already")]
    ServiceTaken(ChannelName),
    /// The application decides who clients are, and so does the configuration.
    #[error("the application brings its own policy, so {0} must not be set: one of them has to go")]
    TwoPolicies(&'static str),
    /// A file cannot be served.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes a policy out of the configured one.
type WrapPolicy = Box<dyn FnOnce(Arc<dyn SecurityPolicy>) -> Arc<dyn SecurityPolicy> + Send>;

/// Who decides what clients may do.
#[derive(Default)]
pub(crate) enum PolicyChoice {
    /// What is configured.
    #[default]
    Configured,
    /// The application, alone.
    Own(Arc<dyn SecurityPolicy>),
    /// The application, which may ask what is configured.
    Around(WrapPolicy),
}

/// What handles a service channel.
pub(crate) enum Handler {
    Service(Arc<dyn Service>),
    Call(Arc<dyn RemoteCall>),
}

/// Gives a session its queue listener.
pub(crate) type ChooseQueueListener =
    Box<dyn Fn(&Arc<Session>) -> Option<Arc<dyn QueueListener>> + Send + Sync>;

/// What an application brings. Filled by the builder, taken by the node as it starts.
#[derive(Default)]
pub(crate) struct Application {
    pub(crate) handlers: Vec<(String, Handler)>,
    pub(crate) authorizers: Vec<(String, Arc<dyn Authorizer>)>,
    pub(crate) message_listeners: Vec<(String, Arc<dyn MessageListener>)>,
    pub(crate) data_filters: Vec<(String, Arc<dyn DataFilter>)>,
    pub(crate) queue_listeners: Vec<ChooseQueueListener>,
    pub(crate) files: Vec<File>,
    pub(crate) extensions: Vec<Arc<dyn Extension>>,
    pub(crate) session_listeners: Vec<Arc<dyn SessionListener>>,
    pub(crate) subscription_listeners: Vec<Arc<dyn SubscriptionListener>>,
    pub(crate) directory_listeners: Vec<Arc<dyn DirectoryListener>>,
    pub(crate) membership_listeners: Vec<Arc<dyn MembershipListener>>,
    pub(crate) policy: PolicyChoice,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("handlers", &self.handlers.len())
            .field("extensions", &self.extensions.len())
            .finish_non_exhaustive()
    }
}

fn channel(name: &str) -> Result<ChannelName, ApplicationError> {
    ChannelName::parse(name).map_err(|error| ApplicationError::Channel {
        name: name.to_owned(),
        error,
    })
}

/// The same with channels instead of their names.
fn with_channels<T>(named: Vec<(String, T)>) -> Result<Vec<(ChannelName, T)>, ApplicationError> {
    let named = named.into_iter();
    named
        .map(|(name, what)| Ok((channel(&name)?, what)))
        .collect()
}

/// A configured rule that an application's own policy would leave without effect.
fn configured_policy(config: &Config) -> Option<&'static str> {
    if config.security.policy != PolicyKind::Anonymous {
        Some("security.policy")
    } else if !config.security.channels.is_empty() {
        Some("security.channels")
    } else if config.seti.trust_handshake_user {
        Some("seti.trust_handshake_user")
    } else {
        None
    }
}

impl Application {
    /// Checks everything that could be wrong, so that a node does not begin to start in vain.
    ///
    /// # Errors
    /// There would be two policies, or a channel is not one, or not free.
    pub(crate) fn check(self, config: &Config) -> Result<Checked, ApplicationError> {
        if matches!(self.policy, PolicyChoice::Own(_))
            && let Some(key) = configured_policy(config)
        {
            return Err(ApplicationError::TwoPolicies(key));
        }
        let hooked = config.services.hooks.iter();
        let mut taken: Vec<ChannelName> = hooked.filter_map(|hook| hook.pattern.clone()).collect();
        if config.seti.direct {
            taken.push(channel(services::DIRECT_CHANNEL)?);
        }
        let mut handlers = Vec::with_capacity(self.handlers.len());
        for (name, handler) in self.handlers {
            let channel = channel(&name)?;
            if channel.kind() != ChannelKind::Service {
                return Err(ApplicationError::NotAService(channel));
            }
            if taken.contains(&channel) {
                return Err(ApplicationError::ServiceTaken(channel));
            }
            taken.push(channel.clone());
            handlers.push((channel, handler));
        }
        Ok(Checked {
            handlers,
            authorizers: with_channels(self.authorizers)?,
            message_listeners: with_channels(self.message_listeners)?,
            data_filters: with_channels(self.data_filters)?,
            queue_listeners: self.queue_listeners,
            files: File::check(self.files, &config.client)?,
            extensions: self.extensions,
            session_listeners: self.session_listeners,
            subscription_listeners: self.subscription_listeners,
            directory_listeners: self.directory_listeners,
            membership_listeners: self.membership_listeners,
            policy: self.policy,
        })
    }
}

/// What an application brings, and what fits.
pub(crate) struct Checked {
    handlers: Vec<(ChannelName, Handler)>,
    authorizers: Vec<(ChannelName, Arc<dyn Authorizer>)>,
    message_listeners: Vec<(ChannelName, Arc<dyn MessageListener>)>,
    data_filters: Vec<(ChannelName, Arc<dyn DataFilter>)>,
    queue_listeners: Vec<ChooseQueueListener>,
    files: Router,
    extensions: Vec<Arc<dyn Extension>>,
    session_listeners: Vec<Arc<dyn SessionListener>>,
    subscription_listeners: Vec<Arc<dyn SubscriptionListener>>,
    directory_listeners: Vec<Arc<dyn DirectoryListener>>,
    membership_listeners: Vec<Arc<dyn MembershipListener>>,
    policy: PolicyChoice,
}

impl Checked {
    /// The policy of the node, out of the one that is configured.
    pub(crate) fn policy(
        &mut self,
        configured: Arc<dyn SecurityPolicy>,
    ) -> Arc<dyn SecurityPolicy> {
        match std::mem::take(&mut self.policy) {
            PolicyChoice::Configured => configured,
            PolicyChoice::Own(policy) => policy,
            PolicyChoice::Around(wrap) => wrap(configured),
        }
    }

    /// The files to serve beside the endpoint.
    pub(crate) fn files(&mut self) -> Router {
        std::mem::take(&mut self.files)
    }

    /// Puts everything but policy and files into the engine, behind what the node itself put there.
    pub(crate) fn attach(self, engine: &Arc<Engine>, cluster: &ClusterParts) {
        for (channel, handler) in self.handlers {
            match handler {
                Handler::Service(service) => engine.add_service(channel, service),
                Handler::Call(call) => engine.add_remote_call(channel, call),
            }
        }
        for (channel, authorizer) in self.authorizers {
            engine.add_authorizer(&channel, authorizer);
        }
        for (channel, listener) in self.message_listeners {
            engine.add_message_listener(&channel, listener);
        }
        for (channel, filter) in self.data_filters {
            engine.add_data_filter(&channel, filter);
        }
        if !self.queue_listeners.is_empty() {
            engine.add_session_listener(Arc::new(QueueListeners {
                engine: Arc::downgrade(engine),
                choose: self.queue_listeners,
            }));
        }
        for extension in self.extensions {
            engine.add_extension(extension);
        }
        for listener in self.session_listeners {
            engine.add_session_listener(listener);
        }
        for listener in self.subscription_listeners {
            engine.add_subscription_listener(listener);
        }
        for listener in self.directory_listeners {
            cluster.directory.add_listener(listener);
        }
        // A node that runs alone has no siblings.
        if let Some(cluster) = cluster.cluster() {
            for listener in self.membership_listeners {
                cluster.add_membership_listener(listener);
            }
        }
    }
}

/// Gives sessions their queue listeners as they begin.
struct QueueListeners {
    engine: Weak<Engine>,
    choose: Vec<ChooseQueueListener>,
}

impl SessionListener for QueueListeners {
    fn added(&self, session: &Arc<Session>) {
        if session.is_local() {
            return;
        }
        let chosen = self.choose.iter().rev().find_map(|choose| choose(session));
        if let (Some(listener), Some(engine)) = (chosen, self.engine.upgrade()) {
            engine.set_queue_listener(session, Some(listener));
        }
    }
}
