// What the stock CometD client expects of a browser, for Node.js: a WebSocket, an XMLHttpRequest, cookies, timers.
//
// The client reads the global `window` whenever it opens something, so one process is one browser, with as many tabs as
// there are clients.

import http from "node:http";
import {WebSocket} from "ws";

/** A browser: cookies per host, and the address its connections come from. */
export class Browser {
    #cookies = new Map();

    /** Of all requests but those of scripts. */
    paths = [];

    /** What has come in one response or frame each: the channels of its messages, events marked as such. */
    frames = [];

    constructor(source) {
        this.source = source;
        this.agent = new http.Agent({keepAlive: true, maxSockets: 32, localAddress: source});
    }

    /** The Cookie header for a host; cookies know no ports (RFC 6265, section 8.5). */
    header(host) {
        const jar = this.#cookies.get(host) ?? new Map();
        return [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    }

    store(host, setCookies) {
        const jar = this.#cookies.get(host) ?? new Map();
        this.#cookies.set(host, jar);
        for (const text of setCookies ?? []) {
            const [pair] = text.split(";");
            const at = pair.indexOf("=");
            jar.set(pair.slice(0, at).trim(), pair.slice(at + 1).trim());
        }
    }

    arrived(text) {
        try {
            const messages = JSON.parse(text);
            this.frames.push(messages.map(({channel, data}) => (data === undefined ? channel : `event ${channel}`)));
        } catch {
            // Not Bayeux: the client says so.
        }
    }

    drop(host, name) {
        this.#cookies.get(host)?.delete(name);
    }

    cookie(host, name) {
        return this.#cookies.get(host)?.get(name) ?? null;
    }

    /** The globals that clients find. */
    globals() {
        const browser = this;
        const storage = new Map();
        return {
            // Of the tab that is reloaded.
            sessionStorage: {
                getItem: (key) => storage.get(key) ?? null,
                setItem: (key, value) => storage.set(key, value),
                removeItem: (key) => storage.delete(key),
            },
            setTimeout: (f, ms) => setTimeout(f, ms),
            clearTimeout: (id) => clearTimeout(id),
            console,
            WebSocket: class {
                constructor(url, protocol) {
                    return openSocket(browser, url, protocol);
                }
            },
            document: openDocument(browser, () => globalThis.window),
            XMLHttpRequest: class extends Request {
                constructor() {
                    super(browser);
                }
            },
        };
    }
}

function openSocket(browser, url, protocol) {
    const host = new URL(url).hostname;
    const cookie = browser.header(host);
    const socket = new WebSocket(url, protocol ?? [], {localAddress: browser.source, headers: cookie ? {cookie} : {}});
    socket.on("message", (text) => browser.arrived(text.toString()));
    socket.on("upgrade", (response) => browser.store(host, response.headers["set-cookie"]));
    return socket;
}

/** A document whose scripts are fetched and run when they are added to its head. */
function openDocument(browser, window) {
    const load = (script) => {
        const url = new URL(script.src);
        const cookie = browser.header(url.hostname);
        const failed = () => script.onerror({type: "error"});
        const request = http.get(url, {agent: browser.agent, headers: cookie ? {cookie} : {}});
        request.on("error", failed);
        request.on("response", (response) => {
            browser.store(url.hostname, response.headers["set-cookie"]);
            let text = "";
            response.setEncoding("utf8");
            response.on("data", (chunk) => {
                text += chunk;
            });
            response.on("error", failed);
            response.on("end", () => {
                if (response.statusCode === 200) {
                    new Function("window", `with (window) { ${text} }`)(window());
                } else {
                    failed();
                }
            });
        });
    };
    const head = {appendChild: load, removeChild: () => {}};
    return {getElementsByTagName: () => [head], createElement: () => ({})};
}

class Request {
    static UNSENT = 0;
    readyState = 0;
    status = 0;
    statusText = "";
    responseText = "";
    onload = null;
    onerror = null;
    onabort = null;
    #browser;
    #options;
    #request;
    #over = false;

    constructor(browser) {
        this.#browser = browser;
    }

    open(method, url) {
        this.#options = {method, url: new URL(url), headers: {}};
        this.readyState = 1;
    }

    setRequestHeader(name, value) {
        this.#options.headers[name] = value;
    }

    send(body) {
        const {method, url, headers} = this.#options;
        const cookie = this.#browser.header(url.hostname);
        this.#browser.paths.push(url.pathname);
        this.#request = http.request(url, {
            method,
            agent: this.#browser.agent,
            headers: {...headers, "content-length": Buffer.byteLength(body), ...(cookie ? {cookie} : {})},
        });
        this.#request.on("response", (response) => {
            this.#browser.store(url.hostname, response.headers["set-cookie"]);
            this.status = response.statusCode;
            this.statusText = response.statusMessage;
            response.setEncoding("utf8");
            response.on("data", (chunk) => {
                this.responseText += chunk;
            });
            response.on("end", () => {
                this.#browser.arrived(this.responseText);
                this.#end(this.onload);
            });
            response.on("error", () => this.#end(this.onerror));
        });
        this.#request.on("error", () => this.#end(this.onerror));
        this.#request.end(body);
    }

    abort() {
        const handler = this.onabort;
        this.#request?.destroy();
        this.#end(handler);
    }

    #end(handler) {
        if (!this.#over) {
            this.#over = true;
            this.readyState = 4;
            handler?.();
        }
    }
}
