//! The ping-pong load: one message at a time, from a publisher on one server to a subscriber on the same or another.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    report::{self, Report},
    session::Session,
    stamp::{STAMP_BYTES, Stamp, StampFinder},
    target::Targets,
};

/// How long the first message may take: the interest of the subscriber's server has to reach the publisher's.
const FIRST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long any later message may take before it counts as lost.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of the ping-pong load.
#[derive(Debug, Args)]
pub(super) struct PingPong {
    /// The subscriber's server; the publisher's when left out.
    #[arg(long)]
    subscriber_url: Option<String>,
    /// Number of messages measured.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Pause between a delivery and the next message, in milliseconds.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
    /// Bytes of each payload, a JSON string.
    #[arg(long, default_value_t = 50)]
    payload_bytes: usize,
}

impl PingPong {
    pub(super) async fn run(self, targets: &Targets) -> anyhow::Result<Report> {
        if self.payload_bytes < STAMP_BYTES {
            bail!("a payload needs at least {STAMP_BYTES} bytes for its stamp");
        }
        let channel = format!("/bench/ping/{:016x}", rand::random::<u64>());
        let publisher_target = targets.of(0);
        let subscriber_target = match &self.subscriber_url {
            Some(url) => publisher_target.sibling(url)?,
            None => publisher_target.clone(),
        };
        let (subscriber, subscriber_reader) =
            Session::open(&subscriber_target, std::slice::from_ref(&channel), false)
                .await
                .context("the subscriber")?;
        let (publisher, publisher_reader) = Session::open(publisher_target, &[], true)
            .await
            .context("the publisher")?;

        let start = Instant::now();
        let (deliveries, mut delivered) = mpsc::channel(1024);
        let finder = StampFinder::new();
        tokio::spawn(async move {
            subscriber_reader
                .run(|text| {
                    let now = start.elapsed();
                    // A full queue means repetitions in masses; their loss here is counted as a loss of messages.
                    if let Some(text) = text {
                        finder.each(text, |stamp| {
                            let _ = deliveries.try_send((stamp.sequence, now));
                        });
                    }
                })
                .await
        });
        tokio::spawn(publisher_reader.run(|_| {}));

        let publish = |sequence: u32| {
            let stamp = Stamp {
                room: 0,
                publisher: 0,
                sequence,
                micros: 0,
            };
            let mut batch = Vec::new();
            publisher.push_publication(&mut batch, &channel, &stamp, self.payload_bytes);
            let before = start.elapsed();
            publisher.publish(&mut batch);
            before
        };

        // Sequence 0 until the first one comes through: two servers need a moment to agree on interest.
        let mut first_attempts = 0;
        while delivered.is_empty() {
            if start.elapsed() > FIRST_TIMEOUT {
                bail!(
                    "no message came through within {} s",
                    FIRST_TIMEOUT.as_secs()
                );
            }
            publish(0);
            first_attempts += 1;
            let _ = timeout(Duration::from_millis(200), async {
                while delivered.is_empty() {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        let through = start.elapsed();

        let mut latencies = report::histogram();
        let (mut lost, mut repeated) = (0_u64, 0_u64);
        for sequence in 1..=self.count {
            sleep(Duration::from_millis(self.pause_ms)).await;
            let before = publish(sequence);
            loop {
                match timeout(MESSAGE_TIMEOUT, delivered.recv()).await {
                    Ok(Some((seen, at))) if seen == sequence => {
                        latencies
                            .saturating_record(at.saturating_sub(before).as_micros().max(1) as u64);
                        break;
                    }
                    Ok(Some((0, _))) => {}
                    Ok(Some(_)) => repeated += 1,
                    Ok(None) => bail!("the subscriber's session broke"),
                    Err(_elapsed) => {
                        lost += 1;
                        break;
                    }
                }
            }
        }
        subscriber.say_goodbye();
        publisher.say_goodbye();

        let mut report = Report::new("ping-pong");
        report.count("messages", "messages", self.count.into());
        report.count("payload_bytes", "payload bytes", self.payload_bytes as u64);
        report.count(
            "first_attempts",
            "attempts until the first came",
            first_attempts,
        );
        report.figure(
            "first_ms",
            "time until the first came",
            through.as_secs_f64() * 1e3,
            "ms",
        );
        report.count("lost", "lost", lost);
        report.count("repeated", "repeated or late", repeated);
        report.latency("latency", latencies);
        if lost > 0 {
            report.fail(format!("{lost} messages were lost"));
        }
        if repeated > 0 {
            report.fail(format!("{repeated} messages were repeated or late"));
        }
        Ok(report)
    }
}
