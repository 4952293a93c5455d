//! Tasks that answer calls: they run on the node's runtime, whatever thread begins them, and end with the node.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Begins tasks of one node.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    end: CancellationToken,
}

impl Tasks {
    /// To be called on the node's runtime.
    pub(crate) fn new(tracker: TaskTracker, end: CancellationToken) -> Self {
        Self {
            runtime: Handle::current(),
            tracker,
            end,
        }
    }

    /// Begins a task. How many there may be is bounded by what begins them.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.end.clone().run_until_cancelled_owned(task);
        self.tracker.spawn_on(
            async move {
                task.await;
            },
            &self.runtime,
        );
    }
}
