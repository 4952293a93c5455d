// The page of the chat example. Its client is the stock CometD client, which the node serves beside the page.

import {CometD} from "/assets/cometd/cometd.js";

const LOBBY = "/chat/lobby";
const WHISPERS = "/chat/whispers";

const at = (id) => document.getElementById(id);
const cometd = new CometD();
let me = "";
/** Who is whispered to; null: what is written is for everybody. */
let listener = null;

cometd.configure({url: new URL("/cometd", location.href).href});
// Whispers come to a user, not to subscribers: there is nothing to subscribe to.
cometd.addListener(WHISPERS, ({data}) => show(data.from, data.text, "whisper"));
cometd.addListener("/meta/handshake", ({successful, error}) => {
    if (!successful) {
        at("state").textContent = `Not let in: ${error ?? "nobody answers"}`;
        return;
    }
    // After each handshake: the session of before, and its subscriptions, may be gone.
    cometd.batch(() => {
        cometd.subscribe(LOBBY, ({data}) => {
            show(data.from, data.text, data.from === "doorman" ? "doorman" : "said");
            if (data.from === "doorman") {
                askWhoIsHere();
            }
        });
        askWhoIsHere();
    });
});
cometd.addListener("/meta/connect", ({successful}) => {
    at("state").textContent = successful ? `You are ${me}` : "Connecting …";
});

at("door").addEventListener("submit", (event) => {
    event.preventDefault();
    me = at("name").value.trim();
    if (me !== "") {
        at("door").hidden = true;
        at("room").hidden = false;
        at("text").focus();
        cometd.handshake({ext: {halley: {user: me}}});
    }
});

at("compose").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("text").value;
    at("text").value = "";
    if (listener === null) {
        cometd.publish(LOBBY, {from: me, text}, ({successful}) => {
            if (!successful) {
                show(me, text, "failed");
            }
        });
    } else {
        const to = listener;
        cometd.remoteCall("whisper", {to, text}, 10000, ({successful, data}) => {
            show(`you to ${to}`, successful ? text : `${text} (${data?.message ?? "not whispered"})`, successful ? "whisper" : "failed");
        });
    }
});

function askWhoIsHere() {
    cometd.remoteCall("who", null, 10000, ({successful, data}) => {
        if (successful) {
            at("people").replaceChildren(...[null, ...data.filter((name) => name !== me)].map(person));
        }
    });
}

/** The button that turns to one person, or to everybody. */
function person(name) {
    const button = document.createElement("button");
    button.textContent = name ?? "everybody";
    button.setAttribute("aria-pressed", String(name === listener));
    button.addEventListener("click", () => {
        listener = name;
        at("to").textContent = name ?? "everybody";
        at("people").querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        at("text").focus();
    });
    const entry = document.createElement("li");
    entry.append(button);
    return entry;
}

/** What others write is text, never markup. */
function show(from, text, kind) {
    const entry = document.createElement("li");
    entry.className = kind;
    const name = document.createElement("b");
    name.textContent = from;
    const said = document.createElement("span");
    said.textContent = text;
    entry.append(name, said);
    at("log").append(entry);
    entry.scrollIntoView({block: "end"});
}
