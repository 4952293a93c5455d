//! Users that are kept for a while after their sessions or their node were lost, in case they come back.
//!
//! ```text
//!  last session lost here ──▶ fading: stays in the own part, so that no node notices
//!  sibling lost           ──▶ its users stay present for whoever asks this node, and listeners are not told
//!        back there ──▶ nothing has happened        elsewhere ──▶ present there, then absent at the lost node
//!        time is up ──▶ absent
//! ```

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;
use halley_bayeux::Millis;
use smallvec::SmallVec;

use super::user_set::Key;
use crate::NodeName;

/// A user at a lost node, and until when it may come back.
type Lost = SmallVec<[(NodeName, Millis); 1]>;

/// Who may come back. As large as what was lost within one period.
#[derive(Debug)]
pub(super) struct Grace<K> {
    /// Milliseconds; 0: nobody is kept.
    period_ms: u64,
    /// Users of this node without a session.
    fading: HashMap<K, Millis, RandomState>,
    /// Users of siblings that have left.
    lost: HashMap<K, Lost, RandomState>,
    /// Both, in the order in which their time is up; entries of users that are back are passed over.
    order: VecDeque<(Millis, K, Option<NodeName>)>,
}

impl<K> Default for Grace<K> {
    fn default() -> Self {
        Self {
            period_ms: 0,
            fading: HashMap::default(),
            lost: HashMap::default(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Key> Grace<K> {
    pub(super) fn set_period(&mut self, period_ms: u64) {
        self.period_ms = period_ms;
    }

    pub(super) fn is_given(&self) -> bool {
        self.period_ms > 0
    }

    /// The last session of a user of this node was lost.
    pub(super) fn fade(&mut self, user: &K, now: Millis) {
        let until = now.after(self.period_ms);
        self.fading.insert(user.clone(), until);
        self.order.push_back((until, user.clone(), None));
    }

    /// The user has a session again, or left on purpose. Says whether it was fading.
    pub(super) fn stops_fading(&mut self, user: &K) -> bool {
        self.fading.remove(user).is_some()
    }

    /// The node of a user was lost.
    pub(super) fn lose(&mut self, user: &K, node: &NodeName, now: Millis) {
        let until = now.after(self.period_ms);
        let nodes = self.lost.entry(user.clone()).or_default();
        nodes.retain(|(lost, _)| lost != node);
        nodes.push((node.clone(), until));
        self.order
            .push_back((until, user.clone(), Some(node.clone())));
    }

    /// The user is present at a node. Says whether it had been lost there.
    pub(super) fn is_back(&mut self, user: &K, node: &NodeName) -> bool {
        let Some(nodes) = self.lost.get_mut(user) else {
            return false;
        };
        let before = nodes.len();
        nodes.retain(|(lost, _)| lost != node);
        let back = nodes.len() < before;
        if nodes.is_empty() {
            self.lost.remove(user);
        }
        back
    }

    /// The user is present somewhere else: it will not come back where it was lost. Returns these nodes.
    pub(super) fn moved(&mut self, user: &K) -> SmallVec<[NodeName; 1]> {
        let nodes = self.lost.remove(user).unwrap_or_default();
        nodes.into_iter().map(|(node, _)| node).collect()
    }

    /// The lost nodes of a user where it may come back.
    pub(super) fn lost_at(&self, user: &K) -> impl Iterator<Item = &NodeName> {
        let nodes = self.lost.get(user).into_iter().flatten();
        nodes.map(|(node, _)| node)
    }

    /// Users of lost nodes.
    pub(super) fn lost_users(&self) -> impl Iterator<Item = &K> {
        self.lost.keys()
    }

    /// The next user whose time is up: on this node, or at a lost one.
    pub(super) fn next_due(&mut self, now: Millis) -> Option<(K, Option<NodeName>)> {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            let (until, user, node) = self.order.pop_front()?;
            let due = match &node {
                None => self.fading.get(&user) == Some(&until) && self.stops_fading(&user),
                Some(node) => {
                    let here = (node.clone(), until);
                    self.lost
                        .get(&user)
                        .is_some_and(|lost| lost.contains(&here))
                        && self.is_back(&user, node)
                }
            };
            if due {
                return Some((user, node));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use halley_bayeux::UserId;

    use super::*;

    /// Who was lost, came back and was lost again has its time from the second loss on.
    #[test]
    fn a_second_loss_counts_anew() {
        let (user, node) = (UserId::new("ann").unwrap(), NodeName::new("n2").unwrap());
        let mut grace = Grace::default();
        grace.set_period(100);
        grace.fade(&user, Millis(0));
        assert!(grace.stops_fading(&user));
        grace.fade(&user, Millis(50));
        grace.lose(&user, &node, Millis(0));
        assert!(grace.is_back(&user, &node));
        grace.lose(&user, &node, Millis(60));
        assert_eq!(grace.next_due(Millis(149)), None);
        assert_eq!(grace.next_due(Millis(150)), Some((user.clone(), None)));
        assert_eq!(grace.next_due(Millis(159)), None);
        assert_eq!(grace.next_due(Millis(160)), Some((user, Some(node))));
        assert_eq!(grace.next_due(Millis(1000)), None);
    }
}
