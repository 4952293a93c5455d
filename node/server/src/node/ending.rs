//! How a node ends: at once, or in order.

use std::time::Duration;

use halley_bayeux::EndReason;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Node;
use crate::readiness::Unready;

/// The longest part of a drain that is spent on waiting for queues to empty.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long a shutdown waits for tasks that were told to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Time between two looks at the queues meanwhile.
const FLUSH_LOOK: Duration = Duration::from_millis(20);

impl Node {
    /// Ends the node at once: connections are cut, siblings are told goodbye. For the orderly end, in which clients are told and what waits for
    /// them is sent, see [`Node::drain`].
    pub async fn shutdown(self) {
        self.stop_accepting.cancel();
        self.close_clients.cancel();
        self.clients.close();
        self.shared.cluster.leave().await;
        self.end.cancel();
        self.background.close();
        let ended = async {
            self.clients.wait().await;
            self.background.wait().await;
        };
        if tokio::time::timeout(SHUTDOWN_MAX, ended).await.is_err() {
            warn!("shutdown: what has not ended is cut off");
        }
    }

    /// Completes when an operator asks the process to end. Cancel-safe.
    pub async fn drain_requested(&self) {
        self.shared.drain_requested.cancelled().await;
    }

    /// Ends the node in order: not ready, no new connections, sessions told, everything closed. What is not finished
    /// within `node.drain_timeout_ms` is cut off. The admin listener answers until the last step.
    pub async fn drain(&self) {
        let shared = &self.shared;
        let drain_timeout = Duration::from_millis(shared.config.node.drain_timeout_ms);
        shared
            .readiness
            .set(Unready::Draining, "the node is about to end");
        info!(
            sessions = shared.engine.session_count(),
            "draining: not ready any more"
        );
        tokio::time::sleep(Duration::from_millis(shared.config.node.drain_wait_ms)).await;
        let deadline = Instant::now() + drain_timeout;

        self.stop_accepting.cancel();
        info!("draining: no new connections");
        self.flush(deadline).await;
        shared
            .engine
            .end_all_sessions(EndReason::Shutdown, shared.clock.now());
        self.close_clients.cancel();
        self.clients.close();
        if tokio::time::timeout_at(deadline, self.clients.wait())
            .await
            .is_err()
        {
            warn!(
                connections = self.clients.len(),
                "draining: the deadline has passed, connections are cut off"
            );
        }
        // Only now: until the last session has ended, what it publishes must reach the siblings.
        self.shared.cluster.leave().await;
        self.end.cancel();
        self.background.close();
        let last = deadline.max(Instant::now() + Duration::from_millis(200));
        if tokio::time::timeout_at(last, self.background.wait())
            .await
            .is_err()
        {
            warn!("draining: the admin listener is cut off");
        }
        info!("node has ended");
    }

    /// Waits until nothing waits for any session any more and all calls are answered, for a part of the time there is.
    async fn flush(&self, deadline: Instant) {
        let part = deadline.duration_since(Instant::now()).min(FLUSH_MAX);
        let end = Instant::now() + part;
        let waits = || {
            let stats = self.shared.engine.stats();
            stats.queue_bytes > 0 || stats.calls > 0
        };
        while waits() && Instant::now() < end {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    }
}
