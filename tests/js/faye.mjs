// Faye clients under the orders of a test, with the orders of agent.mjs that conversations use. A Faye client handshakes over
// long-polling and goes on over what it prefers of the server's offer.

import faye from "faye";
import {serve} from "./orders.mjs";
import {Inbox, holds} from "./inbox.mjs";

const clients = new Map();

class Client extends Inbox {
    subscriptions = new Map();
    unsubscribed = new Set();
    handshakes = 0;
    connected = false;
    id = null;

    constructor({url, transport, user}) {
        super();
        this.faye = new faye.Client(url, {retry: 0.2});
        if (transport !== "websocket") {
            this.faye.disable("websocket");
        }
        this.faye.addExtension({
            outgoing: (message, callback) => {
                if (message.channel === "/meta/handshake" && user !== undefined) {
                    message.ext = {halley: {user}};
                }
                callback(message);
            },
            incoming: (message, callback) => {
                this.seen(message);
                callback(message);
            },
        });
    }

    seen(message) {
        if (message.channel === "/meta/handshake" && message.successful) {
            this.handshakes += 1;
            this.connected = false;
            this.id = message.clientId;
        } else if (message.channel === "/meta/connect") {
            this.connected = message.successful === true;
        } else if (message.channel === "/meta/unsubscribe" && message.successful) {
            this.unsubscribed.add(message.subscription);
        } else if (message.channel === "/service/user" && message.data !== undefined) {
            this.messages("/service/user").push({channel: message.channel, data: message.data});
        }
        this.arrived();
    }

    listen(pattern) {
        const subscription = this.faye.subscribe(pattern).withChannel((channel, data) => {
            this.messages(pattern).push({channel, data});
            this.arrived();
        });
        this.subscriptions.set(pattern, subscription);
        return subscription;
    }
}

const orders = {
    /** {client, url, transport, user?} */
    async connect(order) {
        const client = new Client(order);
        clients.set(order.client, client);
        client.faye.connect();
        // The first connect is held: connected means that it is on its way, over the transport that was chosen.
        await client.until(() => client.handshakes > 0 && client.faye._state === client.faye.CONNECTED, 20000, () => client.handshakes);
        return {id: client.id};
    },

    subscribe: (order, client) => outcome(client.listen(order.channel)),

    async subscribe_many(order, client) {
        const outcomes = await Promise.all(order.channels.map((channel) => outcome(client.listen(channel))));
        return outcomes.find(({successful}) => !successful) ?? outcomes[0];
    },

    async unsubscribe(order, client) {
        client.subscriptions.get(order.channel).cancel();
        await client.until(() => client.unsubscribed.has(order.channel), 10000, () => [...client.unsubscribed]);
        return {successful: true, error: null};
    },

    publish: (order, client) => outcome(client.faye.publish(order.channel, order.data)),

    /** {messages: [{channel, data}]}: what is published in one turn leaves in one request over HTTP, in several frames over WebSocket. */
    batch: (order, client) => Promise.all(order.messages.map(({channel, data}) => outcome(client.faye.publish(channel, data)))),

    message: (order, client) => client.until(
        () => client.messages(order.channel).find((message) => holds(message.data, order.data)), order.ms, () => client.messages(order.channel).slice(-5)),

    async received(order, client) {
        return client.messages(order.channel);
    },

    handshakes: (order, client) => client.until(
        () => client.handshakes >= order.handshakes && {handshakes: client.handshakes, id: client.id}, order.ms, () => client.handshakes),

    /** The transport in use. */
    async transport(order, client) {
        return {transport: client.faye._dispatcher.connectionType};
    },

    disconnect: (order, client) => outcome(client.faye.disconnect()),
};

async function outcome(promise) {
    try {
        await promise;
        return {successful: true, error: null};
    } catch (error) {
        return {successful: false, error: `${error.code}:${error.params.join(",")}:${error.message}`};
    }
}

serve(async (order) => {
    const client = clients.get(order.client);
    if (!client && order.order !== "connect") {
        throw new Error(`no client ${order.client}`);
    }
    return orders[order.order](order, client);
});
