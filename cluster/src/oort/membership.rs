//! Who the nodes of the Oort dialect are: a pure state machine, as CometD's.
//!
//! ```text
//!   observe, out_handshaken, out_ended,            Dial, CloseOut, EndSession,
//!   session_added, join, session_removed     ──▶   SendJoin, Joined, Left
//! ```
//!
//! A node has *joined* when three things are here: its reply to this node's handshake, its own handshake, and its join
//! message. It has *left* when its session here has ended, or when the link to it has: losing one direction is losing
//! both. In CometD only the side whose session is gone notices; so here the other one is *renewed*, which the node
//! sees as a farewell and a new link.
//!
//! Tables: `pending` by dialled URL (links without a session), `clients` by id of the node (links with one), `servers` by
//! id (sessions of nodes here). The ids change with each start of a node, the URL is its name.

use std::collections::{BTreeMap, BTreeSet};

/// A link that this node has opened. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct OutId(pub(super) u64);

/// A session of another node, by its key in the engine.
pub(super) type SessionKey = u64;

/// One life of a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct OortNode {
    pub(super) id: String,
    pub(super) url: String,
}

/// What the state machine wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Command {
    /// Open a link to this URL; with the alias by which that node has dialled this one.
    Dial {
        link: OutId,
        url: String,
        alias: Option<String>,
    },
    /// Close a link, for good.
    CloseOut(OutId),
    /// Say goodbye on a link and open it anew; one that does not work at present, as soon as it does. Unless it then
    /// has got another session by itself.
    Renew(OutId),
    /// End a session that another one of the same node has replaced.
    EndSession(SessionKey),
    /// End the session of a node that is to shake hands again.
    ExpireSession(SessionKey),
    /// Subscribe, tell which nodes are known, and confirm.
    SendJoin(OutId),
    /// Tell that a node has joined. It is reached on `out`, and speaks on `session`.
    Joined {
        node: OortNode,
        out: OutId,
        session: SessionKey,
    },
    /// The session on which a joined node speaks is another one now.
    Moved { node: OortNode, session: SessionKey },
    /// The link on which a joined node is reached is another one now.
    Rerouted { node: OortNode, out: OutId },
    /// Tell that a node has left.
    Left(OortNode),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ServerState {
    /// Its handshake is here.
    Handshaken,
    /// And its join message.
    JoinReceived,
    /// And this node's handshake has been answered.
    Joined,
}

#[derive(Debug)]
struct Client {
    url: String,
    link: OutId,
    /// URLs by which it was dialled beside its own.
    aliases: BTreeSet<String>,
}

#[derive(Debug)]
struct Server {
    url: String,
    session: SessionKey,
    state: ServerState,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct OortMembership {
    me: OortNode,
    /// The most nodes, dialled ones included.
    nodes_max: usize,
    pending: BTreeMap<String, OutId>,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
    /// URLs of nodes whose links are renewed, until they have joined again.
    renewing: BTreeSet<String>,
    next_link: u64,
    commands: Vec<Command>,
}

impl OortMembership {
    pub(super) fn new(me: OortNode, nodes_max: usize) -> Self {
        Self {
            me,
            nodes_max,
            pending: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            renewing: BTreeSet::new(),
            next_link: 1,
            commands: Vec::new(),
        }
    }

    /// Takes the commands that have accumulated.
    pub(super) fn commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Whether there is a link to this URL, established or not.
    pub(super) fn is_observed(&self, url: &str) -> bool {
        self.pending.contains_key(url) || self.client_at(url).is_some()
    }

    fn client_at(&self, url: &str) -> Option<&Client> {
        self.clients
            .values()
            .find(|client| client.url == url || client.aliases.contains(url))
    }

    /// The URLs of the nodes to which a link is established.
    pub(super) fn known(&self) -> Vec<String> {
        self.clients
            .values()
            .map(|client| client.url.clone())
            .collect()
    }

