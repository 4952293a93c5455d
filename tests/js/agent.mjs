// One browser with stock CometD clients in its tabs, under the orders of a test. Orders name a client; an order that waits
// has a deadline and fails with what was seen instead. Optional arguments: the address that connections come from, and the
// name under which package.json has the client's version.

import {Browser} from "./browser_like.mjs";
import {Inbox, holds} from "./inbox.mjs";
import {serve} from "./orders.mjs";

const browser = new Browser(process.argv[2] ?? "127.0.0.1");
const clients = new Map();

globalThis.window = browser.globals();
const version = process.argv[3] ?? "cometd";
const library = await import(version);
// Up to version 8 it is one CommonJS file.
const {CometD} = library.CometD ? library : library.default;

/** A new extension of the client's own version; up to version 8 each is a CommonJS file of its own. */
async function extension(name) {
    const module = await import(`${version}/${name}Extension.js`);
    return new (module[`${name}Extension`] ?? module.default)();
}

class Client extends Inbox {
    cometd = new CometD();

    subscriptions = new Map();

    extensions = {};

    listen(channel, message) {
        if (message.data !== undefined) {
            this.messages(channel).push({channel: message.channel, data: message.data});
            this.arrived();
        }
    }

    /** Who is present on which nodes, from the roster and the events after it. */
    presence() {
        const users = new Map();
        for (const {data} of this.messages("/halley/presence")) {
            if (data.type === "roster") {
                users.clear();
                data.users.forEach((entry) => users.set(entry.user, new Set(entry.nodes)));
            } else if (data.type === "join") {
                users.set(data.user, (users.get(data.user) ?? new Set()).add(data.node));
            } else if (data.type === "leave") {
                users.get(data.user)?.delete(data.node);
                if (users.get(data.user)?.size === 0) {
                    users.delete(data.user);
                }
            }
        }
        return Object.fromEntries([...users].sort().map(([user, nodes]) => [user, [...nodes].sort()]));
    }
}

