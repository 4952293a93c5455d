//! Channel permissions: who may use which channels, by pattern and role.
//!
//! - Without any rule every channel is open.
//! - With rules, the most specific pattern that matches decides alone; a channel that none matches is closed.
//! - A subscription with a wildcard receives from channels of other rules too, so each rule below it must allow it as well.

use std::collections::HashMap;

use ahash::RandomState;
use halley_bayeux::ChannelName;

use crate::config::ChannelRule;

/// What a client wants with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Create,
    Subscribe,
    Publish,
}

impl Operation {
    /// The word in hooks and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
        }
    }
}

/// A role that some rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoleId(u32);

/// Whom a rule lets do something.
#[derive(Debug, Default)]
struct Who {
    everyone: bool,
    /// Whoever has a user.
    users: bool,
    roles: Vec<RoleId>,
}

impl Who {
    fn includes(&self, has_user: bool, roles: &[RoleId]) -> bool {
        self.everyone
            || (self.users && has_user)
            || roles.iter().any(|role| self.roles.contains(role))
    }
}

#[derive(Debug)]
struct Rule {
    subscribe: Who,
    publish: Who,
    /// `None`: whoever may do what creates.
    create: Option<Who>,
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    rules: HashMap<ChannelName, Rule, RandomState>,
    roles: HashMap<String, RoleId, RandomState>,
}

impl Permissions {
    pub(crate) fn new(rules: &[ChannelRule]) -> Self {
        let mut permissions = Self::default();
        for rule in rules {
            let Some(pattern) = rule.pattern.clone() else {
                continue;
            };
            let compiled = Rule {
                subscribe: permissions.who(&rule.subscribe),
                publish: permissions.who(&rule.publish),
                create: rule.create.as_deref().map(|roles| permissions.who(roles)),
            };
            permissions.rules.insert(pattern, compiled);
        }
        permissions
    }

    fn who(&mut self, names: &[String]) -> Who {
        let mut who = Who::default();
        for name in names {
            match name.as_str() {
                "*" => who.everyone = true,
                "user" => who.users = true,
                _ => {
                    let next = RoleId(u32::try_from(self.roles.len()).unwrap_or(u32::MAX));
                    who.roles
                        .push(*self.roles.entry(name.clone()).or_insert(next));
                }
            }
        }
        who
    }

