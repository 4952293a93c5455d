// What has arrived at a client, and waiting for more under a deadline.

export class Inbox {
    received = new Map();
    waiting = new Set();

    /** Checks a condition now and whenever something arrives, until the deadline. */
    until(condition, ms, describe) {
        return new Promise((resolve, reject) => {
            const check = () => {
                const value = condition();
                if (value !== undefined && value !== false) {
                    clearTimeout(timer);
                    this.waiting.delete(check);
                    resolve(value);
                }
            };
            const timer = setTimeout(() => {
                this.waiting.delete(check);
                reject(new Error(`not within ${ms} ms; instead: ${JSON.stringify(describe())}`));
            }, ms);
            this.waiting.add(check);
            check();
        });
    }

    arrived() {
        this.waiting.forEach((check) => check());
    }

    messages(channel) {
        if (!this.received.has(channel)) {
            this.received.set(channel, []);
        }
        return this.received.get(channel);
    }
}

/** True when data has all the fields of `wanted`, whatever else it has. */
export function holds(data, wanted) {
    if (wanted === null || typeof wanted !== "object") {
        return data === wanted;
    }
    return data !== null && typeof data === "object" && Object.entries(wanted).every(([key, value]) => holds(data[key], value));
}
