//! The built-in services of a node.

use std::sync::Arc;

use halley_bayeux::{ChannelName, Engine};
use halley_cluster::seti::RoomPatterns;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::ticker::since_1970;
use crate::clock::Clock;
use crate::cluster::ClusterParts;
use crate::config::Config;
use crate::services::{self, Direct, NodesService, Presence, RoomPresence};

/// Nesting of a direct message: what a client may send, and the object around it.
const DIRECT_DEPTH_MORE: usize = 2;

/// Turns on the built-in services that are configured.
pub(super) fn start_services(
    config: &Config,
    name: &str,
    engine: &Arc<Engine>,
    cluster: &ClusterParts,
    clock: Clock,
    background: &TaskTracker,
    end: &CancellationToken,
) -> Result<(), StartError> {
    if config.seti.direct {
        let channel = ChannelName::parse(services::DIRECT_CHANNEL)?;
        let depth_max = config.session.max_depth + DIRECT_DEPTH_MORE;
        let direct = Direct::new(channel.clone(), Arc::clone(&cluster.directory), depth_max);
        engine.add_service(channel, Arc::new(direct));
    }
    if config.presence.enabled {
        let channel = ChannelName::parse(services::PRESENCE_CHANNEL)?;
        Presence::start(channel, Arc::clone(&cluster.directory), engine, clock);
    }
    if let Some(rooms) = &cluster.rooms {
        let patterns = RoomPatterns::new(&config.presence.rooms);
        let presence = RoomPresence::start(patterns, engine, clock);
        rooms.add_listener(presence);
    }
    if config.presence.nodes {
        let service = NodesService::start(
            name.to_owned(),
            since_1970().as_secs(),
            ChannelName::parse(services::NODES_CHANNEL)?,
            Arc::clone(&cluster.nodes),
            Arc::clone(&cluster.directory),
            engine,
            clock,
        );
        background.spawn(end.clone().run_until_cancelled_owned(async move {
            let mut period = tokio::time::interval(services::NODES_PERIOD);
            period.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                period.tick().await;
                service.tick();
            }
        }));
    }
    Ok(())
}
