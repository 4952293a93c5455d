//! Whether clients may be sent here, and if not, why.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// A reason for which a node is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unready {
    /// The node is not yet up.
    Starting,
    /// The node is about to end.
    Draining,
    /// Another node of the cluster has the same name.
    NameConflict,
    /// The cluster layer has ended by a fault.
    ClusterFailed,
}

impl Unready {
    /// The word in the answer of `/readyz`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::NameConflict => "name_conflict",
            Self::ClusterFailed => "cluster_failed",
        }
    }
}

/// The reasons that hold at present; none: ready.
#[derive(Debug, Default)]
pub struct Readiness {
    reasons: Mutex<BTreeMap<Unready, String>>,
}

impl Readiness {
    /// A node that is starting.
    #[must_use]
    pub fn starting() -> Self {
        let readiness = Self::default();
        readiness.set(Unready::Starting, "the node is not yet up");
        readiness
    }

    /// Notes a reason, with a sentence for the operator. True when it did not hold before.
    pub fn set(&self, reason: Unready, detail: impl Into<String>) -> bool {
        self.reasons.lock().insert(reason, detail.into()).is_none()
    }

    /// Takes a reason away.
    pub fn clear(&self, reason: Unready) {
        self.reasons.lock().remove(&reason);
    }

    /// True when clients may be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.lock().is_empty()
    }

    /// The answer of `/readyz`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let reasons = self.reasons.lock();
        let list: Vec<_> = reasons
            .iter()
            .map(
                |(reason, detail)| serde_json::json!({ "reason": reason.word(), "detail": detail }),
            )
            .collect();
        serde_json::json!({ "ready": reasons.is_empty(), "reasons": list })
    }
}
