//! The log: lines on standard error, as text or as JSON.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Turns the log on for the whole process. Does nothing when it is on already.
pub(crate) fn start(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // At `trace` the WebSocket library logs every message whole, with the credentials in it: that level is for our own code.
    let libraries = level.min(LevelFilter::DEBUG);
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("halley", level);
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start (several nodes in one process) keeps the first one's form.
    let _ = match config.format {
        LogFormat::Text => builder.with_ansi(false).finish().with(targets).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(targets)
            .try_init(),
    };
}
