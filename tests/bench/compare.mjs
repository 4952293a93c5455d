#!/usr/bin/env node
// Puts the same loads, from the same generator, on Halley and on others, one server after the other, and writes a report in Markdown.
//
//   node tests/bench/compare.mjs [--servers halley,cometd,faye,nats,floor] [--transports websocket,long-polling]
//                                [--only fan-out,search,ping-pong,idle] [--rates websocket:10000,long-polling:10000,websocket:100000]
//                                [--seconds 15] [--warm-up 5] [--java-warm-up 20] [--search-servers halley,cometd,nats]
//                                [--search-transports websocket] [--search-seconds 5] [--search-from 50000]
//                                [--idle-servers halley,cometd,faye] [--sessions 15000] [--hold 5] [--out report.md]
//
// A rate without a transport goes over all of them; what speaks no Bayeux takes part in the runs over WebSocket.
// Needs: `cargo build --release -p halley`; for the others what `tests/run` installs (tests/js/node_modules, tests/java/target), and Debian's
// nats-server. What is missing is left out, and the report says so. Run it on a machine that does nothing else, with `ulimit -n 40000`.

import {execFileSync, spawn} from "node:child_process";
import {existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import {fileURLToPath} from "node:url";
import {parseArgs} from "node:util";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const {values: options} = parseArgs({
    options: {
        servers: {type: "string", default: "halley,cometd,faye,nats,floor"},
        transports: {type: "string", default: "websocket,long-polling"},
        only: {type: "string", default: "fan-out,search,ping-pong,idle"},
        rates: {type: "string", default: "10000,100000"},
        seconds: {type: "string", default: "15"},
        "warm-up": {type: "string", default: "5"},
        "java-warm-up": {type: "string", default: "20"},
        "search-servers": {type: "string", default: "halley,cometd,nats"},
        "search-transports": {type: "string", default: "websocket"},
        "search-seconds": {type: "string", default: "5"},
        "search-from": {type: "string", default: "50000"},
        "idle-servers": {type: "string", default: "halley,cometd,faye"},
        sessions: {type: "string", default: "15000"},
        hold: {type: "string", default: "5"},
        out: {type: "string", default: "report.md"},
    },
});
const halley = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "release/halley");
const work = mkdtempSync(path.join(os.tmpdir(), "halley-compare-"));
const sectionsWanted = list(options.only, ["fan-out", "search", "ping-pong", "idle"]);
const notes = [];
const commands = new Set();

/** The p99 below which a rate counts as sustained, in microseconds. */
const P99_MAX = 50_000;

/** Longest time that a server is given to take connections, and one run of the generator to end. */
const START_MS = 60_000;
const RUN_MS = 600_000;

/** The words of a list; an error when one is unknown. */
function list(text, known) {
    const words = text.split(",").filter(word => word !== "");
    for (const word of words) {
        if (!known.includes(word)) {
            throw new Error(`${word} is none of ${known.join(", ")}`);
        }
    }
    return words;
}

function version(command, args) {
    try {
        return execFileSync(command, args, {encoding: "utf8", stdio: ["ignore", "pipe", "pipe"]}).trim().split("\n")[0];
    } catch {
        return undefined;
    }
}

function configuration(port, admin, tls) {
    const file = path.join(work, "node.toml");
    const keys = tls ? `[client.tls]\ncertificate = "${path.join(work, "node.crt")}"\nkey = "${path.join(work, "node.key")}"\n` : "";
    writeFileSync(file, `[node]\nname = "n1"\n[client]\nlisten = "127.0.0.1:${port}"\n${keys}[admin]\nlisten = "127.0.0.1:${admin}"\n`);
    return file;
}

/** Makes a certificate for 127.0.0.1 and the one that signs it; false without openssl. */
function certificates() {
    const openssl = (...args) => version("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", ...args]);
    const [ca, key] = [path.join(work, "ca.crt"), path.join(work, "ca.key")];
    return openssl("-subj", "/CN=ca", "-keyout", key, "-out", ca) !== undefined
        && openssl("-subj", "/CN=node", "-CA", ca, "-CAkey", key, "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
            "-keyout", path.join(work, "node.key"), "-out", path.join(work, "node.crt")) !== undefined;
}

