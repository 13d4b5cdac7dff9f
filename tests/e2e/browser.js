// A browser for browser.py: reads one JSON line a call, writes one a result. Ends with its input.
"use strict";
const readline = require("readline");
const { chromium } = require(process.argv[2]);

const FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
];
const VIEWPORT = { width: 1200, height: 800 };

const found = (page, { selector, text }) =>
    page.locator(selector, text === undefined ? {} : { hasText: text }).first();

const operations = {
    close: (page) => page.close(),
    open: async (page, { url }) => void (await page.goto(url)),
    wait: (page, call) => found(page, call).waitFor({ state: call.state }),
    click: (page, call) => found(page, call).click({ position: call.position }),
    fill: (page, call) => found(page, call).fill(call.value),
    press: (page, { keys }) => page.keyboard.press(keys),
    type: (page, { value }) => page.keyboard.type(value),
    mouse: (page, { x, y }) => page.mouse.click(x, y),
    texts: (page, { selector }) => page.locator(selector).allInnerTexts(),
    // Playwright tries again with each frame that is drawn, until it is something.
    value: async (page, { code, argument }) =>
        (await page.waitForFunction(`(${code})(${JSON.stringify(argument)})`)).jsonValue(),
    // Open editors, breakpoints and such; the cache stays.
    forget: async (page, { origin }) => {
        const session = await page.context().newCDPSession(page);
        await session.send("Storage.clearDataForOrigin", {
            origin, storageTypes: "indexeddb,local_storage",
        });
        await session.detach();
    },
    screenshot: async (page, { path }) => void (await page.screenshot({ path })),
};

async function main() {
    const browser = await chromium.launch({
        executablePath: process.argv[3], headless: true, chromiumSandbox: false, args: FLAGS,
    });
    // One for all pages: it keeps the workbench's files.
    const context = await browser.newContext({ viewport: VIEWPORT, reducedMotion: "reduce" });
    const pages = new Map();
    const done = async (call) => {
        if (call.operation === "page") {
            const page = await context.newPage();
            page.setDefaultTimeout(call.timeout_ms);
            // "Leave site?" would wait for a person.
            page.on("dialog", (dialog) => dialog.accept().catch(() => {}));
            pages.set(call.page, page);
        } else {
            return operations[call.operation](pages.get(call.page), call);
        }
    };
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const call = JSON.parse(line);
        let answer;
        try {
            answer = { value: (await done(call)) ?? null };
        } catch (error) {
            answer = { error: String(error.message) };
        }
        process.stdout.write(JSON.stringify({ number: call.number, ...answer }) + "\n");
    }
    await browser.close();
}

main().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
});
