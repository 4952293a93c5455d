// One user's way into the cluster: a stock CometD client, and another one on another node when the first one's node dies.
//
//   start ──> attempt(url) ──handshake, subscribe, connect──> online ──no node for GRACE_MS──> next url ──> attempt(url)
//
// Each attempt owns a fresh CometD object, so that nothing of a dead connection reaches into the next one. A wanted move
// (another node, another transport) makes the new session before it ends the old one: nobody sees the user leave.

import {CometD} from "./cometd/cometd.js";

/** How long a node may be unreachable before the page turns to another one. */
const GRACE_MS = 2000;
/** How long a reply may take; a frozen node is noticed after this. */
const REPLY_MS = 4000;
/** Pause between two rounds over all known nodes when none of them answers. */
const ROUND_MS = 1000;

/**
 * Events: "state" (detail: {state, node, transport, from, wanted, unreachable}), "message" (detail: {channel, data}).
 * States: "connecting" (the first time), "online", "unsure" (the node does not answer, yet), "moving", "nobody" (a whole round over
 * the known nodes was in vain; it goes on).
 */
export class Connection extends EventTarget {
    #home;
    #user;
    #channels;
    #transport;
    #current = null;
    #next = null;
    #members = [];
    #round = [];
    #rounds = 0;
    #lostFrom = null;
    #stopped = false;

    /**
     * @param home the Bayeux URL of the node that served the page
     * @param user the name to join under
     * @param channels the channels to listen to on every node; all but service channels are subscribed to
     * @param transport "websocket" or "long-polling"
     */
    constructor(home, user, channels, transport) {
        super();
        this.#home = home;
        this.#user = user;
        this.#channels = channels;
        this.#transport = transport;
    }

    start() {
        this.#stopped = false;
        this.#say("connecting");
        this.#attempt(this.#home);
    }

