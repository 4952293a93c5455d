// Who is online and on which nodes, as the node's presence channel says; and the list of conversations.

import {avatar, badge, el, plural} from "./look.js";

export class People {
    #me;
    #onOpen;
    #users = new Map();
    #direct = new Set();
    #unread = new Map();
    #open = null;

    /** @param onOpen called with a user's name, or null for the lobby */
    constructor(me, onOpen) {
        this.#me = me;
        this.#onOpen = onOpen;
        this.#draw();
    }

    /** A message of the presence channel; returns what a reader of the room should be told, or null. */
    presence(data) {
        let news = null;
        if (data.type === "roster") {
            this.#users = new Map(data.users.map((entry) => [entry.user, new Set(entry.nodes)]));
        } else if (data.type === "join") {
            const nodes = this.#users.get(data.user);
            if (nodes) {
                nodes.add(data.node);
            } else {
                this.#users.set(data.user, new Set([data.node]));
                news = data.user === this.#me ? null : `${data.user} joined on ${data.node}`;
            }
        } else if (data.type === "leave") {
            const nodes = this.#users.get(data.user);
            if (nodes?.delete(data.node) && nodes.size === 0) {
                this.#users.delete(data.user);
                news = data.user === this.#me ? null : `${data.user} left`;
            }
        }
        this.#draw();
        return news;
    }

    isOnline(user) {
        return this.#users.has(user);
    }

    nodesOf(user) {
        return [...(this.#users.get(user) ?? [])].sort();
    }

    summary() {
        const nodes = new Set();
        for (const set of this.#users.values()) {
            set.forEach((node) => nodes.add(node));
        }
        return this.#users.size === 0 ? "" : `${plural(this.#users.size, "person", "people")} on ${plural(nodes.size, "node")}`;
    }

    /** Shows which conversation is open: a user's name, or null for the lobby. */
    opened(user) {
        this.#open = user;
        if (user !== null) {
            this.#direct.add(user);
        }
        this.#unread.delete(user);
        this.#draw();
    }

    /** A message arrived in a conversation that is not in view. */
    unread(user) {
        if (user !== null) {
            this.#direct.add(user);
        }
        this.#unread.set(user, (this.#unread.get(user) ?? 0) + 1);
        this.#draw();
    }

    get unreadTotal() {
        return [...this.#unread.values()].reduce((sum, count) => sum + count, 0);
    }

    #draw() {
        const focused = document.activeElement?.dataset?.key;
        const names = [...this.#users.keys()].sort((a, b) => (b === this.#me) - (a === this.#me) || a.localeCompare(b));

        const lobbyMark = el("span", "avatar room", "#");
        lobbyMark.setAttribute("aria-hidden", "true");
        const rooms = [this.#row("button", null, lobbyMark, "Lobby", this.#unreadBadge(null))];
        for (const user of this.#direct) {
            const row = this.#row("button", user, avatar(user), user, this.#unreadBadge(user));
            row.classList.toggle("gone", !this.isOnline(user));
            rooms.push(row);
        }
        document.getElementById("rooms").replaceChildren(...rooms.map((row) => el("li", "", row)));

        const users = names.map((user) => {
            const mine = user === this.#me;
            const end = el("span", "row-end", ...this.nodesOf(user).map(badge));
            const row = mine
                ? el("div", "row", avatar(user), el("span", "row-name", user), el("span", "row-you", "you"), end)
                : this.#row("button", user, avatar(user), user, end, "user:");
            if (!mine) {
                row.title = "Write to " + user + " directly";
                row.removeAttribute("aria-current");
            }
            return el("li", "", row);
        });
        document.getElementById("users").replaceChildren(...users);
        document.getElementById("people-count").textContent = String(names.length);
        document.getElementById("tab-people").textContent = String(names.length);
        document.getElementById("users-hint").hidden = names.length !== 1;
        if (focused) {
            document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
        }
    }

    #row(tag, user, mark, name, end, prefix = "room:") {
        const row = el(tag, "row", mark, el("span", "row-name", name), end);
        row.type = "button";
        row.dataset.key = prefix + (user ?? "");
        row.setAttribute("aria-current", String(user === this.#open));
        row.addEventListener("click", () => this.#onOpen(user));
        return row;
    }

    #unreadBadge(user) {
        const count = this.#unread.get(user);
        if (!count) {
            return null;
        }
        const mark = el("span", "unread", String(count), el("span", "visually-hidden", " unread"));
        return el("span", "row-end", mark);
    }
}
