// The members of the cluster, from the replicated object that each node keeps its figures in.

import {badge, el, plural} from "./look.js";

/** How long a node that has gone is still shown. */
const GONE_MS = 15_000;

export class Cluster {
    #onMove;
    #nodes = [];
    #gone = new Map();
    #here = null;

    /** @param onMove called with the Bayeux URL of the node to move to */
    constructor(onMove) {
        this.#onMove = onMove;
    }

    /** A message of the cluster channel. */
    update(data) {
        const present = new Set(data.nodes.map((node) => node.name));
        for (const old of this.#nodes) {
            if (!present.has(old.name)) {
                this.#gone.set(old.name, old);
                window.setTimeout(() => {
                    if (this.#gone.get(old.name) === old) {
                        this.#gone.delete(old.name);
                        this.#draw();
                    }
                }, GONE_MS);
            }
        }
        present.forEach((name) => this.#gone.delete(name));
        this.#nodes = [...data.nodes].sort((a, b) => a.name.localeCompare(b.name, undefined, {numeric: true}));
        this.#draw();
    }

    /** Which node this page is on; null while it is on none. */
    here(node) {
        this.#here = node;
        this.#draw();
    }

    #draw() {
        const focused = document.activeElement?.dataset?.key;
        const gone = [...this.#gone.values()].filter((node) => !this.#nodes.some((other) => other.name === node.name));
        const all = [...this.#nodes, ...gone].sort((a, b) => a.name.localeCompare(b.name, undefined, {numeric: true}));
        document.getElementById("nodes").replaceChildren(...all.map((node) => this.#card(node, gone.includes(node))));
        document.getElementById("cluster-count").textContent = String(this.#nodes.length);
        document.getElementById("tab-cluster").textContent = String(this.#nodes.length);
        if (focused) {
            document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
        }
    }

    #card(node, gone) {
        const here = !gone && node.name === this.#here;
        const card = el("li", gone ? "node gone" : here ? "node here" : "node");
        card.dataset.node = node.name;
        const head = el("div", "node-head", badge(node.name));
        if (gone) {
            head.append(el("span", "state", "has left the cluster"));
        } else if (here) {
            head.append(el("span", "state", "you are here"));
        } else if (node.url) {
            const move = el("button", "quiet", "Move here");
            move.type = "button";
            move.dataset.key = "move:" + node.name;
            move.setAttribute("aria-label", "Move to node " + node.name);
            move.addEventListener("click", () => this.#onMove(node.url));
            head.append(move);
        }
        card.append(head);
        if (!gone) {
            card.append(el("div", "node-facts",
                el("span", "", el("b", "", String(node.sessions)), " " + plural(node.sessions, "session").replace(/^\d+ /, "")),
                el("span", "", el("b", "", String(node.users)), " " + plural(node.users, "user").replace(/^\d+ /, ""))));
            const page = pageOf(node.url);
            if (page) {
                const link = el("a", "", page.host);
                link.href = page.href;
                link.target = "_blank";
                link.rel = "noopener";
                link.title = "Open this node's page in a new tab";
                card.append(el("div", "node-url", link));
            }
        }
        return card;
    }
}

/** The page of the node whose Bayeux URL this is; only web addresses become links. */
function pageOf(url) {
    try {
        const page = new URL("/", url);
        return /^https?:$/.test(page.protocol) ? page : null;
    } catch {
        return null;
    }
}
