//! Data filters: what code of the node makes of `data` before anybody gets it.

use super::Engine;
use crate::session::Session;
use crate::{ChannelName, DataFilter, DataFilterId, Filtered, Json};
use ahash::RandomState;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

type Entry = (DataFilterId, Arc<dyn DataFilter>);

/// The filters by channel or pattern, in order of registration. No list is empty.
pub(super) type DataFilters = HashMap<ChannelName, Vec<Entry>, RandomState>;

/// A filter refuses the message.
pub(super) struct RefusedByFilter;

impl Engine {
    /// Adds a filter of the data on a channel or on those a pattern matches.
    pub fn add_data_filter(
        &self,
        channel: &ChannelName,
        filter: Arc<dyn DataFilter>,
    ) -> DataFilterId {
        let id = DataFilterId(self.draw_key());
        self.data_filters.rcu(|all| {
            let mut all = DataFilters::clone(all);
            all.entry(channel.clone())
                .or_default()
                .push((id, filter.clone()));
            all
        });
        id
    }

    /// Removes a filter; a message that is in process may still reach it. False when there is none of this id.
    pub fn remove_data_filter(&self, id: DataFilterId) -> bool {
        let before = self.data_filters.rcu(|all| {
            let mut all = DataFilters::clone(all);
            all.retain(|_, entries| {
                entries.retain(|(known, _)| *known != id);
                !entries.is_empty()
            });
            all
        });
        before.values().flatten().any(|(known, _)| *known == id)
    }

    /// Whether nobody filters anything.
    pub(super) fn filters_nothing(&self) -> bool {
        self.data_filters.load().is_empty()
    }

    /// The data that takes the place of `data`; `None` when it stays.
    pub(super) fn filtered_data(
        &self,
        session: Option<&Arc<Session>>,
        channel: &ChannelName,
        data: Option<&str>,
    ) -> Result<Option<String>, RefusedByFilter> {
        let all = self.data_filters.load();
        let Some(data) = data.filter(|_| !all.is_empty()) else {
            return Ok(None);
        };
        let mut lists = SmallVec::<[&[Entry]; 6]>::new();
        channel.for_each_consulted(|name| lists.extend(all.get(name).map(Vec::as_slice)));
        let mut replaced: Option<String> = None;
        for (_, filter) in lists.iter().rev().copied().flatten() {
            match filter.filter(session, channel, replaced.as_deref().unwrap_or(data)) {
                Filtered::Unchanged => {}
                Filtered::Refuse => return Err(RefusedByFilter),
                Filtered::Replace(other) => match Json::validate(&other, self.config.max_depth) {
                    Ok(_) => replaced = Some(other),
                    Err(error) => {
                        tracing::warn!(%channel, %error, "a data filter gave no usable JSON, the message is refused");
                        return Err(RefusedByFilter);
                    }
                },
            }
        }
        Ok(replaced)
    }
}
