// The line protocol between a Rust test and its scripts: {"number", "order", ...} in, {"re", "ok"} or {"re", "error"} out.

import readline from "node:readline";

/** Answers orders until standard input closes. */
export function serve(handle, end = async () => {}) {
    // Standard output belongs to the answers.
    console.info = console.warn = console.log = (...words) => console.error(...words);
    readline.createInterface({input: process.stdin}).on("line", async (line) => {
        const order = JSON.parse(line);
        let answer;
        try {
            answer = {ok: (await handle(order)) ?? {}};
        } catch (error) {
            answer = {error: `${order.order}: ${error.message}`};
        }
        process.stdout.write(JSON.stringify({re: order.number, ...answer}) + "\n");
    }).on("close", async () => {
        await end();
        process.exit(0);
    });
}
