//! The fan-out load: rooms full of clients, publications at a steady rate.
//!
//! The shape is that of CometD's published load test: each client is in a number of rooms, each publisher sends
//! batches whose messages go to rooms drawn at random. The rate is kept whatever the server does (an open loop), and
//! latencies are measured from the write of the publication to the read of the delivery.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::time::{sleep, sleep_until};

use super::{
    open::open_sessions,
    process::{Processes, own_usage},
    report::{self, Report},
    session::{Reader, Sent, Session},
    stamp::{STAMP_BYTES, Stamp, StampFinder},
    target::Targets,
};

/// The options of the fan-out load.
#[derive(Debug, Args)]
pub(super) struct FanOut {
    /// Number of rooms, each a channel.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    rooms: u16,
    /// Rooms that each client subscribes to.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    rooms_per_client: u16,
    /// Number of clients.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How many of the clients publish.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    publishers: u16,
    /// Bytes of each payload, a JSON string.
    #[arg(long, default_value_t = 50)]
    payload_bytes: usize,
    /// Publications that travel in one frame.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Publications per second.
    #[arg(long, conflicts_with = "deliveries_per_second")]
    publications_per_second: Option<f64>,
    /// Deliveries per second; the default rate is 10000.
    #[arg(long)]
    deliveries_per_second: Option<f64>,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 5.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 20.0)]
    duration: f64,
    /// Longest wait for the last deliveries, in seconds.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
}

/// What all receivers share.
#[derive(Debug)]
struct Tally {
    /// When instant 0 of the stamps was.
    start: Instant,
    /// Deliveries so far.
    deliveries: AtomicU64,
    /// Stamps from here on, in microseconds since the start, belong to the measurement.
    measured_from: AtomicU64,
    gaps: AtomicU64,
    repeated: AtomicU64,
    strays: AtomicU64,
    refused: AtomicU64,
    ended: Mutex<Vec<String>>,
    /// One per thread or so, to keep the locks free.
    latencies: Vec<Mutex<Histogram<u64>>>,
}