    /// Whether a session of the node at this URL exists here.
    pub(super) fn is_connected(&self, url: &str) -> bool {
        self.servers.values().any(|server| server.url == url)
    }

    /// A node may be at this URL. Whether a link is wanted at all.
    pub(super) fn observe(&mut self, url: &str, alias: Option<String>) -> bool {
        if url == self.me.url
            || self.is_observed(url)
            || self.pending.len() + self.clients.len() >= self.nodes_max
        {
            return false;
        }
        let link = OutId(self.next_link);
        self.next_link += 1;
        self.pending.insert(url.to_owned(), link);
        let url = url.to_owned();
        self.commands.push(Command::Dial { link, url, alias });
        true
    }

    /// No link to this URL is wanted any more.
    pub(super) fn deobserve(&mut self, url: &str) {
        if let Some(link) = self.pending.remove(url) {
            self.commands.push(Command::CloseOut(link));
        }
        self.renewing.remove(url);
        self.drop_clients(&[url], None);
    }

    /// A link does not work any more. Its node has left if it had joined, and is to know that.
    pub(super) fn out_lost(&mut self, link: OutId) {
        let found = self.clients.iter().find(|(_, it)| it.link == link);
        let Some(id) = found.map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some(server) = self.servers.get(&id)
            && server.state == ServerState::Joined
        {
            let (session, url) = (server.session, server.url.clone());
            self.servers.remove(&id);
            self.commands.push(Command::ExpireSession(session));
            let node = OortNode {
                id: id.clone(),
                url,
            };
            self.commands.push(Command::Left(node));
        }
        self.renew(&id);
    }

    /// The link to a node begins again, under the same URL.
    fn renew(&mut self, id: &str) {
        let Some(client) = self.clients.remove(id) else {
            return;
        };
        if self.renewing.len() >= self.nodes_max {
            self.renewing.clear();
        }
        self.renewing.insert(client.url.clone());
        self.commands.push(Command::Renew(client.link));
        self.pending.insert(client.url, client.link);
    }

    /// A link has got a session, the first one or a new one.
    pub(super) fn out_handshaken(&mut self, link: OutId, dialled: &str, node: OortNode) {
        self.drop_clients(&[dialled, &node.url], Some(link));
        // Its entry may be under another id: the node has been started anew.
        self.clients.retain(|_, client| client.link != link);
        self.pending.retain(|_, pending| *pending != link);
        if node.id == self.me.id {
            self.commands.push(Command::CloseOut(link));
            return;
        }
        let mut client = Client {
            url: node.url.clone(),
            link,
            aliases: BTreeSet::new(),
        };
        if dialled != node.url {
            client.aliases.insert(dialled.to_owned());
        }
        if let Some(before) = self.clients.insert(node.id.clone(), client)
            && before.link != link
        {
            self.commands.push(Command::CloseOut(before.link));
        }
        let Some(server) = self.servers.get_mut(&node.id) else {
            return;
        };
        self.commands.push(Command::SendJoin(link));
        match server.state {
            ServerState::Handshaken => {}
            ServerState::JoinReceived => {
                server.state = ServerState::Joined;
                self.renewing.remove(&node.url);
                let session = server.session;
                let out = link;
                self.commands.push(Command::Joined { node, out, session });
            }
            ServerState::Joined => self.commands.push(Command::Rerouted { node, out: link }),
        }
    }

    /// Removes links to these URLs, and closes them unless it is the one that has replaced them.
    fn drop_clients(&mut self, urls: &[&str], but: Option<OutId>) {
        let stale = |client: &Client| {
            urls.iter()
                .any(|url| client.url == **url || client.aliases.contains(*url))
        };
        let commands = &mut self.commands;
        self.clients.retain(|_, client| {
            let stale = stale(client);
            if stale && Some(client.link) != but {
                commands.push(Command::CloseOut(client.link));
            }
            !stale
        });
    }

