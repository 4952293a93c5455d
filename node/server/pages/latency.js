// Latencies of this tab's own messages, from publish to delivery back, and their picture.

const KEPT = 60;
const WIDTH = 240;
const HEIGHT = 44;

/** This machine's clock with a finer step than Date.now(); the same in all tabs. */
export function now() {
    return performance.timeOrigin + performance.now();
}

/** "0.84 ms", "12 ms", "1.3 s" as [figure, unit]. */
export function figure(ms) {
    if (ms < 10) {
        return [ms.toFixed(ms < 1 ? 2 : 1), "ms"];
    }
    return ms < 1000 ? [ms.toFixed(0), "ms"] : [(ms / 1000).toFixed(1), "s"];
}

export class Latency {
    #values = [];

    add(ms) {
        this.#values.push(Math.max(0, ms));
        if (this.#values.length > KEPT) {
            this.#values.shift();
        }
        this.#draw();
    }

    /** Another node, another transport: the old figures say nothing any more. */
    clear() {
        this.#values = [];
        this.#draw();
    }

    get last() {
        return this.#values.at(-1);
    }

    #draw() {
        const values = this.#values;
        const sorted = [...values].sort((a, b) => a - b);
        put("latency-last", values.at(-1));
        put("latency-median", sorted[Math.floor((sorted.length - 1) / 2)]);
        put("latency-worst", sorted.at(-1));
        const line = document.getElementById("spark-line");
        const area = document.getElementById("spark-area");
        if (values.length < 2) {
            line.setAttribute("d", "");
            area.setAttribute("d", "");
            return;
        }
        const top = Math.max(...values) * 1.15 || 1;
        const step = WIDTH / (values.length - 1);
        const points = values.map((value, i) => `${(i * step).toFixed(1)} ${(HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1)}`);
        line.setAttribute("d", "M" + points.join("L"));
        area.setAttribute("d", `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
    }
}

function put(id, ms) {
    const target = document.getElementById(id);
    if (ms === undefined) {
        target.textContent = "–";
        return;
    }
    const [value, unit] = figure(ms);
    const small = document.createElement("small");
    small.textContent = " " + unit;
    target.replaceChildren(value, small);
}