const java = path.join(root, "tests/java/target");
const js = path.join(root, "tests/js");
const SERVERS = {
    halley: {
        version: () => version(halley, ["--version"]),
        command: async (port, tls) => [halley, "serve", "--config", configuration(port, await freePort(port), tls)],
        transports: ["websocket", "long-polling"],
    },
    cometd: {
        version: () => existsSync(path.join(java, "lib")) && version("java", ["--version"]) &&
            `CometD ${/<cometd.version>(.*?)</.exec(readFileSync(path.join(root, "tests/java/pom.xml"), "utf8"))[1]}, ${version("java", ["--version"])}`,
        command: port => ["java", "-cp", `${java}/classes:${java}/lib/*`, "org.halley.CometdServer", "--port", String(port)],
        // Its compiler needs load before it has done its work.
        warmUp: Number(options["java-warm-up"]),
        transports: ["websocket", "long-polling"],
    },
    faye: {
        version: () => existsSync(path.join(js, "node_modules/faye")) &&
            `faye ${JSON.parse(readFileSync(path.join(js, "node_modules/faye/package.json"), "utf8")).version}, Node.js ${process.version}`,
        command: port => [process.execPath, path.join(js, "faye_server.mjs"), String(port)],
        transports: ["websocket", "long-polling"],
    },
    nats: {
        version: () => version("nats-server", ["--version"]) ?? version("/usr/sbin/nats-server", ["--version"]),
        command: port => [existsSync("/usr/sbin/nats-server") ? "/usr/sbin/nats-server" : "nats-server", "-a", "127.0.0.1", "-p", String(port)],
        transports: ["line protocol"],
    },
    floor: {
        version: () => "the cheapest program for this load (`halley bench floor`)",
        command: port => [halley, "bench", "floor", "--listen", `127.0.0.1:${port}`, "--seconds", "600"],
        transports: ["websocket"],
        fanOutOnly: true,
    },
};

/** One that nobody has, and that is not `other`. */
function freePort(other) {
    return new Promise((resolve, reject) => {
        const server = net.createServer().on("error", reject).listen(0, "127.0.0.1", () => {
            const {port} = server.address();
            server.close(() => resolve(port === other ? freePort(other) : port));
        });
    });
}

/** Until somebody listens there, or the process has ended. */
async function listening(port, child) {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
        const connected = await new Promise(resolve => {
            const socket = net.connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false));
            socket.on("connect", () => socket.destroy());
        });
        if (connected) {
            return true;
        }
        await new Promise(resolve => setTimeout(resolve, 50));
    }
    return false;
}

/** A fresh server, with the arguments that lead the generator to it; `undefined` when it does not start. */
async function start(name, transport, {tls = false, warm = true} = {}) {
    const port = await freePort();
    const [command, ...args] = await SERVERS[name].command(port, tls);
    const child = spawn(command, args, {stdio: ["pipe", "ignore", "ignore"]});
    child.on("error", error => notes.push(`${name}: ${error.message}`));
    child.stdin.on("error", () => {});
    const ended = new Promise(resolve => child.once("close", resolve));
    const stop = async () => {
        child.kill("SIGKILL");
        await ended;
    };
    if (!await listening(port, child)) {
        notes.push(`${name} takes no connections`);
        await stop();
        return undefined;
    }
    const target = name === "nats"
        ? ["--url", `nats://127.0.0.1:${port}`]
        : ["--url", `${tls ? "https" : "http"}://127.0.0.1:${port}/cometd`, "--transport", transport, ...tls ? ["--tls-ca", path.join(work, "ca.crt")] : []];
    target.push("--server-pid", String(child.pid));
    if (warm && SERVERS[name].warmUp > 0) {
        progress(`${name}, ${transport}: ${SERVERS[name].warmUp} s of load before`);
        await bench(...fanOut(10_000, 1, SERVERS[name].warmUp), ...target);
    }
    return {target, stop};
}

/** Runs `measure` with a fresh server; ends the server whatever happens. */
async function withServer(name, transport, measure, how) {
    const server = await start(name, transport, how);
    if (server === undefined) {
        return undefined;
    }
    try {
        return await measure(server.target);
    } finally {
        await server.stop();
    }
}