    /** Ends the session at once; for a page that goes away. */
    stop() {
        this.#stopped = true;
        for (const attempt of [this.#current, this.#next]) {
            attempt?.leave(true);
        }
        this.#current = this.#next = null;
    }

    get online() {
        return this.#current !== null && this.#current.online;
    }

    /** What the client and the node agreed on, which may be long-polling where WebSocket was wished for. */
    get transport() {
        return this.#current?.transport ?? this.#transport;
    }

    get url() {
        return this.#current?.url ?? this.#home;
    }

    /** Goes to the given node, keeping the present session until the new one stands. */
    moveTo(url) {
        this.#attempt(url, true);
    }

    /** Uses "websocket" or "long-polling" from now on. */
    useTransport(transport) {
        if (transport !== this.#transport) {
            this.#transport = transport;
            this.#attempt(this.url, true);
        }
    }

    /**
     * Publishes; the promise's value is {sent: true}, {refused: "403::why"}, or {lost: true} when no answer came, in which
     * case the message may or may not have been delivered.
     */
    publish(channel, data) {
        const attempt = this.#current;
        if (!attempt || !attempt.online) {
            return Promise.resolve({lost: true});
        }
        return attempt.publish(channel, data);
    }

    #attempt(url, wanted = false) {
        this.#next?.leave();
        const attempt = new Attempt(reachable(url), this.#transport, this.#user, this.#channels);
        this.#next = attempt;
        attempt.onOnline = () => {
            const old = this.#current;
            const from = wanted ? null : this.#lostFrom;
            this.#current = attempt;
            this.#next = null;
            this.#lostFrom = null;
            this.#round = [];
            this.#rounds = 0;
            old?.leave();
            this.#say("online", {from, wanted});
        };
        attempt.onNode = () => {
            if (attempt === this.#current) {
                this.#say("online", {});
            }
        };
        attempt.onUnsure = (unsure) => {
            if (attempt === this.#current) {
                this.#say(unsure ? "unsure" : "online");
            }
        };
        attempt.onMessage = (channel, data) => {
            if (data && data.type === "nodes" && Array.isArray(data.nodes)) {
                this.#members = data.nodes.filter((node) => typeof node.url === "string");
            }
            this.dispatchEvent(new CustomEvent("message", {detail: {channel, data}}));
        };
        attempt.onLost = () => {
            if (this.#stopped || (attempt !== this.#current && attempt !== this.#next)) {
                return;
            }
            if (attempt === this.#next && wanted && this.#current?.online) {
                // The node that was wanted cannot be reached; the present session is as good as before.
                this.#next = null;
                attempt.leave();
                this.#say("online", {unreachable: attempt.url});
                return;
            }
            if (attempt === this.#current) {
                this.#lostFrom = attempt.node;
                this.#current = null;
                this.#say("moving", {from: attempt.node});
                attempt.leave();
                if (this.#next) {
                    return;
                }
            } else {
                this.#next = null;
                attempt.leave();
            }
            this.#turn(attempt.url);
        };
    }

    /** Attempts the next node of the round; a round visits every known node, the one that failed last. */
    #turn(failed) {
        if (this.#round.length === 0) {
            if (this.#rounds > 0) {
                this.#say("nobody");
            }
            this.#rounds += 1;
            const known = new Set(this.#members.map((member) => reachable(member.url)));
            known.add(this.#home);
            known.delete(failed);
            this.#round = [...shuffled([...known]), failed];
        }
        const url = this.#round.shift();
        const wait = this.#round.length === 0 ? ROUND_MS : 0;
        window.setTimeout(() => {
            if (!this.#stopped && !this.#current && !this.#next) {
                this.#attempt(url);
            }
        }, wait);
    }

    #say(state, more = {}) {
        const attempt = this.#current;
        this.dispatchEvent(new CustomEvent("state", {
            detail: {state, node: attempt?.node ?? null, transport: attempt?.transport ?? this.#transport, ...more},
        }));
    }
}

/** One session with one node. */
class Attempt {
    online = false;
    node = null;
    onOnline = () => {};
    onNode = () => {};
    onMessage = () => {};
    onUnsure = () => {};
    onLost = () => {};

    #cometd = new CometD();
    #left = false;
    #grace = null;
    #failedHandshakes = 0;

    constructor(url, transport, user, channels) {
        this.url = url;
        const cometd = this.#cometd;
        if (transport !== "websocket") {
            cometd.unregisterTransport("websocket");
        }
        cometd.unregisterTransport("callback-polling");
        cometd.configure({
            url,
            logLevel: "warn",
            useWorkerScheduler: false,
            connectTimeout: GRACE_MS,
            maxNetworkDelay: REPLY_MS,
            backoffIncrement: 250,
            maxBackoff: 1000,
        });
        cometd.addListener("/meta/handshake", (reply) => this.#handshaken(reply, channels));
        cometd.addListener("/meta/connect", (reply) => this.#connected(reply));
        cometd.addListener("/meta/disconnect", () => this.#lost());
        // A service channel is nothing to subscribe to: what the node sends there arrives by itself.
        for (const channel of channels.filter(isService)) {
            cometd.addListener(channel, (message) => message.data !== undefined && this.#received(channel, message.data));
        }
        cometd.handshake({ext: {halley: {user}}});
    }

    /** The transport that the client and the node agreed on. */
    get transport() {
        return this.#cometd.getTransport()?.type ?? null;
    }

    publish(channel, data) {
        return new Promise((resolve) => {
            try {
                this.#cometd.publish(channel, data, (reply) => {
                    if (reply.successful) {
                        resolve({sent: true});
                    } else if (reply.failure || String(reply.error ?? "").startsWith("402")) {
                        resolve({lost: true});
                    } else {
                        resolve({refused: String(reply.error ?? "")});
                    }
                });
            } catch {
                resolve({lost: true});
            }
        });
    }

    /**
     * Ends the session with the node, if there still is one; no further event is raised. The promise is kept when the node
     * has answered, or is not expected to any more.
     */
    leave(pageGoes = false) {
        this.#left = true;
        this.online = false;
        window.clearTimeout(this.#grace);
        const clientId = this.#cometd.getClientId();
        if (pageGoes && clientId && this.transport === "long-polling") {
            // Requests of a page that goes away are cut off; a beacon is not. As plain text it goes to a node of another origin at once,
            // where JSON would have to ask first, for a page that is not there any more.
            navigator.sendBeacon(this.url + "/disconnect", JSON.stringify([{channel: "/meta/disconnect", clientId, id: "bye"}]));
        }
        return new Promise((resolve) => {
            window.setTimeout(resolve, GRACE_MS);
            this.#cometd.disconnect(() => resolve());
        });
    }

    #handshaken(reply, channels) {
        if (this.#left) {
            return;
        }
        if (!reply.successful) {
            // The first failure may be that of WebSocket alone: the client then tries long-polling by itself.
            this.#failedHandshakes += 1;
            if (this.#failedHandshakes > 1 || !reply.failure || this.transport === "long-polling") {
                this.#lost();
            } else {
                this.#startGrace();
            }
            return;
        }
        this.#failedHandshakes = 0;
        this.#cometd.batch(() => {
            for (const channel of channels.filter((name) => !isService(name))) {
                this.#cometd.subscribe(channel, (message) => this.#received(channel, message.data));
            }
        });
    }

    #received(channel, data) {
        if (this.#left) {
            return;
        }
        if (data && data.type === "nodes" && typeof data.self === "string" && data.self !== this.node) {
            this.node = data.self;
            this.onMessage(channel, data);
            if (this.online) {
                this.onNode();
            }
            return;
        }
        this.onMessage(channel, data);
    }

    #connected(reply) {
        if (this.#left) {
            return;
        }
        if (reply.successful) {
            const unsure = this.#grace !== null;
            window.clearTimeout(this.#grace);
            this.#grace = null;
            if (!this.online) {
                this.online = true;
                this.onOnline();
            } else if (unsure) {
                this.onUnsure(false);
            }
        } else {
            // A node that still answers but has forgotten the session asks for a new handshake; the client does that.
            this.#startGrace();
        }
    }

    #startGrace() {
        if (this.#grace === null) {
            this.#grace = window.setTimeout(() => this.#lost(), GRACE_MS);
            this.onUnsure(true);
        }
    }

    #lost() {
        if (!this.#left) {
            this.onLost();
        }
    }
}

/** The URL as this browser can reach it: a cluster on this machine is reached under the name that the page was opened with. */
function reachable(url) {
    const loopback = (host) => host === "localhost" || host === "[::1]" || host.startsWith("127.");
    try {
        const parsed = new URL(url);
        if (loopback(parsed.hostname) && loopback(window.location.hostname)) {
            parsed.hostname = window.location.hostname;
        }
        return parsed.href;
    } catch {
        return url;
    }
}

function isService(channel) {
    return channel.startsWith("/service/");
}

function shuffled(list) {
    for (let i = list.length - 1; i > 0; i -= 1) {
        const j = Math.floor(Math.random() * (i + 1));
        [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
}
