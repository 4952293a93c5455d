//! Carries actions out one after the other, in the order in which they were put in, on whatever thread is there.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// A queue without a thread. No lock is held while an action runs, so an action may put further ones in (they run
/// after it), and may take any lock. Its length is bounded by the number of threads and by what actions put in.
#[derive(Debug)]
pub(super) struct Ordered<A> {
    state: Mutex<State<A>>,
}

#[derive(Debug)]
struct State<A> {
    waiting: VecDeque<A>,
    /// Some thread is carrying actions out and will take the new ones too.
    busy: bool,
}

impl<A> Default for Ordered<A> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                busy: false,
            }),
        }
    }
}

impl<A> Ordered<A> {
    pub(super) fn put(&self, action: A, carry_out: impl Fn(A)) {
        {
            let mut state = self.state.lock();
            state.waiting.push_back(action);
            if std::mem::replace(&mut state.busy, true) {
                return;
            }
        }
        loop {
            let action = {
                let mut state = self.state.lock();
                let Some(action) = state.waiting.pop_front() else {
                    state.busy = false;
                    return;
                };
                action
            };
            carry_out(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_that_puts_another_in_does_not_hang() {
        let ordered = Ordered::default();
        let seen = Mutex::new(Vec::new());
        fn run(ordered: &Ordered<u32>, seen: &Mutex<Vec<u32>>, action: u32) {
            seen.lock().push(action);
            if action < 3 {
                ordered.put(action + 1, |_| {
                    unreachable!("the outer call carries it out")
                });
            }
        }
        ordered.put(1, |action| run(&ordered, &seen, action));
        assert_eq!(*seen.lock(), [1, 2, 3]);
    }
}
