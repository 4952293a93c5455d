//! One connection with what waits to be written on it.

use std::{cell::RefCell, io, sync::Arc};

use anyhow::bail;
use parking_lot::Mutex;

use super::wire::Wire;

/// Bytes that may wait for the socket; a publication that finds more waiting is not sent and counts as stalled.
const WAITING_MAX: usize = 1 << 20;

/// Size of the buffer that all connections of a thread read into.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What became of bytes that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The server does not take them; they were not sent.
    Stalled,
}

/// A connection that may be written to from anywhere.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) wire: Wire,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether a task is writing them.
    flushing: bool,
}

impl Line {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            waiting: Mutex::default(),
        }
    }

    /// Reads what has come, at least something, and hands it to `take`.
    ///
    /// # Errors
    /// The connection has ended, or `take` failed.
    pub(super) async fn read<T>(
        &self,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            self.wire.readable().await?;
            if let Some(taken) = self.try_read(&mut take)? {
                return Ok(taken);
            }
        }
    }

    /// The same without waiting; `None` when nothing has come.
    pub(super) fn try_read<T>(
        &self,
        take: impl FnOnce(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        SCRATCH.with_borrow_mut(|scratch| match self.wire.try_read(scratch) {
            Ok(0) => bail!("the server hung up"),
            Ok(count) => take(&scratch[..count]).map(Some),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Writes and waits for the socket; only while nothing else writes.
    pub(super) async fn send_now(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() || self.wire.is_behind() {
            self.wire.writable().await?;
            match self.wire.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends without waiting; what the socket does not take is written by a task.
    pub(super) fn send(self: &Arc<Self>, push: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() > WAITING_MAX {
            return Sent::Stalled;
        }
        push(&mut waiting.bytes);
        if !waiting.flushing && !self.flush(&mut waiting) {
            waiting.flushing = true;
            let line = self.clone();
            tokio::spawn(async move {
                // A failure here shows in the reader too, which reports it.
                while line.wire.writable().await.is_ok() {
                    let mut waiting = line.waiting.lock();
                    if line.flush(&mut waiting) {
                        waiting.flushing = false;
                        return;
                    }
                }
            });
        }
        Sent::Yes
    }

    /// Writes what waits, as far as the socket takes it; true when nothing is left to do.
    fn flush(&self, waiting: &mut Waiting) -> bool {
        let mut written = 0;
        let done = loop {
            if written == waiting.bytes.len() {
                break !self.wire.is_behind();
            }
            match self.wire.try_write(&waiting.bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(_broken) => {
                    written = waiting.bytes.len();
                    break true;
                }
            }
        };
        waiting.bytes.drain(..written);
        if waiting.bytes.is_empty() && waiting.bytes.capacity() > 4096 {
            waiting.bytes = Vec::new();
        }
        done
    }
}