const orders = {
    /**
     * {client, url, transport | transports, user?, ack?, extensions?, subscribe?, protocol?, maxNetworkDelay?, typeInPath?, ms?}. Under the name of a client
     * that was told to reload: the page after that.
     */
    async connect(order) {
        const client = new Client();
        clients.set(order.client, client);
        const {cometd} = client;
        for (const transport of cometd.getTransportTypes()) {
            if (!(order.transports ?? [order.transport]).includes(transport)) {
                cometd.unregisterTransport(transport);
            }
        }
        if (order.ack) {
            cometd.registerExtension("ack", await extension("Ack"));
        }
        for (const name of order.extensions ?? []) {
            client.extensions[name] = await extension(name);
            cometd.registerExtension(name, client.extensions[name]);
        }
        for (const channel of order.subscribe ?? []) {
            // Before the handshake: what was on its way to the page before may come with its first connect.
            cometd.addListener(channel, (message) => client.listen(channel, message));
        }
        cometd.configure({url: order.url, protocol: order.protocol ?? null, logLevel: "warn", useWorkerScheduler: false, maxNetworkDelay: order.maxNetworkDelay ?? 30000, appendMessageTypeToURL: order.typeInPath ?? true, backoffIncrement: 200});
        client.handshakes = 0;
        client.connects = [];
        cometd.addListener("/meta/handshake", (reply) => {
            client.handshakes += reply.successful ? 1 : 0;
            client.reloaded = reply.ext?.reload === true;
            client.timesync = reply.ext?.timesync ?? null;
            client.refusal = reply.successful ? null : reply.error ?? "failed";
            client.arrived();
        });
        cometd.addListener("/meta/connect", (reply) => {
            client.connects.push({successful: reply.successful, advice: reply.advice ?? null, error: reply.error ?? null});
            client.arrived();
            // What the client makes of the advice comes after its listeners.
            setTimeout(() => client.arrived());
        });
        // The client has acted on it when its other listeners have been called.
        cometd.addListener("/meta/disconnect", () => setTimeout(() => client.arrived()));
        cometd.addListener("/service/user", (message) => client.listen("/service/user", message));
        cometd.handshake(order.user === undefined ? {} : {ext: {halley: {user: order.user}}});
        await client.until(() => client.connects.some((reply) => reply.successful), order.ms ?? 20000, () => ({connects: client.connects, refusal: client.refusal}));
        return {id: cometd.getClientId(), transport: transportOf(cometd), reloaded: client.reloaded};
    },

    /** {client, url, transport, moment, ms}: a client that disconnects at a moment of its life; answers with its status when it is disconnected. */
    async leave(order) {
        const client = new Client();
        clients.set(order.client, client);
        const {cometd} = client;
        client.handshakes = 0;
        client.connects = [];
        for (const transport of cometd.getTransportTypes()) {
            if (transport !== order.transport) {
                cometd.unregisterTransport(transport);
            }
        }
        const leave = () => {
            client.left = true;
            cometd.disconnect();
        };
        cometd.configure({url: order.url, logLevel: "off", useWorkerScheduler: false, backoffIncrement: 200});
        cometd.addListener("/meta/handshake", (reply) => {
            client.handshakes += reply.successful ? 1 : 0;
            if (order.moment === "handshake") {
                leave();
            } else if (["subscribed", "message"].includes(order.moment)) {
                cometd.subscribe("/leave", () => leave(), () => {
                    if (order.moment === "subscribed") {
                        leave();
                    } else {
                        cometd.publish("/leave", {});
                    }
                });
            }
        });
        cometd.addListener("/meta/connect", (reply) => {
            client.connects.push(reply);
            if (order.moment === "connect") {
                leave();
            }
            setTimeout(() => client.arrived());
        });
        for (const channel of ["/meta/disconnect", "/meta/unsuccessful"]) {
            cometd.addListener(channel, () => setTimeout(() => client.arrived()));
        }
        cometd.handshake();
        if (order.moment === "at once") {
            leave();
        }
        return client.until(() => client.left && cometd.getStatus() === "disconnected" && {status: cometd.getStatus()}, order.ms, () => cometd.getStatus());
    },

    /** What has come to the browser, response by response and frame by frame. */
    async frames() {
        return browser.frames;
    },

    /** The paths of the browser's requests since the last time. */
    async paths() {
        return browser.paths.splice(0);
    },

    subscribe: (order, client) => new Promise((resolve) => {
        const subscription = client.cometd.subscribe(order.channel, (message) => client.listen(order.channel, message), (reply) => resolve(outcome(reply)));
        client.subscriptions.set(order.channel, subscription);
    }),

    /** {channels}: one message for several channels. The client has no call for that: an extension writes the array into its message. */
    subscribe_many: (order, client) => new Promise((resolve) => {
        const {cometd} = client;
        cometd.registerExtension("array", {
            outgoing: (message) => {
                if (message.channel === "/meta/subscribe") {
                    message.subscription = order.channels;
                }
                return message;
            },
        });
        const [first, ...others] = order.channels;
        // A channel that has a listener already would not be sent.
        cometd.subscribe(first, (message) => client.listen(first, message), (reply) => resolve(outcome(reply)));
        others.forEach((channel) => cometd.addListener(channel, (message) => client.listen(channel, message)));
        cometd.unregisterExtension("array");
    }),

    unsubscribe: (order, client) => new Promise((resolve) => {
        client.cometd.unsubscribe(client.subscriptions.get(order.channel), (reply) => resolve(outcome(reply)));
    }),

    /** {messages: [{channel, data}]}: all of them in one batch; the answer has their outcomes. */
    async batch(order, {cometd}) {
        let outcomes;
        cometd.batch(() => {
            outcomes = order.messages.map(({channel, data}) => new Promise((resolve) => {
                cometd.publish(channel, data, (reply) => resolve(outcome(reply)));
            }));
        });
        return Promise.all(outcomes);
    },

    publish: (order, {cometd}) => new Promise((resolve) => {
        cometd.publish(order.channel, order.data, (reply) => resolve(outcome(reply)));
    }),

    /** {target, data, timeout?}: a remote call; the answer is its result or failure. */
    call: (order, {cometd}) => new Promise((resolve) => {
        cometd.remoteCall(order.target, order.data, order.timeout ?? 30000, (reply) => resolve({...outcome(reply), data: reply.data ?? null}));
    }),

    /** {channel, count, window, batch, publisher}: numbered messages, at most `window` of them without their answer. */
    flood: (order, {cometd}) => new Promise((resolve) => {
        let next = 0;
        let answered = 0;
        let refused = 0;
        let flying = 0;
        const batch = order.batch ?? 1;
        const more = () => {
            while (next < order.count && flying + batch <= order.window) {
                cometd.batch(() => {
                    for (let i = 0; i < batch && next < order.count; i += 1) {
                        flying += 1;
                        cometd.publish(order.channel, {publisher: order.publisher, number: next}, (reply) => {
                            flying -= 1;
                            answered += 1;
                            refused += reply.successful ? 0 : 1;
                            if (answered === order.count) {
                                resolve({answered, refused});
                            } else {
                                more();
                            }
                        });
                        next += 1;
                    }
                });
            }
        };
        more();
    }),

    /** {channel, publisher, count, ms}: until that many numbered messages of one publisher have arrived. */
    tally_until: (order, client) => client.until(
        () => numbers(order, client).length >= order.count && {}, order.ms, () => numbers(order, client).length),

    /** What arrived of the numbered messages of one publisher: how many, which were lost, twice, out of order. */
    async tally(order, client) {
        const arrived = numbers(order, client);
        const seen = new Set(arrived);
        const lost = [];
        for (let i = 0; i < order.count; i += 1) {
            if (!seen.has(i)) {
                lost.push(i);
            }
        }
        let disorder = 0;
        for (let i = 1; i < arrived.length; i += 1) {
            disorder += arrived[i] < arrived[i - 1] ? 1 : 0;
        }
        return {count: arrived.length, lost: lost.slice(0, 20), twice: arrived.length - seen.size, disorder};
    },

    /** {channel, data, ms}: until a message arrives whose data holds all of these fields. */
    message: (order, client) => client.until(
        () => client.messages(order.channel).find((message) => holds(message.data, order.data)), order.ms, () => client.messages(order.channel).slice(-5)),

    async received(order, client) {
        return client.messages(order.channel);
    },

    async forget(order, client) {
        client.received.set(order.channel, []);
        return {};
    },

    /** {presence, ms}: until exactly these users are present on exactly these nodes. */
    presence: (order, client) => client.until(
        () => JSON.stringify(client.presence()) === JSON.stringify(sorted(order.presence)) && {}, order.ms, () => client.presence()),

    /** {names, ms}: until the cluster panel's channel names exactly these nodes; answers with its last state. */
    nodes: (order, client) => client.until(() => {
        const last = client.messages("/halley/cluster").at(-1)?.data;
        const names = last?.nodes.map((node) => node.name).sort();
        return JSON.stringify(names) === JSON.stringify([...order.names].sort()) && last;
    }, order.ms, () => client.messages("/halley/cluster").at(-1)?.data ?? null),

    /** {multiple, ms}: until a connect reply's advice says whether the browser has several clients. */
    multiple: (order, client) => client.until(
        () => client.connects.find((reply) => reply.advice?.["multiple-clients"] === true), order.ms, () => client.connects),

    /** {handshakes, ms}: until the client has made that many handshakes, and is connected. */
    handshakes: (order, client) => client.until(
        () => client.handshakes >= order.handshakes && {handshakes: client.handshakes, id: client.cometd.getClientId()}, order.ms, () => ({handshakes: client.handshakes, connects: client.connects.slice(-3)})),

    /** The page is left, and its connections with it; the next `connect` of this name is the page after. */
    async reload(order, {cometd}) {
        cometd.reload();
        return {};
    },

    /** {channel, bytes}: published by the binary extension; the answer has the outcome. */
    publish_binary: (order, {cometd}) => new Promise((resolve) => {
        cometd.publishBinary(order.channel, new Uint8Array(order.bytes), true, {name: "picture"}, (reply) => resolve(outcome(reply)));
    }),

    /** {channel, ms}: until bytes arrive. */
    bytes: (order, client) => client.until(() => {
        const message = client.messages(order.channel).find(({data}) => data.data instanceof ArrayBuffer);
        return message && {bytes: [...new Uint8Array(message.data.data)], last: message.data.last, meta: message.data.meta};
    }, order.ms, () => client.messages(order.channel).slice(-5)),

    /** What the timesync extension has found out, and the node's answer to it at the handshake. */
    async clock(order, {extensions, timesync}) {
        const {TimeSync} = extensions;
        return {lag: TimeSync.getNetworkLag(), offset: TimeSync.getTimeOffset(), answer: timesync};
    },

    /** {ms}: until a handshake has failed. */
    failed_handshake: (order, client) => client.until(() => client.refusal ? {refusal: client.refusal} : false, order.ms, () => client.connects.slice(-3)),

    /** The replies to all connects, in short. */
    async connects(order, client) {
        return client.connects.map(({successful, error}) => error ?? successful);
    },

    /** {ms}: until the client is told to stay away, and has given up. */
    disconnected: (order, client) => client.until(() => client.cometd.isDisconnected() && {handshakes: client.handshakes}, order.ms, () => ({status: client.cometd.getStatus(), connects: client.connects.slice(-3)})),

    /** {client, url}: a client of version 9 or later that has but a transport of its own; answers with why it has failed. */
    async pigeon(order) {
        const client = new Client();
        clients.set(order.client, client);
        const {cometd} = client;
        const {LongPollingTransport} = await import("cometd/LongPollingTransport.js");
        cometd.unregisterTransports();
        cometd.registerTransport("pigeon", new LongPollingTransport());
        cometd.configure({url: order.url, logLevel: "off", useWorkerScheduler: false});
        client.handshakes = 0;
        client.connects = [];
        let reason = null;
        cometd.onTransportException = (failure) => {
            reason = failure?.reason ?? null;
        };
        return new Promise((resolve) => {
            // The exception is told after the reply.
            cometd.handshake((reply) => setTimeout(() => resolve({successful: reply.successful === true, reason, advice: reply.advice ?? null})));
        });
    },

    disconnect: (order, {cometd}) => new Promise((resolve) => {
        cometd.disconnect((reply) => resolve(outcome(reply)));
    }),

    /** The browser loses a cookie. */
    async drop_cookie(order) {
        browser.drop(order.host, order.name);
    },

    async cookie(order) {
        return {value: browser.cookie(order.host, order.name)};
    },
};

function numbers(order, client) {
    return client.messages(order.channel).filter(({data}) => data.publisher === order.publisher).map(({data}) => data.number);
}

function transportOf(cometd) {
    const transport = cometd.getTransport();
    return transport.type ?? transport.getType();
}

function outcome(reply) {
    return {successful: reply.successful === true, error: reply.error ?? (reply.failure ? "failed" : null)};
}

function sorted(presence) {
    return Object.fromEntries(Object.entries(presence).sort().map(([user, nodes]) => [user, [...nodes].sort()]));
}

serve(async (order) => {
    const client = clients.get(order.client);
    if (!client && !["connect", "leave", "frames", "paths", "pigeon", "cookie", "drop_cookie"].includes(order.order)) {
        throw new Error(`no client ${order.client}`);
    }
    return orders[order.order](order, client);
});
