// The demonstration page in headless Chromium, under the orders of a test. Each page is a browser profile of its own.

import {chromium} from "playwright-core";
import {serve} from "./orders.mjs";

const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ],
});
const pages = new Map();
const errors = new Map();

const orders = {
    /** {page, url, width, height, dark}: opens any page. */
    async visit(order) {
        const context = await browser.newContext({
            viewport: {width: order.width ?? 1280, height: order.height ?? 800},
            colorScheme: order.dark ? "dark" : "light",
        });
        const page = await context.newPage();
        pages.set(order.page, page);
        errors.set(order.page, []);
        page.on("pageerror", (error) => errors.get(order.page).push(String(error)));
        page.on("console", (message) => {
            // A node that was ended refuses connections, which the browser reports as errors of its own.
            if (message.type() === "error" && !/ERR_CONNECTION_(REFUSED|RESET)|WebSocket connection to/.test(message.text())) {
                errors.get(order.page).push(message.text());
            }
        });
        await page.goto(order.url);
        return page;
    },

    /** {page, url, user, width, height, dark}: opens the demonstration page and joins. */
    async open(order) {
        const page = await orders.visit(order);
        await page.fill("#welcome-name", order.user);
        await page.click("#welcome-form button");
        await page.waitForSelector("#where[data-state=online]", {timeout: 20000});
    },

    /** {page}: loads the page anew, and waits until it is connected. */
    async reload({page}) {
        await pages.get(page).reload();
        await pages.get(page).waitForSelector("#where[data-state=online]", {timeout: 20000});
    },

    /** {page, selector, text}: writes into a field and presses Enter. */
    async enter({page, selector, text}) {
        await pages.get(page).fill(selector, text);
        await pages.get(page).press(selector, "Enter");
    },

    /** {page, selector, name}: the element with exactly this text. */
    async click({page, selector, name}) {
        await pages.get(page).locator(selector).getByText(name, {exact: true}).click();
    },

    /** {page, selector, texts, ms}: until the elements that match have exactly these texts. */
    async shows({page, selector, texts, ms}) {
        const read = (wanted) => [...document.querySelectorAll(wanted)].map((element) => element.innerText);
        try {
            await pages.get(page).waitForFunction(
                ([wanted, all]) => JSON.stringify([...document.querySelectorAll(wanted)].map((element) => element.innerText)) === JSON.stringify(all),
                [selector, texts], {timeout: ms, polling: 50});
        } catch (error) {
            throw new Error(`${page}: not within ${ms} ms: ${JSON.stringify(texts)}; instead: ${JSON.stringify(await pages.get(page).evaluate(read, selector))}`, {cause: error});
        }
    },

    async say({page, text}) {
        await pages.get(page).fill("#compose-text", text);
        await pages.get(page).press("#compose-text", "Enter");
    },

    /** {page, text, ms}: until exactly one message with this text is in view, and it has been delivered. */
    sees: ({page, text, ms}) => until(page, ms, "log", (wanted) => {
        const entries = [...document.querySelectorAll(".message")].filter((entry) => entry.querySelector(".text").textContent === wanted);
        return entries.length === 1 && !entries[0].matches(".pending, .failed");
    }, text),

    /** {page, people, ms}: until exactly these people are shown on these nodes. */
    people: ({page, people, ms}) => until(page, ms, "users", (wanted) => {
        const shown = Object.fromEntries([...document.querySelectorAll("#users .row")].map((row) => [
            row.querySelector(".row-name").textContent, [...row.querySelectorAll(".badge")].map((badge) => badge.textContent),
        ]).sort());
        return JSON.stringify(shown) === JSON.stringify(Object.fromEntries(Object.entries(wanted).sort()));
    }, people),

    /** {page, names, ms}: until exactly these nodes are shown as members. */
    nodes: ({page, names, ms}) => until(page, ms, "nodes", (wanted) => {
        const shown = [...document.querySelectorAll("#nodes .node:not(.gone)")].map((card) => card.dataset.node);
        return JSON.stringify(shown) === JSON.stringify(wanted);
    }, names),

    /** {page, not, ms}: until the page is on a node other than the given one; answers with its name. */
    async elsewhere({page, not, ms}) {
        await until(page, ms, "where", (gone) => {
            const here = document.querySelector("#nodes .node.here");
            return here !== null && here.dataset.node !== gone && document.querySelector("#where").dataset.state === "online";
        }, not);
        return pages.get(page).evaluate(() => ({
            node: document.querySelector("#nodes .node.here").dataset.node,
            banner: document.querySelector("#banner").textContent,
        }));
    },

    /** {page, text, ms}: until the connection's line holds this text. */
    where: ({page, text, ms}) => until(page, ms, "where", (wanted) => document.querySelector("#where").textContent.includes(wanted), text),

    /** {page, text, ms}: until the banner holds this text. */
    banner: ({page, text, ms}) => until(page, ms, "banner", (wanted) => {
        const banner = document.querySelector("#banner");
        return !banner.hidden && banner.textContent.includes(wanted);
    }, text),

    /** {page, user}: opens the conversation with a user. */
    async direct({page, user}) {
        await pages.get(page).click(`#users button[data-key="user:${user}"]`);
    },

    async lobby({page}) {
        await pages.get(page).click("#rooms button >> nth=0");
    },

    async view({page, view}) {
        await pages.get(page).click(`.tabs button[data-view=${view}]`);
    },

    async transport({page, transport}) {
        await pages.get(page).click(`#transport label:has([value=${transport}])`);
    },

    /** {page, node}: the button that moves the page to a node. */
    async move({page, node}) {
        await pages.get(page).click(`#nodes [data-node="${node}"] button`);
    },

    async screenshot({page, file}) {
        await pages.get(page).screenshot({path: file});
    },

    /** Whether the page is wider than its window. */
    overflow: ({page}) => pages.get(page).evaluate(() => ({overflow: document.documentElement.scrollWidth > window.innerWidth})),

    async errors({page}) {
        return errors.get(page);
    },

    /** The tab is closed, not the browser: what it sends as it goes is sent. */
    async close({page}) {
        await pages.get(page).close();
    },
};

async function until(name, ms, id, condition, argument) {
    const page = pages.get(name);
    try {
        await page.waitForFunction(condition, argument, {timeout: ms, polling: 50});
    } catch (error) {
        const shown = await page.evaluate((shownId) => document.getElementById(shownId).innerText, id);
        throw new Error(`${name}: not within ${ms} ms: ${JSON.stringify(argument)}; instead: ${JSON.stringify(shown)} (${error.message.split("\n")[0]})`);
    }
}

// The page that `visit` answers with is for the other orders, not for the test.
serve(async (order) => (order.order === "visit" ? void await orders.visit(order) : orders[order.order](order)), () => browser.close());