    /// A link has ended for good.
    pub(super) fn out_ended(&mut self, link: OutId) {
        self.pending.retain(|_, pending| *pending != link);
        self.clients.retain(|_, client| client.link != link);
    }

    /// A node has handshaken here. `dialled` is the URL it has used, `caused_by` the one by which this node had dialled
    /// it if that has caused its handshake.
    pub(super) fn session_added(
        &mut self,
        session: SessionKey,
        node: OortNode,
        dialled: &str,
        caused_by: Option<&str>,
    ) {
        let before = self.servers.get(&node.id).map(|s| (s.session, s.state));
        let state = before.map_or(ServerState::Handshaken, |(_, state)| state);
        let server = Server {
            url: node.url.clone(),
            session,
            state,
        };
        self.servers.insert(node.id.clone(), server);
        if state == ServerState::Joined {
            let node = node.clone();
            self.commands.push(Command::Moved { node, session });
        }
        if let Some((session, _)) = before {
            self.commands.push(Command::EndSession(session));
        }
        if let Some(client) = self.clients.get(&node.id) {
            self.commands.push(Command::SendJoin(client.link));
        }
        let expected = caused_by.is_some_and(|url| self.is_observed(url));
        if !expected {
            self.observe(&node.url, Some(dialled.to_owned()));
        }
    }

    /// A node has confirmed this node's reply.
    pub(super) fn join(&mut self, node: &OortNode) {
        let crashed = self
            .servers
            .iter()
            .filter(|(id, server)| server.url == node.url && **id != node.id)
            .map(|(id, server)| (id.clone(), server.session));
        for (id, session) in crashed.collect::<Vec<_>>() {
            self.servers.remove(&id);
            self.commands.push(Command::EndSession(session));
            let url = node.url.clone();
            self.commands.push(Command::Left(OortNode { id, url }));
        }
        let Some(server) = self.servers.get_mut(&node.id) else {
            return;
        };
        if server.state != ServerState::Handshaken {
            return;
        }
        server.state = ServerState::JoinReceived;
        if let Some(client) = self.clients.get(&node.id) {
            server.state = ServerState::Joined;
            self.renewing.remove(&node.url);
            self.commands.push(Command::Joined {
                node: node.clone(),
                out: client.link,
                session: server.session,
            });
        }
    }

    /// A session has ended. When it expired, this node goes on trying to reach that one.
    pub(super) fn session_removed(&mut self, session: SessionKey, expired: bool) {
        let Some(id) = self
            .servers
            .iter()
            .find(|(_, server)| server.session == session)
            .map(|(id, _)| id.clone())
        else {
            return;
        };
        let Some(server) = self.servers.remove(&id) else {
            return;
        };
        if expired {
            if server.state == ServerState::Joined {
                self.renew(&id);
            }
        } else if server.state == ServerState::Joined || !self.renewing.contains(&server.url) {
            // Otherwise it only follows this node's own goodbye.
            let link = match self.pending.remove(&server.url) {
                Some(link) => Some(link),
                None => self.clients.remove(&id).map(|client| client.link),
            };
            self.commands.extend(link.map(Command::CloseOut));
        }
        let url = server.url;
        self.commands.push(Command::Left(OortNode { id, url }));
    }

    /// Starts over under another id, knowing nobody.
    pub(super) fn restart(&mut self, id: String) {
        self.renewing.clear();
        let links = std::mem::take(&mut self.pending).into_values();
        let clients = std::mem::take(&mut self.clients).into_values();
        let links = links.chain(clients.map(|client| client.link));
        self.commands.extend(links.map(Command::CloseOut));
        for (id, server) in std::mem::take(&mut self.servers) {
            let url = server.url;
            self.commands.push(Command::EndSession(server.session));
            self.commands.push(Command::Left(OortNode { id, url }));
        }
        self.me.id = id;
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
