#!/usr/bin/env node
// Puts the same loads, from the same generator, on Halley and on others, one server after the other, and writes a report in Markdown.
//
//   node tests/bench/compare.mjs [--servers halley,cometd,faye,nats,floor] [--transports websocket,long-polling] [--seconds 15]
//                                [--warm-up 10] [--rates 10000,100000] [--sessions 15000] [--no-search] [--no-idle] [--out report.md]
//
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
        rates: {type: "string", default: "10000,100000"},
        seconds: {type: "string", default: "15"},
        "warm-up": {type: "string", default: "10"},
        sessions: {type: "string", default: "15000"},
        "no-search": {type: "boolean", default: false},
        "no-idle": {type: "boolean", default: false},
        out: {type: "string", default: "report.md"},
    },
});
const halley = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "release/halley");
const work = mkdtempSync(path.join(os.tmpdir(), "halley-compare-"));
const seconds = Number(options.seconds);
const notes = [];
const commands = new Set();

/** The p99 below which a rate counts as sustained, in microseconds. */
const P99_MAX = 50_000;

/** Longest time that a server is given to take connections, and one run of the generator to end. */
const START_MS = 60_000;
const RUN_MS = 600_000;

function version(command, args) {
    try {
        return execFileSync(command, args, {encoding: "utf8", stdio: ["ignore", "pipe", "pipe"]}).trim().split("\n")[0];
    } catch {
        return undefined;
    }
}

function configuration(port, admin) {
    const file = path.join(work, "node.toml");
    writeFileSync(file, `[node]\nname = "n1"\n[client]\nlisten = "127.0.0.1:${port}"\n[admin]\nlisten = "127.0.0.1:${admin}"\n`);
    return file;
}

