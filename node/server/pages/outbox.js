// What this tab has sent and not yet seen accepted. A message stays here until a node has answered for it; when the page
// has moved to another node it is sent again under the same id, and receivers drop what they have already shown.

/** More than this and the oldest is given up, visibly. */
const WAITING_MAX = 200;

export class Outbox {
    #connection;
    #waiting = new Map();
    #onChange;

    /**
     * @param connection where to publish
     * @param onChange called with (id, outcome) where outcome is "sent", "waiting", or {refused: reason}
     */
    constructor(connection, onChange) {
        this.#connection = connection;
        this.#onChange = onChange;
    }

    get size() {
        return this.#waiting.size;
    }

    /** How many are waiting for a node, as opposed to being on their way to one. */
    get stalled() {
        return [...this.#waiting.values()].filter((entry) => !entry.flying).length;
    }

    /** @param data a function that makes the data, called each time the message is sent */
    put(id, channel, data) {
        if (this.#waiting.size >= WAITING_MAX) {
            const [oldest] = this.#waiting.keys();
            this.#settle(oldest, {refused: "too many messages are waiting"});
        }
        const entry = {channel, data, flying: false};
        this.#waiting.set(id, entry);
        this.#send(id, entry);
    }

    /** Sends everything that waits, in the order in which it was put. */
    flush() {
        for (const [id, entry] of this.#waiting) {
            if (!entry.flying) {
                this.#send(id, entry);
            }
        }
    }

    /** The message came back from the cluster: whatever the answer was, it has been sent. */
    seen(id) {
        this.#settle(id, "sent");
    }

    async #send(id, entry) {
        if (!this.#connection.online) {
            this.#onChange(id, "waiting");
            return;
        }
        entry.flying = true;
        const outcome = await this.#connection.publish(entry.channel, entry.data());
        entry.flying = false;
        if (!this.#waiting.has(id)) {
            return;
        }
        if (outcome.sent) {
            this.#settle(id, "sent");
        } else if (outcome.refused !== undefined) {
            this.#settle(id, {refused: outcome.refused});
        } else {
            this.#onChange(id, "waiting");
            if (this.#connection.online) {
                // The answer was lost with a connection that has since been replaced.
                window.setTimeout(() => this.flush(), 250);
            }
        }
    }

    #settle(id, outcome) {
        if (this.#waiting.delete(id)) {
            this.#onChange(id, outcome);
        }
    }
}