    /// Those of the roles that some rule names, each once: as many at most as the rules have.
    pub(crate) fn known_roles<'a>(&self, names: impl Iterator<Item = &'a str>) -> Box<[RoleId]> {
        let mut known: Vec<RoleId> = Vec::new();
        for name in names {
            if let Some(role) = self.roles.get(name)
                && !known.contains(role)
            {
                known.push(*role);
            }
        }
        known.into()
    }

    /// Whether somebody may do this.
    pub(crate) fn allow(
        &self,
        operation: Operation,
        channel: &ChannelName,
        has_user: bool,
        roles: &[RoleId],
    ) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let Some(rule) = self.deciding(channel) else {
            return false;
        };
        let allowed = match operation {
            Operation::Subscribe => rule.subscribe.includes(has_user, roles),
            Operation::Publish => rule.publish.includes(has_user, roles),
            Operation::Create => rule
                .create
                .as_ref()
                .is_none_or(|who| who.includes(has_user, roles)),
        };
        allowed
            && (operation != Operation::Subscribe
                || !channel.is_wild()
                || self
                    .rules
                    .iter()
                    .filter(|(pattern, _)| channel.matches(pattern))
                    .all(|(_, rule)| rule.subscribe.includes(has_user, roles)))
    }

    /// The rule of the most specific pattern that matches.
    fn deciding(&self, channel: &ChannelName) -> Option<&Rule> {
        let mut found = None;
        channel.for_each_consulted(|name| {
            if found.is_none() {
                found = self.rules.get(name);
            }
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{Create, Publish, Subscribe};

    fn rule(
        pattern: &str,
        subscribe: &[&str],
        publish: &[&str],
        create: Option<&[&str]>,
    ) -> ChannelRule {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        ChannelRule {
            pattern: Some(name(pattern)),
            subscribe: names(subscribe),
            publish: names(publish),
            create: create.map(names),
        }
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    struct Who {
        user: bool,
        roles: &'static [&'static str],
    }
    const NOBODY: Who = Who {
        user: false,
        roles: &[],
    };
    const ALICE: Who = Who {
        user: true,
        roles: &[],
    };
    const MEMBER: Who = Who {
        user: true,
        roles: &["member", "other"],
    };
    const ADMIN: Who = Who {
        user: true,
        roles: &["admin"],
    };

    fn may(permissions: &Permissions, who: &Who, operation: Operation, channel: &str) -> bool {
        let roles = permissions.known_roles(who.roles.iter().copied());
        permissions.allow(operation, &name(channel), who.user, &roles)
    }

    #[test]
    fn without_rules_everything_is_open() {
        let open = Permissions::new(&[]);
        for operation in [Create, Subscribe, Publish] {
            assert!(may(&open, &NOBODY, operation, "/a/b"));
        }
    }

    #[test]
    fn the_most_specific_pattern_decides_alone_and_what_none_matches_is_closed() {
        let permissions = Permissions::new(&[
            rule("/chat/**", &["*"], &["member"], None),
            rule("/chat/news", &["*"], &["admin"], Some(&["admin"])),
            rule("/chat/rooms/*", &["user"], &["user"], Some(&[])),
        ]);
        for (who, operation, channel, allowed) in [
            (&NOBODY, Subscribe, "/chat/a", true),
            (&NOBODY, Publish, "/chat/a", false),
            (&ALICE, Publish, "/chat/a", false),
            (&MEMBER, Publish, "/chat/a/b", true),
            (&MEMBER, Create, "/chat/a", true),
            (&NOBODY, Create, "/chat/a", true),
            // The rule of /chat/** says nothing about this one.
            (&MEMBER, Publish, "/chat/news", false),
            (&ADMIN, Publish, "/chat/news", true),
            (&MEMBER, Create, "/chat/news", false),
            (&ADMIN, Create, "/chat/news", true),
            (&ADMIN, Publish, "/chat/a", false),
            (&NOBODY, Subscribe, "/chat/rooms/1", false),
            (&ALICE, Subscribe, "/chat/rooms/1", true),
            (&ALICE, Create, "/chat/rooms/1", false),
            (&NOBODY, Subscribe, "/chat/rooms/1/deep", true),
            // No rule.
            (&ADMIN, Subscribe, "/chat", false),
            (&ADMIN, Publish, "/other", false),
            (&ADMIN, Create, "/other", false),
        ] {
            assert_eq!(
                may(&permissions, who, operation, channel),
                allowed,
                "{:?} {operation:?} {channel}",
                who.roles
            );
        }
    }

    #[test]
    fn a_wildcard_subscription_needs_every_rule_below_it() {
        let permissions = Permissions::new(&[
            rule("/**", &["*"], &["*"], None),
            rule("/a/**", &["*"], &[], None),
            rule("/a/secret/*", &["admin"], &[], None),
        ]);
        for (channel, nobody, admin) in [
            ("/**", false, true),
            ("/*", true, true),
            ("/a/*", true, true),
            ("/a/**", false, true),
            ("/a/secret/*", false, true),
            ("/a/secret/x", false, true),
            ("/b/**", true, true),
            ("/a/secret/x/**", true, true),
        ] {
            assert_eq!(
                may(&permissions, &NOBODY, Subscribe, channel),
                nobody,
                "{channel}"
            );
            assert_eq!(
                may(&permissions, &ADMIN, Subscribe, channel),
                admin,
                "{channel}"
            );
        }
    }

    #[test]
    fn the_words_for_everyone_and_users_are_no_roles_of_a_token() {
        let permissions = Permissions::new(&[rule("/a", &["user"], &["admin"], None)]);
        let liar = Who {
            user: false,
            roles: &["*", "user"],
        };
        assert!(!may(&permissions, &liar, Subscribe, "/a"));
        assert!(!may(&permissions, &liar, Publish, "/a"));
        assert_eq!(permissions.known_roles(["x"; 1000].into_iter()).len(), 0);
        assert_eq!(
            permissions.known_roles(["admin"; 1000].into_iter()).len(),
            1
        );
    }
}