const java = path.join(root, "tests/java/target");
const js = path.join(root, "tests/js");
const SERVERS = {
    halley: {
        version: () => version(halley, ["--version"]),
        command: async port => [halley, "serve", "--config", configuration(port, await freePort(port))],
        transports: ["websocket", "long-polling"],
    },
    cometd: {
        version: () => existsSync(path.join(java, "lib")) && version("java", ["--version"]) &&
            `CometD ${/<cometd.version>(.*?)</.exec(readFileSync(path.join(root, "tests/java/pom.xml"), "utf8"))[1]}, ${version("java", ["--version"])}`,
        command: port => ["java", "-cp", `${java}/classes:${java}/lib/*`, "org.halley.CometdServer", "--port", String(port)],
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

/** Runs `work` with a fresh server; ends the server whatever happens. */
async function withServer(name, transport, measure) {
    const port = await freePort();
    const [command, ...args] = await SERVERS[name].command(port);
    const child = spawn(command, args, {stdio: ["pipe", "ignore", "ignore"]});
    child.on("error", error => notes.push(`${name}: ${error.message}`));
    child.stdin.on("error", () => {});
    const ended = new Promise(resolve => child.once("close", resolve));
    try {
        if (!await listening(port, child)) {
            notes.push(`${name} takes no connections`);
            return undefined;
        }
        const target = name === "nats"
            ? ["--url", `nats://127.0.0.1:${port}`]
            : ["--url", `http://127.0.0.1:${port}/cometd`, "--transport", transport];
        return await measure([...target, "--server-pid", String(child.pid)]);
    } finally {
        child.kill("SIGKILL");
        await ended;
    }
}

/** One run of the generator: its figures, faults among them. */
async function bench(...args) {
    const file = path.join(work, "result.json");
    rmSync(file, {force: true});
    commands.add(`halley bench ${args.join(" ").replace(/127\.0\.0\.1:\d+/, "HOST:PORT").replace(/--server-pid \d+/, "--server-pid PID")}`);
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

const fanOut = (rate, duration) =>
    ["fan-out", "--clients", "1000", "--deliveries-per-second", String(rate), "--warm-up", options["warm-up"], "--duration", String(duration)];

/** The highest rate that is kept, to about a tenth; on a fresh server for each. */
async function search(name, transport) {
    const kept = async rate => {
        const result = await withServer(name, transport, target => bench(...fanOut(rate, Math.min(seconds, 10)), ...target));
        const good = result !== undefined && result.faults.length === 0 && result.latency.p99_us <= P99_MAX
            && result.deliveries_per_second >= 0.97 * rate;
        progress(`${name}, ${transport}: ${rate}/s ${good ? "kept" : "not kept"}`);
        return good;
    };
    let [low, high] = [0, 10_000];
    while (high <= 5_000_000 && await kept(high)) {
        [low, high] = [high, high * 2];
    }
    while (low > 0 && high / low > 1.1) {
        const middle = Math.round((low + high) / 2000) * 1000;
        if (await kept(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

const progress = text => process.stderr.write(`${text}\n`);
const number = (value, digits = 1) => value === undefined ? "–" : value.toFixed(digits);
const milliseconds = micros => micros === undefined ? "–" : (micros / 1000).toFixed(2);
const fault = result => result.faults.length === 0 ? "" : result.faults.join("; ").slice(0, 120);

function table(head, rows) {
    return [head, head.map(() => "---"), ...rows].map(row => `| ${row.join(" | ")} |`).join("\n");
}

const chosen = [];
for (const name of options.servers.split(",")) {
    if (!(name in SERVERS)) {
        throw new Error(`there is no server ${name}`);
    }
    const found = SERVERS[name].version();
    if (found) {
        chosen.push([name, found]);
    } else {
        notes.push(`${name} is not installed`);
    }
}
const pairs = chosen.flatMap(([name]) => SERVERS[name].transports
    .filter(transport => transport === "line protocol" || options.transports.split(",").includes(transport))
    .map(transport => [name, transport]));

const sections = [];
try {
    for (const rate of options.rates.split(",").map(Number)) {
        const rows = [];
        for (const [name, transport] of pairs) {
            progress(`${name}, ${transport}: fan-out at ${rate}/s`);
            const result = await withServer(name, transport, target => bench(...fanOut(rate, seconds), ...target));
            if (result !== undefined) {
                rows.push([name, transport, number(result.deliveries_per_second, 0), number(result.server_cpu_us_per_delivery),
                    number(result.generator_cpu_us_per_delivery), milliseconds(result.latency?.p50_us), milliseconds(result.latency?.p99_us),
                    number(result.server_resident_bytes / 1e6, 0), fault(result)]);
            }
        }
        sections.push(`## ${rate} deliveries per second\n\n1,000 sessions, 100 rooms, 10 rooms each, 50 bytes, batches of 10.\n\n` + table(
            ["server", "transport", "deliveries /s", "server CPU us per delivery", "generator CPU us", "p50 ms", "p99 ms", "memory MB", "faults"], rows));
    }
    if (!options["no-search"]) {
        const rows = [];
        for (const [name, transport] of pairs) {
            rows.push([name, transport, String(await search(name, transport))]);
        }
        sections.push(`## Highest rate with p99 ≤ ${P99_MAX / 1000} ms and nothing lost\n\n` + table(["server", "transport", "deliveries /s"], rows));
    }
    const rows = [];
    for (const [name, transport] of pairs.filter(([name]) => !SERVERS[name].fanOutOnly)) {
        progress(`${name}, ${transport}: ping-pong`);
        const result = await withServer(name, transport, target => bench("ping-pong", "--count", "2000", "--pause-ms", "2", ...target));
        if (result !== undefined) {
            rows.push([name, transport, milliseconds(result.latency?.p50_us), milliseconds(result.latency?.p90_us),
                milliseconds(result.latency?.p99_us), fault(result)]);
        }
    }
    sections.push("## One message at a time\n\n" + table(["server", "transport", "p50 ms", "p90 ms", "p99 ms", "faults"], rows));
    if (!options["no-idle"]) {
        const rows = [];
        for (const [name, transport] of pairs.filter(([name]) => !SERVERS[name].fanOutOnly)) {
            progress(`${name}, ${transport}: ${options.sessions} idle sessions`);
            const result = await withServer(name, transport, target =>
                bench("idle", "--sessions", options.sessions, "--hold", "10", "--source-addresses", "4", ...target));
            if (result !== undefined) {
                rows.push([name, transport, number(result.held_bytes_per_session / 1024), number(result.spoken_bytes_per_session / 1024), fault(result)]);
            }
        }
        sections.push(`## Memory of ${options.sessions} idle sessions, one subscription each\n\nOver long-polling each holds a connect.\n\n` + table(
            ["server", "transport", "held, KiB per session", "after one delivery each", "faults"], rows));
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