/** One run of the generator: its figures, faults among them. */
async function bench(...args) {
    const file = path.join(work, "result.json");
    rmSync(file, {force: true});
    commands.add(`halley bench ${args.join(" ").replace(/127\.0\.0\.1:\d+/, "HOST:PORT").replace(work, "DIR").replace(/--server-pid \d+/, "--server-pid PID")}`);
    const child = spawn(halley, ["bench", ...args, "--json", file], {stdio: ["ignore", "ignore", "pipe"]});
    let said = "";
    child.stderr.on("data", chunk => said += chunk);
    const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS);
    await new Promise(resolve => child.once("close", resolve));
    clearTimeout(timer);
    if (!existsSync(file)) {
        return {faults: [said.trim().split("\n").at(-1) || "the generator did not end"]};
    }
    return JSON.parse(readFileSync(file, "utf8"));
}

const fanOut = (rate, duration = options.seconds, warmUp = options["warm-up"]) =>
    ["fan-out", "--clients", "1000", "--deliveries-per-second", String(rate), "--warm-up", String(warmUp), "--duration", String(duration)];

/** The highest rate that is kept, to about a seventh. The server stays as long as it keeps the rates. */
async function search(name, transport) {
    let server;
    const kept = async rate => {
        server ??= await start(name, transport);
        if (server === undefined) {
            return false;
        }
        const result = await bench(...fanOut(rate, options["search-seconds"], 2), ...server.target);
        const good = result.faults.length === 0 && result.latency.p99_us <= P99_MAX && result.deliveries_per_second >= 0.97 * rate;
        const why = good ? "" : `: ${result.faults[0]?.slice(0, 80) ?? `${Math.round(result.deliveries_per_second)}/s, p99 ${milliseconds(result.latency.p99_us)} ms`}`;
        progress(`${name}, ${transport}: ${rate}/s ${good ? "kept" : "not kept"}${why}`);
        if (!good) {
            await server.stop();
            server = undefined;
        }
        return good;
    };
    try {
        const first = Number(options["search-from"]);
        let [low, high] = [0, first];
        if (await kept(first)) {
            [low, high] = [first, 2 * first];
            while (high <= 5_000_000 && await kept(high)) {
                [low, high] = [high, 2 * high];
            }
        } else {
            for (let rate = first / 16; rate < first && await kept(rate); rate *= 2) {
                [low, high] = [rate, 2 * rate];
            }
        }
        while (low > 0 && high / low > 1.15) {
            const middle = Math.round((low + high) / 2000) * 1000;
            if (middle <= low || middle >= high) {
                break;
            }
            if (await kept(middle)) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return low;
    } finally {
        await server?.stop();
    }
}

const progress = text => process.stderr.write(`${text}\n`);
const number = (value, digits = 1) => Number.isFinite(value) ? value.toFixed(digits) : "–";
const milliseconds = micros => micros === undefined ? "–" : (micros / 1000).toFixed(2);
const fault = result => result.faults.length === 0 ? "" : result.faults.join("; ").slice(0, 120);

function table(head, rows) {
    return [head, head.map(() => "---"), ...rows].map(row => `| ${row.join(" | ")} |`).join("\n");
}

const names = Object.keys(SERVERS);
const chosen = [];
for (const name of list(options.servers, names)) {
    const found = SERVERS[name].version();
    if (found) {
        chosen.push([name, found]);
    } else {
        notes.push(`${name} is not installed`);
    }
}
const TRANSPORTS = ["websocket", "long-polling"];
/** Servers with the transports that they have; those that speak no Bayeux stand with WebSocket. */
const pairs = (servers, transports) => chosen.filter(([name]) => servers.includes(name)).flatMap(([name]) => SERVERS[name].transports
    .filter(transport => transports.includes(transport === "line protocol" ? "websocket" : transport))
    .map(transport => [name, transport]));
const transports = list(options.transports, TRANSPORTS);
const bayeux = names.filter(name => !SERVERS[name].fanOutOnly);

const sections = [];

async function measureFanOut(over, rate) {
    const rows = [];
    for (const [name, transport] of pairs(names, over)) {
        progress(`${name}, ${transport}: fan-out at ${rate}/s`);
        const result = await withServer(name, transport, target => bench(...fanOut(rate), ...target));
        if (result !== undefined) {
            rows.push([name, transport, number(result.deliveries_per_second, 0), number(result.server_cpu_us_per_delivery),
                number(result.generator_cpu_us_per_delivery), milliseconds(result.latency?.p50_us), milliseconds(result.latency?.p99_us),
                number(result.server_resident_bytes / 1e6, 0), fault(result)]);
        }
    }
    sections.push(`## ${rate} deliveries per second, ${over.join(" and ")}\n\n1,000 sessions, 100 rooms, 10 rooms each, 50 bytes, batches of 10.\n\n` + table(
        ["server", "transport", "deliveries /s", "server CPU us per delivery", "generator CPU us", "p50 ms", "p99 ms", "memory MB", "faults"], rows));
}

async function measureSearch() {
    const rows = [];
    const over = list(options["search-transports"], TRANSPORTS);
    for (const [name, transport] of pairs(list(options["search-servers"], names), over)) {
        rows.push([name, transport, String(await search(name, transport))]);
    }
    sections.push(`## Highest rate with p99 ≤ ${P99_MAX / 1000} ms and nothing lost\n\n` + table(["server", "transport", "deliveries /s"], rows));
}

async function measurePingPong() {
    const rows = [];
    for (const [name, transport] of pairs(bayeux, transports)) {
        progress(`${name}, ${transport}: ping-pong`);
        const result = await withServer(name, transport, target => bench("ping-pong", "--count", "2000", "--pause-ms", "2", ...target));
        if (result !== undefined) {
            rows.push([name, transport, milliseconds(result.latency?.p50_us), milliseconds(result.latency?.p90_us),
                milliseconds(result.latency?.p99_us), fault(result)]);
        }
    }
    sections.push("## One message at a time\n\n" + table(["server", "transport", "p50 ms", "p90 ms", "p99 ms", "faults"], rows));
}

async function measureIdle() {
    const rows = [];
    const measure = async (name, transport, what, how, ...more) => {
        progress(`${name}, ${transport}: ${options.sessions} idle, ${what}`);
        const result = await withServer(name, transport, target =>
            bench("idle", "--sessions", options.sessions, "--hold", options.hold, "--source-addresses", "4", ...more, ...target), {warm: false, ...how});
        if (result !== undefined) {
            rows.push([name, transport, what, number(result.held_bytes_per_session / 1024), number(result.spoken_bytes_per_session / 1024), fault(result)]);
        }
    };
    for (const [name, transport] of pairs(list(options["idle-servers"], bayeux), transports)) {
        await measure(name, transport, "sessions");
        if (transport === "long-polling") {
            await measure(name, transport, "connections without a session", {}, "--connections-only");
        } else if (name === "halley" && certificates()) {
            await measure(name, transport, "sessions over TLS", {tls: true});
        }
    }
    sections.push(`## Memory of ${options.sessions} idle sessions, one subscription each\n\nOver long-polling each holds a connect.\n\n` + table(
        ["server", "transport", "what", "held, KiB each", "after one delivery each", "faults"], rows));
}

try {
    if (sectionsWanted.includes("fan-out")) {
        for (const entry of options.rates.split(",")) {
            const [rate, over] = entry.split(":").reverse();
            await measureFanOut(over === undefined ? transports : list(over, TRANSPORTS), Number(rate));
        }
    }
    if (sectionsWanted.includes("search")) {
        await measureSearch();
    }
    if (sectionsWanted.includes("ping-pong")) {
        await measurePingPong();
    }
    if (sectionsWanted.includes("idle")) {
        await measureIdle();
    }
} finally {
    rmSync(work, {recursive: true, force: true});
}

const cpu = os.cpus();
const report = `# Comparison

${new Date().toISOString().slice(0, 10)}. ${cpu.length} × ${cpu[0]?.model ?? "unknown CPU"}, ${os.type()} ${os.release()}, load average at the end ${os.loadavg().map(load => load.toFixed(1)).join(", ")}.
Server and generator on the same machine, over loopback; a fresh server for each run; one run each.

${chosen.map(([name, found]) => `- ${name}: ${found}`).join("\n")}
${notes.length === 0 ? "" : `\nLeft out: ${[...new Set(notes)].join("; ")}.\n`}
${sections.join("\n\n")}

## Commands

\`\`\`sh
node tests/bench/compare.mjs ${process.argv.slice(2).join(" ")}
# which ran, each against each server:
${[...commands].join("\n")}
\`\`\`
`;
writeFileSync(options.out, report);
progress(`written: ${options.out}`);
