// The page: wires the connection to the views. One tab is one session of one user.

import {Connection} from "./connection.js";
import {Outbox} from "./outbox.js";
import {Latency, figure, now} from "./latency.js";
import {People} from "./people.js";
import {Room, subtitle} from "./room.js";
import {Cluster} from "./cluster.js";
import {avatar, plural} from "./look.js";

const LOBBY = "/chat/lobby";
const PULSE = "/chat/pulse";
const DIRECT = "/service/user";
const PRESENCE = "/halley/presence";
const CLUSTER = "/halley/cluster";
const PULSE_MS = 3000;
/** A latency beyond this is a clock that differs, not a latency. */
const CLOCK_TRUST_MS = 60_000;
/** How long "you are on another node now" stays in the banner. */
const BANNER_MS = 8000;

const byId = (id) => document.getElementById(id);
const tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
let serial = 0;
const nextId = () => `${tab}-${++serial}`;

welcome(start);

/** Asks for a name, unless this tab already has one. */
function welcome(joined) {
    const dialog = byId("welcome");
    const known = sessionStorage.getItem("halley.user");
    if (known) {
        joined(known);
        return;
    }
    const input = byId("welcome-name");
    const error = byId("welcome-error");
    input.value = sessionStorage.getItem("halley.user.last") ?? "";
    // The page cannot be used without a name.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    byId("welcome-form").addEventListener("submit", (event) => {
        event.preventDefault();
        const name = input.value.trim().replace(/\s+/g, " ");
        if (name === "") {
            error.textContent = "Please enter a name.";
            error.hidden = false;
            input.focus();
            return;
        }
        sessionStorage.setItem("halley.user", name);
        dialog.close();
        joined(name);
    });
    dialog.showModal();
    input.focus();
}