impl Tally {
    fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// What one client has received.
#[derive(Debug)]
struct Receiver {
    tally: Arc<Tally>,
    shard: usize,
    /// The rooms it is in, sorted.
    rooms: Vec<u16>,
    publishers: usize,
    /// Last sequence seen, by room and publisher.
    last: Arc<Mutex<Vec<u32>>>,
}

/// The findings of one read, added to the tally at once.
#[derive(Debug, Default)]
struct Read {
    stamps: Vec<Stamp>,
    refused: u64,
}

impl Receiver {
    /// Adds one read's stamps to the tally.
    fn take(&self, read: &mut Read) {
        if read.refused > 0 {
            self.tally
                .refused
                .fetch_add(std::mem::take(&mut read.refused), Ordering::Relaxed);
        }
        if read.stamps.is_empty() {
            return;
        }
        let now = self.tally.micros();
        let from = self.tally.measured_from.load(Ordering::Relaxed);
        self.tally
            .deliveries
            .fetch_add(read.stamps.len() as u64, Ordering::Relaxed);
        let mut last = self.last.lock();
        let mut latencies = self.tally.latencies[self.shard].lock();
        for stamp in read.stamps.drain(..) {
            if stamp.micros >= from {
                latencies.saturating_record(now.saturating_sub(stamp.micros).max(1));
            }
            match self.rooms.binary_search(&stamp.room) {
                Ok(room) if usize::from(stamp.publisher) < self.publishers => {
                    let last = &mut last[room * self.publishers + usize::from(stamp.publisher)];
                    if stamp.sequence > *last {
                        self.tally
                            .gaps
                            .fetch_add(u64::from(stamp.sequence - *last - 1), Ordering::Relaxed);
                        *last = stamp.sequence;
                    } else {
                        self.tally.repeated.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => {
                    self.tally.strays.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn run(self, reader: Reader) {
        let finder = StampFinder::new();
        let refusal = memchr::memmem::Finder::new(br#""successful":false"#);
        let mut read = Read::default();
        let error = reader
            .run(|text| match text {
                Some(text) => {
                    let before = read.stamps.len();
                    finder.each(text, |stamp| read.stamps.push(stamp));
                    // Only a frame without deliveries is searched: replies travel apart or refuse nothing.
                    if read.stamps.len() == before && refusal.find(text).is_some() {
                        read.refused += 1;
                    }
                }
                None => self.take(&mut read),
            })
            .await;
        self.tally.ended.lock().push(error.to_string());
    }
}

/// Publishes at a steady rate and counts per publisher and room.
struct Pace<'a> {
    options: &'a FanOut,
    tally: &'a Tally,
    publishers: Vec<Arc<Session>>,
    /// Published so far, by room and publisher.
    published: Vec<u32>,
    stalled: u64,
    /// How late batches were sent, in microseconds.
    lag: Histogram<u64>,
    batch: Vec<u8>,
    next: usize,
}

impl Pace<'_> {
    async fn run(&mut self, publications_per_second: f64, seconds: f64) {
        let interval = f64::from(self.options.batch) / publications_per_second;
        let start = tokio::time::Instant::now();
        for batch in 0..(seconds / interval).round() as u64 {
            let due = start + Duration::from_secs_f64(batch as f64 * interval);
            if due > tokio::time::Instant::now() {
                sleep_until(due).await;
            } else {
                // Behind the schedule: let the readers have a turn all the same.
                tokio::task::yield_now().await;
            }
            self.lag.saturating_record(due.elapsed().as_micros() as u64);
            self.publish();
        }
        sleep_until(start + Duration::from_secs_f64(seconds)).await;
    }

    fn publish(&mut self) {
        let publisher = self.next % self.publishers.len();
        self.next += 1;
        let session = self.publishers[publisher].clone();
        let slots: Vec<usize> = (0..self.options.batch)
            .map(|_| usize::from(rand::rng().random_range(0..self.options.rooms)))
            .map(|room| room * self.publishers.len() + publisher)
            .collect();
        self.batch.clear();
        let micros = self.tally.micros();
        for slot in &slots {
            self.published[*slot] += 1;
            let room = (slot / self.publishers.len()) as u16;
            let stamp = Stamp {
                room,
                publisher: publisher as u16,
                sequence: self.published[*slot],
                micros,
            };
            session.push_publication(
                &mut self.batch,
                &channel(room),
                &stamp,
                self.options.payload_bytes,
            );
        }
        if session.publish(&mut self.batch) == Sent::Stalled {
            self.stalled += slots.len() as u64;
            for slot in slots {
                self.published[slot] -= 1;
            }
        }
    }
}

fn channel(room: u16) -> String {
    format!("/bench/rooms/{room}")
}

impl FanOut {
    fn rooms_of(&self, client: usize) -> Vec<u16> {
        let (rooms, each) = (usize::from(self.rooms), usize::from(self.rooms_per_client));
        let mut own: Vec<u16> = (0..each)
            .map(|index| ((client * each + index) % rooms) as u16)
            .collect();
        own.sort_unstable();
        own
    }

    fn check(&self) -> anyhow::Result<f64> {
        ensure!(
            self.rooms_per_client <= self.rooms,
            "a client cannot be in more rooms than there are"
        );
        ensure!(
            u32::from(self.publishers) <= self.clients,
            "there are more publishers than clients"
        );
        ensure!(
            self.payload_bytes >= STAMP_BYTES,
            "a payload needs at least {STAMP_BYTES} bytes for its stamp"
        );
        let frame = usize::from(self.batch) * (self.payload_bytes + 160);
        ensure!(
            frame <= 65_536,
            "a batch of about {frame} bytes is more than a server takes"
        );
        let fan_out = self.fan_out();
        let rate = match (self.publications_per_second, self.deliveries_per_second) {
            (Some(rate), _) => rate,
            (None, Some(rate)) => rate / fan_out,
            (None, None) => 10_000.0 / fan_out,
        };
        for (name, value) in [("rate", rate), ("duration", self.duration)] {
            if !(value.is_finite() && value > 0.0) {
                bail!("the {name} must be above zero");
            }
        }
        for (name, value) in [
            ("warm-up", self.warm_up),
            ("duration", self.duration),
            ("drain", self.drain),
        ] {
            ensure!(
                (0.0..=86_400.0).contains(&value),
                "the {name} must be between 0 and 86400 seconds"
            );
        }
        Ok(rate)
    }

    /// Clients per room, on average.
    fn fan_out(&self) -> f64 {
        f64::from(self.clients) * f64::from(self.rooms_per_client) / f64::from(self.rooms)
    }

    pub(super) async fn run(
        self,
        targets: &Targets,
        servers: &Processes,
        threads: usize,
    ) -> anyhow::Result<Report> {
        let rate = self.check()?;
        let clients = self.clients as usize;
        let tally = Arc::new(Tally {
            start: Instant::now(),
            deliveries: AtomicU64::new(0),
            measured_from: AtomicU64::new(u64::MAX),
            gaps: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            strays: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ended: Mutex::default(),
            latencies: (0..threads)
                .map(|_| Mutex::new(report::histogram()))
                .collect(),
        });
        eprintln!("opening {clients} sessions ...");
        let opening = Instant::now();
        let publishers = usize::from(self.publishers);
        let step = clients / publishers;
        // One further each time, so that they are on all servers too.
        let publisher_of = |index: usize| index * step + index % step;
        // Where publications go apart from deliveries, an answer to one may bring deliveries that overtake earlier ones: sessions that
        // are in no room publish there.
        let apart = targets.publish_apart();
        let opened = open_sessions(
            targets,
            clients,
            |client| self.rooms_of(client).into_iter().map(channel).collect(),
            |client| !apart && (0..publishers).any(|index| publisher_of(index) == client),
        )
        .await?;
        let opening = opening.elapsed();

        let (mut sessions, mut seen) = (Vec::with_capacity(clients), Vec::with_capacity(clients));
        for (client, (session, reader)) in opened.into_iter().enumerate() {
            let rooms = self.rooms_of(client);
            let last = Arc::new(Mutex::new(vec![0; rooms.len() * publishers]));
            seen.push(last.clone());
            let receiver = Receiver {
                tally: tally.clone(),
                shard: client % threads,
                rooms,
                publishers,
                last,
            };
            tokio::spawn(receiver.run(reader));
            sessions.push(session);
        }
        let publishing: Vec<_> = if apart {
            let opened = open_sessions(targets, publishers, |_| Vec::new(), |_| true).await?;
            let publish = |(session, reader): (Arc<Session>, Reader)| {
                let receiver = Receiver {
                    tally: tally.clone(),
                    shard: 0,
                    rooms: Vec::new(),
                    publishers,
                    last: Arc::default(),
                };
                tokio::spawn(receiver.run(reader));
                session
            };
            opened.into_iter().map(publish).collect()
        } else {
            (0..publishers)
                .map(|index| sessions[publisher_of(index)].clone())
                .collect()
        };
        let mut pace = Pace {
            options: &self,
            tally: &tally,
            publishers: publishing.clone(),
            published: vec![0; usize::from(self.rooms) * publishers],
            stalled: 0,
            lag: report::histogram(),
            batch: Vec::new(),
            next: 0,
        };
        eprintln!(
            "warming up for {} s, measuring for {} s ...",
            self.warm_up, self.duration
        );
        pace.run(rate, self.warm_up).await;
        pace.lag.reset();
        pace.stalled = 0;
        let before = (
            Instant::now(),
            tally.deliveries.load(Ordering::Relaxed),
            servers.usage()?,
            own_usage()?,
        );
        tally.measured_from.store(tally.micros(), Ordering::Relaxed);
        pace.run(rate, self.duration).await;
        let elapsed = before.0.elapsed();
        let after = (
            tally.deliveries.load(Ordering::Relaxed),
            servers.usage()?,
            own_usage()?,
        );

        let (published, stalled, lag) = (pace.published, pace.stalled, pace.lag);
        self.drained(&published, &tally).await;
        let mut missing = tally.gaps.load(Ordering::Relaxed);
        for (client, last) in seen.iter().enumerate() {
            let last = last.lock();
            for (slot, room) in self.rooms_of(client).into_iter().enumerate() {
                for publisher in 0..publishers {
                    let published = published[usize::from(room) * publishers + publisher];
                    missing +=
                        u64::from(published.saturating_sub(last[slot * publishers + publisher]));
                }
            }
        }
        let ended = tally.ended.lock().clone();
        for session in sessions.iter().chain(&publishing) {
            session.say_goodbye();
        }

        let mut report = Report::new("fan-out");
        let measured = after.0 - before.1;
        report.count("clients", "clients", clients as u64);
        report.figure("fan_out", "clients per room", self.fan_out(), "");
        report.count("payload_bytes", "payload bytes", self.payload_bytes as u64);
        report.count("batch", "publications per batch", self.batch.into());
        report.figure(
            "sessions_per_second",
            "sessions opened",
            clients as f64 / opening.as_secs_f64(),
            "/s",
        );
        report.figure(
            "target_deliveries_per_second",
            "target deliveries",
            rate * self.fan_out(),
            "/s",
        );
        report.figure(
            "deliveries_per_second",
            "deliveries",
            measured as f64 / elapsed.as_secs_f64(),
            "/s",
        );
        report.count("deliveries", "deliveries measured", measured);
        report.count("missing", "missing deliveries", missing);
        report.count(
            "repeated",
            "repeated or out of order",
            tally.repeated.load(Ordering::Relaxed),
        );
        report.count(
            "strays",
            "to clients not in the room",
            tally.strays.load(Ordering::Relaxed),
        );
        report.count(
            "refused",
            "frames with a refusal",
            tally.refused.load(Ordering::Relaxed),
        );
        report.count("stalled", "publications not taken", stalled);
        report.count("ended", "sessions that broke", ended.len() as u64);
        report.figure(
            "lag_p99_us",
            "generator lag, p99",
            lag.value_at_quantile(0.99) as f64,
            "us",
        );
        report.cpu(
            before.2.zip(after.1),
            (before.3, after.2),
            elapsed,
            measured,
        );
        let mut latencies = report::histogram();
        for shard in &tally.latencies {
            latencies.add(&*shard.lock())?;
        }
        report.latency("latency", latencies);
        judge(&mut report, missing, &tally, stalled, &ended);
        Ok(report)
    }

    /// Waits until everything published has come, or for as long as allowed.
    async fn drained(&self, published: &[u32], tally: &Tally) {
        let publishers = usize::from(self.publishers);
        let mut members = vec![0_u64; usize::from(self.rooms)];
        for client in 0..self.clients as usize {
            for room in self.rooms_of(client) {
                members[usize::from(room)] += 1;
            }
        }
        let expected: u64 = published
            .iter()
            .enumerate()
            .map(|(slot, count)| u64::from(*count) * members[slot / publishers])
            .sum();
        let deadline = Instant::now() + Duration::from_secs_f64(self.drain);
        while tally.deliveries.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        // Repetitions may follow the last expected delivery.
        sleep(Duration::from_millis(200)).await;
    }
}

fn judge(report: &mut Report, missing: u64, tally: &Tally, stalled: u64, ended: &[String]) {
    let counts = [
        (missing, "deliveries are missing"),
        (
            tally.repeated.load(Ordering::Relaxed),
            "deliveries were repeated or out of order",
        ),
        (
            tally.strays.load(Ordering::Relaxed),
            "deliveries went to clients that are not in the room",
        ),
        (
            tally.refused.load(Ordering::Relaxed),
            "frames held a refusal",
        ),
        (stalled, "publications were not taken in time"),
    ];
    for (count, what) in counts {
        if count > 0 {
            report.fail(format!("{count} {what}"));
        }
    }
    if let Some(first) = ended.first() {
        report.fail(format!(
            "{} sessions broke, the first with: {first}",
            ended.len()
        ));
    }
}
