// The conversations: the lobby, and one with each user who was written to or who wrote. One of them is in view.

import {avatar, badge, clock, el} from "./look.js";
import {figure} from "./latency.js";

/** Entries kept per conversation, and ids remembered so that nothing is shown twice. */
const KEPT = 500;
const IDS_KEPT = 5000;
/** A message of the same person on the same node within this time goes under the same name. */
const GROUP_MS = 180_000;

export class Room {
    #log = document.getElementById("log");
    #conversations = new Map([[null, []]]);
    #open = null;
    #ids = new Set();

    constructor() {
        this.show(null);
    }

    get open() {
        return this.#open;
    }

    /** Whether a message with this id has been shown; remembers it. */
    isKnown(id) {
        if (this.#ids.has(id)) {
            return true;
        }
        this.#ids.add(id);
        if (this.#ids.size > IDS_KEPT) {
            this.#ids.delete(this.#ids.values().next().value);
        }
        return false;
    }

    /** @param message {id, user, node, text, at, mine, pending, latency} */
    add(conversation, message) {
        this.#push(conversation, {kind: "message", ...message});
    }

    /** A line of the room itself, about the cluster or the people in it. */
    notice(text, {strong = false, conversation = null} = {}) {
        this.#push(conversation, {kind: "notice", text, strong, at: Date.now()});
    }

    /** Changes what is known of a message that was added before, and returns the message. */
    update(id, change) {
        for (const entries of this.#conversations.values()) {
            const entry = entries.findLast((candidate) => candidate.id === id);
            if (entry) {
                Object.assign(entry, change);
                if (entry.element) {
                    this.#drawState(entry);
                    entry.drawBadge?.();
                }
                return entry;
            }
        }
        return null;
    }

    show(conversation) {
        this.#open = conversation;
        const entries = this.#entries(conversation);
        this.#log.replaceChildren();
        this.#log.setAttribute("aria-live", "off");
        let previous = null;
        for (const entry of entries) {
            this.#log.append(this.#draw(entry, previous));
            previous = entry;
        }
        if (entries.length === 0) {
            this.#log.append(this.#empty(conversation));
        }
        this.#log.scrollTop = this.#log.scrollHeight;
        this.#log.setAttribute("aria-live", "polite");
    }

    #entries(conversation) {
        if (!this.#conversations.has(conversation)) {
            this.#conversations.set(conversation, []);
        }
        return this.#conversations.get(conversation);
    }

    #push(conversation, entry) {
        const entries = this.#entries(conversation);
        const previous = entries.at(-1) ?? null;
        entries.push(entry);
        const dropped = entries.length > KEPT ? entries.shift() : null;
        if (conversation !== this.#open) {
            return;
        }
        dropped?.element?.remove();
        this.#log.querySelector(".empty")?.remove();
        const atEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 60;
        this.#log.append(this.#draw(entry, previous));
        if (atEnd || entry.mine) {
            this.#log.scrollTop = this.#log.scrollHeight;
        }
    }

    #draw(entry, previous) {
        if (entry.kind === "notice") {
            entry.element = el("p", entry.strong ? "notice strong" : "notice", el("span", "", entry.text));
            return entry.element;
        }
        const follows = previous?.kind === "message" && previous.user === entry.user
            && (previous.node === entry.node || !entry.node) && entry.at - previous.at < GROUP_MS;
        const element = el("article", follows ? "message" : "message first");
        element.dataset.id = entry.id;
        if (follows) {
            element.append(el("span", ""));
        } else {
            const time = el("time", "", clock(entry.at));
            time.dateTime = new Date(entry.at).toISOString();
            const where = el("span", "");
            entry.drawBadge = () => where.replaceChildren(...(entry.node ? [badge(entry.node)] : []));
            entry.drawBadge();
            element.append(avatar(entry.user), el("div", "head", el("b", "", entry.user), where, time));
        }
        element.append(el("div", "text", entry.text), el("span", "state"));
        entry.element = element;
        this.#drawState(entry);
        return element;
    }

    #drawState(entry) {
        const state = entry.element.querySelector(".state");
        entry.element.classList.toggle("pending", entry.pending === true);
        entry.element.classList.toggle("failed", entry.failed !== undefined);
        if (entry.failed !== undefined) {
            state.textContent = entry.failed;
        } else if (entry.pending) {
            state.textContent = entry.waiting ? "waiting for a node" : "sending";
        } else if (entry.latency !== undefined) {
            state.textContent = figure(entry.latency).join(" ");
            state.title = entry.waiting ? "it waited until a node was reached" : entry.mine ? "from your publish to its delivery back to you" : "since it was sent, by the sender's clock";
        } else {
            state.textContent = entry.mine ? "sent" : "";
        }
    }

    #empty(conversation) {
        return conversation === null
            ? el("p", "empty", el("strong", "", "It is quiet in the lobby"), "Say hello: everyone on every node will see it.")
            : el("p", "empty", el("strong", "", "You and " + conversation), "Only the two of you see what is written here, on whatever nodes you are.");
    }
}

/** The line under a conversation's title. */
export function subtitle(conversation, people) {
    if (conversation === null) {
        return people.summary();
    }
    const nodes = people.nodesOf(conversation);
    return nodes.length === 0 ? "not online" : `online on ${nodes.join(", ")}`;
}
