// Small pieces that every view uses. Text enters the document through textContent only.

/** An element with a class, and children that are elements or text. */
export function el(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) {
        element.className = className;
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
}

export function avatar(name) {
    const letters = name.trim().split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
    const element = el("span", "avatar", letters || "?");
    element.setAttribute("aria-hidden", "true");
    element.style.setProperty("--hue", String(AVATAR_HUES[hash(name) % AVATAR_HUES.length]));
    return element;
}

/** White letters are legible on all of these. */
const AVATAR_HUES = [205, 226, 250, 275, 300, 325, 348, 12, 168, 188];
const NODE_HUES = [222, 160, 28, 320, 265, 190, 95, 0];
const nodeHues = new Map();

/** A node's name on its own colour, the same everywhere on the page. */
export function badge(node) {
    if (!nodeHues.has(node)) {
        const number = /(\d+)$/.exec(node);
        const place = number ? Number(number[1]) - 1 : hash(node);
        nodeHues.set(node, NODE_HUES.at(place % NODE_HUES.length));
    }
    const element = el("span", "badge", node);
    element.title = "on node " + node;
    element.style.setProperty("--hue", String(nodeHues.get(node)));
    return element;
}

export function clock(at) {
    return new Date(at).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
}

export function plural(count, one, many = one + "s") {
    return `${count} ${count === 1 ? one : many}`;
}

function hash(text) {
    let value = 2166136261;
    for (const character of text) {
        value = Math.imul(value ^ character.codePointAt(0), 16777619) >>> 0;
    }
    return value >>> 8;
}
