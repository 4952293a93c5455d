use super::State;
use crate::Publication;
use crate::reply::Reply;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the acknowledgement extension remembers of a session (reference 8.1), beside its queue.
///
/// The messages of the session are numbered from 1 in the order in which they were queued. What has been sent stays in the queue, under
/// its bounds, until the client says that it has it. A connect reply carries the number of the last message that goes with it, or of the
/// last one confirmed when there is none; the client gives that number back with its next connect.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// The number of the last message that the client has confirmed: the next one is the queue's first.
    confirmed: u64,
    /// The largest number that a reply has carried. Never behind `confirmed`.
    offered: u64,
    /// Messages at the queue's front that the latest connect reply has taken along so far.
    pub(crate) sent: usize,
}

impl Acks {
    /// How many messages at the queue's front have a number that the client may know.
    pub(crate) fn unconfirmed(&self) -> usize {
        usize::try_from(self.offered - self.confirmed).unwrap_or(usize::MAX)
    }

    /// How many messages a client confirms with `number`; `None` when it cannot have been given that number, or gave it back before.
    ///
    /// Compared modulo 2^32, because stock Java clients keep 32 bits of it: a queue is never that long.
    fn distance(&self, number: i64) -> Option<u64> {
        let distance = u64::from((number as u32).wrapping_sub(self.confirmed as u32));
        (distance <= self.offered - self.confirmed).then_some(distance)
    }
}

/// Whether one more message goes into a frame that holds so many already, with the commas between them and the brackets around. The first
/// always does.
pub(crate) fn fits(count: usize, bytes: usize, next: &Publication, bytes_max: usize) -> bool {
    count == 0 || bytes.saturating_add(count + next.len() + 2) <= bytes_max
}

impl State {
    /// How many messages wait that no reply or frame has taken along.
    pub(crate) fn unsent(&self) -> usize {
        // Who acknowledges is delivered to with connect replies only.
        if !self.deliver_only {
            return self.queue.len();
        }
        self.queue.len() - self.acks.as_ref().map_or(0, |acks| acks.sent)
    }

    /// Takes what a connect of an acknowledging client says it has (raw JSON of `ext.ack`). Returns the bytes that leave the queue.
    ///
    /// | `ext.ack` | outcome |
    /// |---|---|
    /// | a number that was given to the client and is not older than the last one it gave back | the messages up to it are dropped |
    /// | any other number: stale, negative, fractional, too large | nothing is dropped |
    /// | absent, or no number | nothing is dropped, and what was sent is not sent again for its sake |
    ///
    /// After a number all that is left counts as not sent, so that the connect is answered at once with it. A client that never confirms
    /// fills its own queue, and its session ends when that overflows.
    pub(crate) fn acknowledge(&mut self, raw: Option<&str>) -> usize {
        let Some(acks) = self.acks.as_deref_mut() else {
            return 0;
        };
        let Some(number) = raw.and_then(|raw| raw.parse::<f64>().ok()) else {
            return 0;
        };
        acks.sent = 0;
        let given = (number.fract() == 0.0).then(|| acks.distance(number as i64));
        let Some(count) = given.flatten() else {
            self.urgent |= !self.queue.is_empty();
            return 0;
        };
        acks.confirmed += count;
        let confirmed = acks.confirmed;
        // What has been sent and is not confirmed goes again at once; what is lazy and has not been sent still waits.
        self.urgent |= acks.offered > acks.confirmed;
        let bytes = self
            .queue
            .drain(..count as usize)
            .map(|publication| publication.len())
            .sum();
        self.queue_bytes -= bytes;
        self.give_back_slots();
        self.settle();
        if count > 0
            && let Some(listener) = self.queue_listener()
        {
            listener.batch_confirmed(confirmed, count as usize);
        }
        bytes
    }

    /// Makes `reply` the one that takes the unconfirmed messages along, as many as fit into a frame of `bytes_max`: the client must get
    /// them together with their number or not at all, otherwise a broken connection would bring them twice. Returns how many go before
    /// the reply; `None` without the extension.
    pub(crate) fn offer(&mut self, reply: &mut Reply<'_>, bytes_max: usize) -> Option<usize> {
        let acks = self.acks.as_deref_mut()?;
        let (mut count, mut bytes) = (0, 0);
        for next in &self.queue {
            if !fits(count, bytes, next, bytes_max) {
                break;
            }
            count += 1;
            bytes += next.len();
        }
        acks.sent = 0;
        let number = acks.confirmed + count as u64;
        acks.offered = acks.offered.max(number);
        reply.set_ext_raw("ack", number.to_string());
        if let Some(listener) = self.queue_listener() {
            listener.batch_sent(number, count);
        }
        Some(count)
    }

    /// All that goes with a reply that is written in one piece: taken, or with the extension copied.
    pub(crate) fn events_of(&mut self, reply: &mut Reply<'_>) -> VecDeque<Arc<Publication>> {
        if self.offer(reply, usize::MAX).is_none() {
            return self.take_queue();
        }
        if let Some(acks) = self.acks.as_deref_mut() {
            acks.sent = self.queue.len();
        }
        self.settle();
        self.queue.clone()
    }

    /// The first `most` messages: taken, or with the extension copied.
    pub(crate) fn first_events(&mut self, most: usize) -> VecDeque<Arc<Publication>> {
        if let Some(acks) = self.acks.as_deref_mut() {
            acks.sent = most.min(self.queue.len());
            self.settle();
            return self.queue.iter().take(most).cloned().collect();
        }
        let events: VecDeque<_> = self.queue.drain(..most.min(self.queue.len())).collect();
        self.queue_bytes -= events.iter().map(|event| event.len()).sum::<usize>();
        self.settle();
        events
    }

    /// Ends acknowledging, with the session: what was sent is dropped.
    pub(super) fn stop_acknowledging(&mut self) {
        if let Some(acks) = self.acks.take() {
            let bytes: usize = self.queue.drain(..acks.sent).map(|p| p.len()).sum();
            self.queue_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_were_given_confirm() {
        let acks = |confirmed, offered| Acks {
            confirmed,
            offered,
            sent: 0,
        };
        assert_eq!(acks(0, 0).distance(0), Some(0));
        assert_eq!(acks(0, 0).distance(1), None);
        assert_eq!(acks(5, 8).distance(4), None);
        assert_eq!(acks(5, 8).distance(5), Some(0));
        assert_eq!(acks(5, 8).distance(8), Some(3));
        assert_eq!(acks(5, 8).distance(9), None);
        assert_eq!(acks(5, 8).distance(-1), None);
        assert_eq!(acks(5, 8).distance(i64::MAX), None);
        assert_eq!(acks(5, 8).distance(i64::MIN), None);
    }

    #[test]
    fn a_client_may_keep_32_bits() {
        let large = (1u64 << 33) + 7;
        let acks = Acks {
            confirmed: large,
            offered: large + 3,
            sent: 0,
        };
        assert_eq!(acks.distance(large as i64 + 2), Some(2));
        assert_eq!(acks.distance(9), Some(2));
        let negative = Acks {
            confirmed: (1 << 31) - 1,
            offered: (1 << 31) + 4,
            sent: 0,
        };
        assert_eq!(negative.distance(i64::from(i32::MIN) + 4), Some(5));
        assert_eq!(negative.distance(i64::from(i32::MIN) + 5), None);
    }
}
