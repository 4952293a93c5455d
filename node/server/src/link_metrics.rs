//! What `/metrics` tells of the links, one row per sibling.

use halley_cluster::LinkStats;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::metrics::{raise, signed};

const LABEL: &str = "sibling";

/// A figure of a link: its name here, its meaning, and where it is kept.
type Figure<T> = (&'static str, &'static str, fn(&LinkStats) -> T);

const GAUGES: [Figure<u64>; 4] = [
    (
        "halley_link_up",
        "1 when frames can be sent to the sibling.",
        |link| u64::from(link.up),
    ),
    (
        "halley_link_queue_bytes",
        "Bytes that wait for the sibling.",
        |link| link.queue_bytes,
    ),
    (
        "halley_link_window_bytes",
        "Bytes written to the sibling that it has not acknowledged.",
        |link| link.window_bytes,
    ),
    (
        "halley_link_publications_sent",
        "Publications written to the present link to the sibling, or to the last one.",
        |link| link.publications_sent,
    ),
];

const TOTALS: [Figure<u64>; 5] = [
    (
        "halley_link_bytes_sent_total",
        "Bytes of frames written to the sibling.",
        |link| link.bytes_sent,
    ),
    (
        "halley_link_bytes_received_total",
        "Bytes of frames read from the sibling.",
        |link| link.bytes_received,
    ),
    (
        "halley_link_resumes_total",
        "Times the link to the sibling lost its connection and went on over another one.",
        |link| link.resumed,
    ),
    (
        "halley_link_frames_resent_total",
        "Frames written again for that.",
        |link| link.frames_resent,
    ),
    (
        "halley_link_publications_lost_total",
        "Publications lost with links to the sibling that ended for good.",
        |link| link.publications_lost,
    ),
];

const SECONDS: [Figure<Option<f64>>; 2] = [
    (
        "halley_link_rtt_seconds",
        "The last measured round trip to the sibling.",
        |link| link.rtt.map(|rtt| rtt.as_secs_f64()),
    ),
    (
        "halley_link_rtt_of_sibling_seconds",
        "The last round trip to this node that the sibling has measured on its link.",
        |link| link.rtt_of_sibling.map(|rtt| rtt.as_secs_f64()),
    ),
];

/// In the order of the tables.
pub(crate) struct LinkMetrics {
    gauges: Vec<IntGaugeVec>,
    totals: Vec<IntCounterVec>,
    seconds: Vec<GaugeVec>,
}

impl LinkMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut metrics = Self {
            gauges: Vec::new(),
            totals: Vec::new(),
            seconds: Vec::new(),
        };
        for (name, help, _) in GAUGES {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &[LABEL])?;
            registry.register(Box::new(gauge.clone()))?;
            metrics.gauges.push(gauge);
        }
        for (name, help, _) in TOTALS {
            let total = IntCounterVec::new(Opts::new(name, help), &[LABEL])?;
            registry.register(Box::new(total.clone()))?;
            metrics.totals.push(total);
        }
        for (name, help, _) in SECONDS {
            let gauge = GaugeVec::new(Opts::new(name, help), &[LABEL])?;
            registry.register(Box::new(gauge.clone()))?;
            metrics.seconds.push(gauge);
        }
        Ok(metrics)
    }

    /// Siblings that are gone leave the text too. The totals are kept by the cluster layer, so they come back whole.
    pub(crate) fn refresh(&self, links: &[LinkStats]) {
        self.gauges.iter().for_each(IntGaugeVec::reset);
        self.totals.iter().for_each(IntCounterVec::reset);
        self.seconds.iter().for_each(GaugeVec::reset);
        for link in links {
            let label = [link.sibling.as_str()];
            for (gauge, (_, _, read)) in self.gauges.iter().zip(GAUGES) {
                gauge.with_label_values(&label).set(signed(read(link)));
            }
            for (total, (_, _, read)) in self.totals.iter().zip(TOTALS) {
                raise(&total.with_label_values(&label), read(link));
            }
            for (gauge, (_, _, read)) in self.seconds.iter().zip(SECONDS) {
                if let Some(seconds) = read(link) {
                    gauge.with_label_values(&label).set(seconds);
                }
            }
        }
    }
}
