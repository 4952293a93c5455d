//! What `/metrics` tells of the replicated objects, one row per object. Their names are the application's, not clients'.

use halley_replication::ObjectReport;
use prometheus::{IntGaugeVec, Opts, Registry};

use crate::metrics::signed;

/// A figure of an object: its name here, its meaning, and where it is kept.
type Figure = (&'static str, &'static str, fn(&ObjectReport) -> usize);

const GAUGES: [Figure; 3] = [
    (
        "halley_object_bytes",
        "Bytes of all parts of the replicated object, as JSON.",
        ObjectReport::bytes,
    ),
    (
        "halley_object_entries",
        "Entries of all parts of the replicated object.",
        ObjectReport::entries,
    ),
    (
        "halley_object_parts_behind",
        "Parts of the replicated object of which something is known to be missing.",
        |object| object.parts.iter().filter(|part| part.behind).count(),
    ),
];

/// In the order of the table.
pub(crate) struct ObjectMetrics(Vec<IntGaugeVec>);

impl ObjectMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut gauges = Vec::new();
        for (name, help, _) in GAUGES {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["object"])?;
            registry.register(Box::new(gauge.clone()))?;
            gauges.push(gauge);
        }
        Ok(Self(gauges))
    }

    pub(crate) fn refresh(&self, objects: &[ObjectReport]) {
        for (gauge, (_, _, read)) in self.0.iter().zip(GAUGES) {
            for object in objects {
                let gauge = gauge.with_label_values(&[&*object.name]);
                gauge.set(signed(read(object) as u64));
            }
        }
    }
}
