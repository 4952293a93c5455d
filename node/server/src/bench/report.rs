//! What a run has measured: lines for people, JSON for programs, a drawn histogram.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::process::Usage;

/// Width of the longest bar of a drawn histogram.
const BAR_WIDTH: usize = 50;

/// Most bars of a drawn histogram.
const BARS_MAX: usize = 20;

/// A histogram of microseconds, up to ten minutes, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3)
        .expect("the bounds are constants that the crate accepts")
}

/// The result of a run.
#[derive(Debug)]
pub(super) struct Report {
    mode: &'static str,
    lines: Vec<(&'static str, String)>,
    values: Map<String, Value>,
    histograms: Vec<(&'static str, Histogram<u64>)>,
    faults: Vec<String>,
}

impl Report {
    pub(super) fn new(mode: &'static str) -> Self {
        Self {
            mode,
            lines: Vec::new(),
            values: Map::new(),
            histograms: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// A figure: named for programs, with a label and a unit for people.
    pub(super) fn figure(&mut self, name: &str, label: &'static str, value: f64, unit: &str) {
        let digits = if value.fract() == 0.0 || value.abs() >= 1000.0 {
            0
        } else {
            2
        };
        self.lines.push((
            label,
            format!("{value:.digits$} {unit}").trim_end().to_owned(),
        ));
        self.values.insert(name.to_owned(), json!(value));
    }

    /// A count.
    pub(super) fn count(&mut self, name: &str, label: &'static str, value: u64) {
        self.lines.push((label, value.to_string()));
        self.values.insert(name.to_owned(), json!(value));
    }

    /// Latencies in microseconds.
    pub(super) fn latency(&mut self, name: &'static str, histogram: Histogram<u64>) {
        self.values.insert(name.to_owned(), percentiles(&histogram));
        self.histograms.push((name, histogram));
    }

    /// Something that makes the run a failure.
    pub(super) fn fail(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// CPU of servers and generator over a stretch of time in which this many deliveries were made.
    pub(super) fn cpu(
        &mut self,
        servers: Option<(Usage, Usage)>,
        own: (Usage, Usage),
        elapsed: Duration,
        count: u64,
    ) {
        let share = |used: Duration| 100.0 * used.as_secs_f64() / elapsed.as_secs_f64();
        let per_delivery = |used: Duration| used.as_secs_f64() * 1e6 / count.max(1) as f64;
        if let Some((before, after)) = servers {
            let used = after.cpu.saturating_sub(before.cpu);
            self.figure(
                "server_cpu_us_per_delivery",
                "server CPU per delivery",
                per_delivery(used),
                "us",
            );
            self.figure(
                "server_cpu_percent",
                "server CPU",
                share(used),
                "% of one core",
            );
            self.figure(
                "server_resident_bytes",
                "server memory",
                after.resident_bytes as f64,
                "bytes",
            );
        }
        let used = own.1.cpu.saturating_sub(own.0.cpu);
        self.figure(
            "generator_cpu_us_per_delivery",
            "generator CPU per delivery",
            per_delivery(used),
            "us",
        );
        self.figure(
            "generator_cpu_percent",
            "generator CPU",
            share(used),
            "% of one core",
        );
    }

    /// The result for programs.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let mut values = self.values.clone();
        values.insert("mode".to_owned(), json!(self.mode));
        values.insert("faults".to_owned(), json!(self.faults));
        Ok(serde_json::to_string_pretty(&values)? + "\n")
    }

    /// What went wrong, in one line.
    pub(super) fn fault(&self) -> Option<String> {
        if self.faults.is_empty() {
            None
        } else {
            Some(self.faults.join("; "))
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "min_us": histogram.min(),
        "mean_us": histogram.mean(),
        "p50_us": histogram.value_at_quantile(0.50),
        "p90_us": histogram.value_at_quantile(0.90),
        "p99_us": histogram.value_at_quantile(0.99),
        "p999_us": histogram.value_at_quantile(0.999),
        "max_us": histogram.max(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.mode)?;
        for (label, value) in &self.lines {
            writeln!(f, "  {label:<30} {value}")?;
        }
        for (name, histogram) in &self.histograms {
            writeln!(f, "\n  {name}, {} samples", histogram.len())?;
            if !histogram.is_empty() {
                draw(f, histogram)?;
            }
        }
        Ok(())
    }
}

/// Bars over buckets whose bounds grow by the same factor, and the percentiles under them.
fn draw(f: &mut fmt::Formatter<'_>, histogram: &Histogram<u64>) -> fmt::Result {
    let (low, high) = (histogram.min().max(1) as f64, histogram.max().max(2) as f64);
    let bars = BARS_MAX.min((high / low).log2().ceil().max(1.0) as usize * 3);
    let factor = (high / low).powf(1.0 / bars as f64);
    let mut counts = Vec::with_capacity(bars);
    let mut from = 0;
    for bar in 1..=bars {
        let to = if bar == bars {
            histogram.max()
        } else {
            (low * factor.powi(bar as i32)) as u64
        };
        if to >= from {
            counts.push((to, histogram.count_between(from, to)));
            from = histogram.next_non_equivalent(to);
        }
    }
    let most = counts
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    for (to, count) in counts {
        let width = (count as f64 / most as f64 * BAR_WIDTH as f64).round() as usize;
        writeln!(
            f,
            "  {:>10} |{:<BAR_WIDTH$} {count}",
            format!("<= {}", time(to)),
            "#".repeat(width)
        )?;
    }
    let at = |quantile| time(histogram.value_at_quantile(quantile));
    writeln!(
        f,
        "  min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        time(histogram.min()),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        time(histogram.max())
    )
}

fn time(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} us"),
        1000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_sample_once() {
        let mut histogram = histogram();
        for micros in 1..=1000_u64 {
            histogram.record(micros * micros).unwrap();
        }
        let mut report = Report::new("test");
        report.latency("latency", histogram);
        let text = report.to_string();
        let drawn: u64 = text
            .lines()
            .filter(|line| line.contains('|'))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(drawn, 1000, "{text}");
        assert!(text.contains("p99.9"));
    }

    #[test]
    fn names_faults_in_the_json() {
        let mut report = Report::new("test");
        report.count("lost", "lost", 3);
        report.fail("3 lost".into());
        let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(
            (&json["lost"], &json["faults"][0]),
            (&json!(3), &json!("3 lost"))
        );
        assert_eq!(report.fault().unwrap(), "3 lost");
    }
}
