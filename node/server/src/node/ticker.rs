//! What drives the engine's timers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;

/// Time between two calls of the engine's timers.
const TICK: Duration = Duration::from_millis(50);

pub(super) fn since_1970() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Drives the engine's timers, and notices when the process had been suspended.
pub(super) async fn tick(shared: Arc<Shared>, end: CancellationToken) {
    let detection = Duration::from_millis(shared.config.mesh.detection_ms);
    let mut period = tokio::time::interval(TICK);
    period.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Instant::now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = period.tick() => {}
        }
        let gap = before.elapsed();
        before = Instant::now();
        if gap > detection {
            on_suspended(gap);
        }
        let now = shared.clock.now();
        shared
            .engine
            .set_wall_clock(since_1970().as_millis() as u64, now);
        shared.engine.tick(now);
        shared.security.tick(&shared.engine, now);
        shared.local_sessions.tick(&shared.engine, now);
        shared.cluster.tick();
        shared.cluster.judge(&shared.readiness);
    }
}

/// The process did not run for longer than siblings wait. In a cluster they have given this node up, and the cluster
/// layer notices the same: it ends the sessions, draws a new incarnation and joins anew. A node that runs alone goes on.
fn on_suspended(gap: Duration) {
    warn!(
        gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
        "the process had been suspended"
    );
}