function start(me) {
    byId("me-name").textContent = me;
    byId("me-avatar").replaceWith(avatar(me));
    byId("rename").addEventListener("click", () => {
        sessionStorage.setItem("halley.user.last", me);
        sessionStorage.removeItem("halley.user");
        window.location.reload();
    });

    const path = document.querySelector('meta[name="halley-path"]').content;
    const home = new URL(path, window.location.href).href;
    const transport = sessionStorage.getItem("halley.transport") === "long-polling" ? "long-polling" : "websocket";
    const connection = new Connection(home, me, [LOBBY, PULSE, DIRECT, PRESENCE, CLUSTER], transport);
    const latency = new Latency();
    const room = new Room();
    const people = new People(me, open);
    const cluster = new Cluster((url) => connection.moveTo(url));
    const outbox = new Outbox(connection, settled);
    const pulses = new Map();
    // Direct messages under way: once sent they go to the other tabs of the same user too.
    const copies = new Map();
    // Where the page is, where it was last, and which node it has lost and not yet told of.
    let node = null;
    let lastNode = null;
    let lostNode = null;
    let state = "connecting";
    let bannerTimer = null;

    connection.addEventListener("state", ({detail}) => stateChanged(detail));
    connection.addEventListener("message", ({detail}) => received(detail.channel, detail.data));
    compose();
    views();
    transportSwitch();
    connection.start();
    window.setInterval(pulse, PULSE_MS);
    window.addEventListener("pagehide", () => connection.stop());
    window.addEventListener("pageshow", (event) => event.persisted && connection.start());

    // What arrives

    function received(channel, data) {
        if (!data || typeof data !== "object") {
            return;
        }
        if (channel === LOBBY) {
            chat(null, data, String(data.user ?? ""));
        } else if (channel === DIRECT) {
            const content = data.data;
            if (content && typeof content === "object") {
                if (data.from === me && data.to === me && typeof content.to === "string") {
                    copied(content);
                    return;
                }
                chat(data.from === me ? String(data.to) : String(data.from), content, String(data.from));
            }
        } else if (channel === PULSE) {
            const at = pulses.get(data.id);
            if (at !== undefined) {
                pulses.delete(data.id);
                measured(now() - at);
            }
        } else if (channel === PRESENCE) {
            const news = people.presence(data);
            if (news) {
                room.notice(news);
            }
            head();
        } else if (channel === CLUSTER && Array.isArray(data.nodes)) {
            cluster.update(data);
            head();
        }
    }

    /** What this user has written to somebody in another tab. */
    function copied(content) {
        if (!String(content.id).startsWith(tab + "-")) {
            chat(content.to, content, me);
        }
    }

    function chat(conversation, data, user) {
        if (typeof data.text !== "string" || typeof data.id !== "string") {
            return;
        }
        const mine = data.id.startsWith(tab + "-");
        const took = now() - Number(data.at);
        if (mine) {
            outbox.seen(data.id);
            if (!room.isKnown("back:" + data.id)) {
                // What waited for a node says nothing about the cluster's latency.
                if (!room.update(data.id, {pending: false, latency: took})?.waiting) {
                    measured(took);
                }
            }
            return;
        }
        if (room.isKnown(data.id)) {
            return;
        }
        room.add(conversation, {
            id: data.id,
            user,
            node: typeof data.node === "string" ? data.node : null,
            text: data.text,
            at: Number.isFinite(Number(data.at)) ? Number(data.at) : Date.now(),
            mine: user === me,
            latency: took > -50 && took < CLOCK_TRUST_MS ? Math.max(0, took) : undefined,
        });
        if (conversation !== room.open || document.hidden || document.body.dataset.view !== "chat") {
            people.unread(conversation);
            unreadMark();
        }
    }

    function measured(ms) {
        latency.add(ms);
        where();
    }

    // What is sent

    function send(text) {
        const id = nextId();
        const to = room.open;
        const at = now();
        const content = () => ({id, user: me, node, text, at});
        room.isKnown(id);
        room.add(to, {id, user: me, node, text, at, mine: true, pending: true});
        if (to === null) {
            outbox.put(id, LOBBY, content);
        } else {
            if (to !== me) {
                copies.set(id, () => ({...content(), to}));
            }
            outbox.put(id, DIRECT, () => ({to, data: content()}));
        }
    }

    function settled(id, outcome) {
        if (outcome === "sent") {
            room.update(id, {pending: false, failed: undefined, node});
            const copy = copies.get(id);
            if (copy) {
                connection.publish(DIRECT, {to: me, data: copy()});
            }
            copies.delete(id);
        } else if (outcome === "waiting") {
            room.update(id, {waiting: true});
        } else {
            room.update(id, {pending: false, failed: refusal(outcome.refused)});
            copies.delete(id);
        }
        waiting();
    }

    function pulse() {
        if (!connection.online) {
            return;
        }
        const id = nextId();
        pulses.set(id, now());
        if (pulses.size > 10) {
            pulses.delete(pulses.keys().next().value);
        }
        connection.publish(PULSE, {id});
    }

    // What is shown

    function stateChanged(detail) {
        if (detail.state === "online") {
            node = detail.node;
            cluster.here(node);
            if (node !== lastNode || detail.wanted) {
                latency.clear();
                pulses.clear();
                pulse();
            }
            lostNode = detail.from ?? lostNode;
            if (detail.unreachable) {
                banner(`That node cannot be reached. You are still on ${node}.`, BANNER_MS);
            } else if (node) {
                arrived();
            }
            outbox.flush();
        } else if (detail.state !== "unsure") {
            lostNode = detail.from ?? lostNode;
            if (detail.state === "moving") {
                banner(`${lostNode ?? "The node"} does not answer. Moving to another node.`);
            } else if (detail.state === "nobody") {
                banner("No node answers. The page goes on trying.");
            }
            cluster.here(null);
        }
        where(detail.state);
        waiting();
    }

    /** The page knows which node it is on: after the first connection, after a wanted move, or after a loss. */
    function arrived() {
        if (lostNode) {
            const text = lostNode === node ? `You are back on ${node}.` : `${lostNode} stopped answering. You are on ${node} now.`;
            const held = outbox.size;
            banner(held > 0 ? `${text} ${plural(held, "message")} of yours sent again.` : text, BANNER_MS, "good");
            room.notice(text, {strong: true});
            lostNode = null;
        } else if (lastNode && lastNode !== node) {
            room.notice(`You moved from ${lastNode} to ${node}.`);
        }
        lastNode = node;
    }

    function where(next = state) {
        state = next;
        byId("where").dataset.state = state;
        const target = byId("where-text");
        if (state !== "online") {
            const texts = {connecting: "Connecting", unsure: `${node ?? "The node"} does not answer`, moving: "Moving to another node", nobody: "No node answers"};
            target.textContent = texts[state];
            return;
        }
        const bold = document.createElement("b");
        bold.textContent = node ?? "connected";
        const transport = connection.transport === "websocket" ? "WebSocket" : "Long-polling";
        const took = latency.last === undefined ? "" : " · " + figure(latency.last).join(" ");
        target.replaceChildren(bold, ` · ${transport}${took}`);
    }

    function banner(text, forMs = 0, kind = "warn") {
        window.clearTimeout(bannerTimer);
        const target = byId("banner");
        target.textContent = text;
        target.dataset.kind = kind;
        target.hidden = false;
        if (forMs > 0) {
            bannerTimer = window.setTimeout(() => {
                target.hidden = true;
            }, forMs);
        }
    }

    function waiting() {
        const held = outbox.stalled;
        const target = byId("waiting");
        target.hidden = held === 0;
        target.textContent = held === 0 ? "" : `${plural(held, "message")} will be sent as soon as a node is reached.`;
    }

    function open(conversation) {
        room.show(conversation);
        people.opened(conversation);
        byId("compose-label").textContent = conversation === null ? "Message to the lobby" : "Message to " + conversation;
        byId("compose-text").placeholder = conversation === null ? "Message the lobby" : "Message " + conversation;
        head();
        view("chat");
        if (window.matchMedia("(min-width: 841px)").matches) {
            byId("compose-text").focus();
        }
    }

    function head() {
        byId("chat-title").textContent = room.open ?? "Lobby";
        byId("chat-subtitle").textContent = subtitle(room.open, people);
        byId("chat-back").hidden = room.open === null;
    }

    function unreadMark() {
        const total = people.unreadTotal;
        const mark = byId("tab-chat");
        mark.hidden = total === 0;
        mark.textContent = String(total);
        document.title = total === 0 ? "Halley" : `(${total}) Halley`;
    }

    // The controls

    function compose() {
        const text = byId("compose-text");
        const submit = () => {
            if (text.value.trim() !== "") {
                send(text.value.trim());
                text.value = "";
            }
            text.focus();
        };
        byId("compose").addEventListener("submit", (event) => {
            event.preventDefault();
            submit();
        });
        text.addEventListener("keydown", (event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
                event.preventDefault();
                submit();
            }
        });
        byId("chat-back").addEventListener("click", () => open(null));
        if (window.matchMedia("(min-width: 841px)").matches) {
            text.focus();
        }
    }

    function view(name) {
        document.body.dataset.view = name;
        for (const button of document.querySelectorAll(".tabs button")) {
            if (button.dataset.view === name) {
                button.setAttribute("aria-current", "page");
            } else {
                button.removeAttribute("aria-current");
            }
        }
        if (name === "chat") {
            people.opened(room.open);
            byId("log").scrollTop = byId("log").scrollHeight;
        }
        unreadMark();
    }

    function views() {
        for (const button of document.querySelectorAll(".tabs button")) {
            button.addEventListener("click", () => view(button.dataset.view));
        }
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden && document.body.dataset.view === "chat") {
                people.opened(room.open);
                unreadMark();
            }
        });
    }

    function transportSwitch() {
        document.querySelector(`#transport [value=${transport}]`).checked = true;
        byId("transport").addEventListener("change", (event) => {
            sessionStorage.setItem("halley.transport", event.target.value);
            connection.useTransport(event.target.value);
        });
    }
}

/** What a refusal means to a person who chats. */
function refusal(error) {
    const [code, args, text] = String(error).split(":");
    if (code === "404" && text === "user_unknown") {
        return `not delivered: ${args || "this person"} is not online`;
    }
    return "not delivered" + (text ? `: ${text.replaceAll("_", " ")}` : "");
}
