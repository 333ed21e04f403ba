// SPDX-License-Identifier: MIT
//
// Goal: the live page shows what is, in a real browser: it draws, follows, tells of a page by pointer and by keys, survives
// a restart of the server, can be used on a phone, in the dark and with a screen reader, and is quick with many pages.
// Method: Debian's Chromium against a real scootd; pictures are left in build/page-tests. For more pages than a test can
// fill, the same page over a stream of the same form.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { can_run, open_browser, pictures, reclaimable, start_server, start_synthetic, store } from "./support.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const skip = can_run ? false : "there is no Chromium";
let browser;
let server;

before(async () => {
  if (!can_run) return;
  browser = await open_browser();
  server = await start_server(["-m", "64"]);
  await store(server.port, 0, 20000, 300);
  await store(server.port, 20000, 20400, 9000);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

// A page that must make no complaint; closed when the test ends.
async function look(t, url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1360, height: 1000 }, colorScheme: "light", ...options });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/ERR_CONNECTION|Failed to load|ERR_INCOMPLETE/.test(message.text())) complaints.push(message.text());
  });
  t.after(async () => {
    await page.close();
    assert.deepEqual(complaints, []);
  });
  await page.goto(url);
  return page;
}

const drawn = (page) => page.waitForFunction(() => document.querySelector("#items").textContent !== "–" && document.querySelector("#map").width > 300 && document.querySelectorAll("#sizes tr").length > 3, null, { timeout: 20000 });

// How many colours there are among points all over the map.
const colours = (page, of = "#map") =>
  page.evaluate((selector) => {
    const map = document.querySelector(selector);
    const data = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4 * 7) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return seen.size;
  }, of);

// Points of a map that are of about the colour that the style has under that name.
const points_of = (page, of, name) =>
  page.evaluate(([selector, variable]) => {
    const map = document.querySelector(selector);
    const text = getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
    const wanted = [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
    const data = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
    let found = 0;
    for (let i = 0; i < data.length; i += 4) found += wanted.every((c, k) => Math.abs(c - data[i + k]) < 75) ? 1 : 0;
    return found;
  }, [of, name]);

async function check_axe(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const bad = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" / ")}`), []);
}

test("the page draws the heap, plots and sizes", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  assert.equal(await page.textContent("#state"), "live");
  assert.ok((await colours(page)) > 8);
  assert.equal(await page.textContent("#items"), "20.4 k");
  assert.ok((await page.locator(".plot canvas").count()) >= 7);
  const sizes = await page.locator("#sizes tr").allTextContents();
  assert.ok(sizes.some((row) => row.includes("item")) && sizes.some((row) => row.includes("above 8 KiB")), sizes.join("\n"));
  await page.screenshot({ path: path.join(pictures, "light.png"), fullPage: true });
});

test("the page follows what the server does", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  const picture = () => page.evaluate(() => document.querySelector("#map").toDataURL());
  const was = await picture();
  await store(server.port, 30000, 31000, 700);
  await page.waitForFunction(() => document.querySelector("#items").textContent.startsWith("21.4 k"), null, { timeout: 10000 });
  assert.notEqual(await picture(), was);
});

test("pointing at a cell tells what is in its page", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  await page.hover("#map", { position: { x: 150, y: 30 } });
  await page.waitForFunction(() => /^Page [\d,]+: /.test(document.querySelector("#page-text").textContent));
  await page.waitForFunction(() => document.querySelector("#page-facts").textContent.includes("address"), null, { timeout: 5000 });
  assert.ok(await page.isVisible("#page-strip"));
  await page.screenshot({ path: path.join(pictures, "page-chosen.png") });
});

test("the keyboard goes from page to page and through the page", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  const reached = [];
  for (let i = 0; i < 4; ++i) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.id || document.activeElement.className));
  }
  assert.deepEqual(reached.slice(0, 3), ["theme", "map", "scroll"]);
  await page.focus("#map");
  const chosen = async () => Number((await page.textContent("#page-text")).match(/^Page ([\d,]+)/)[1].replaceAll(",", ""));
  await page.keyboard.press("ArrowRight");
  assert.equal(await chosen(), 0);
  await page.keyboard.press("ArrowRight");
  assert.equal(await chosen(), 1);
  await page.keyboard.press("ArrowDown");
  const below = await chosen();
  assert.ok(below > 5);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  assert.equal(await chosen(), 1, "there is nothing above the first row");
  await page.keyboard.press("End");
  assert.ok((await chosen()) > below);
  await page.keyboard.press("Home");
  assert.equal(await chosen(), 0);
  await page.keyboard.press("Escape");
  assert.match(await page.textContent("#page-text"), /^Point at a cell/);
});

test("the cold tier is drawn chunk by chunk, and what the kernel takes of it", { skip }, async (t) => {
  const other = await start_server(["-m", "8", "--purgeable", "64"]);
  const group = reclaimable(other.pid);
  t.after(async () => {
    await other.stop();
    group?.remove();
  });
  await store(other.port, 0, 20000, 1000);
  const page = await look(t, other.url);
  await drawn(page);
  if (await page.isHidden("#cold")) return t.skip("no purgeable memory here");
  await page.waitForFunction(() => document.querySelector("#cold-map").width > 300);
  assert.match(await page.textContent("#cold-text"), /items in .* offered to the kernel/);
  const offered = await points_of(page, "#cold-map", "--offered");
  assert.ok(offered > 1000, `${offered} points`);
  assert.match(await page.textContent("#legend"), /offered to the kernel/);
  await page.focus("#cold-map");
  await page.keyboard.press("Home");
  await page.waitForFunction(() => /^Chunk 0: offered to the kernel, [\d,]+ items/.test(document.querySelector("#page-text").textContent));
  await page.waitForFunction(() => document.querySelector("#page-facts").textContent.includes("read since offered"), null, { timeout: 5000 });
  await page.hover("#map", { position: { x: 150, y: 30 } });
  assert.match(await page.textContent("#page-text"), /^Page /);
  await page.hover("#cold-map", { position: { x: 30, y: 10 } });
  assert.match(await page.textContent("#page-text"), /^Chunk /);
  await check_axe(page);
  await page.screenshot({ path: path.join(pictures, "cold.png"), fullPage: true });
  if (group === null) return t.diagnostic("no memory cgroup: nothing was purged");
  group.take();
  for (let i = 0; (await points_of(page, "#cold-map", "--purged")) < 200; ++i) {
    if (i > 60) assert.fail("no purged chunk is drawn");
    await page.waitForTimeout(250);
  }
  assert.ok((await points_of(page, "#cold-map", "--offered")) < offered);
  await page.screenshot({ path: path.join(pictures, "purged.png"), fullPage: true });
});

test("who pins memory is told", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  assert.ok(await page.isHidden("#pins"));
  const writer = net.connect(server.port, "127.0.0.1");
  writer.write("set slowly 0 0 100000\r\nbegun");
  await page.waitForFunction(() => /^Pinned by writer: 1 block, 9[78]\.\d KiB/.test(document.querySelector("#pins").textContent), null, { timeout: 10000 });
  writer.destroy();
  await page.waitForSelector("#pins", { state: "hidden" });
});

test("the page survives a restart of the server", { skip }, async (t) => {
  let other = await start_server(["-m", "8"]);
  await store(other.port, 0, 3000, 200);
  const page = await look(t, other.url);
  await drawn(page);
  assert.equal(await page.textContent("#items"), "3,000");
  await other.stop();
  await page.waitForFunction(() => document.querySelector("#state").textContent.includes("away"), null, { timeout: 5000 });
  await page.screenshot({ path: path.join(pictures, "away.png") });
  other = await start_server(["-m", "8"], other);
  t.after(() => other.stop());
  await store(other.port, 0, 1234, 200);
  await page.waitForFunction(() => document.querySelector("#state").textContent === "live" && document.querySelector("#items").textContent === "1,234", null, { timeout: 10000 });
});

test("the dark is dark, by the system's wish and by the button", { skip }, async (t) => {
  const page = await look(t, server.url, { colorScheme: "dark" });
  await drawn(page);
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await back();
  await page.screenshot({ path: path.join(pictures, "dark.png"), fullPage: true });
  await check_axe(page);
  await page.click("#theme");
  assert.notEqual(await back(), dark, "light, whatever the system says");
  await page.click("#theme");
  assert.equal(await back(), dark);
  await page.reload();
  await drawn(page);
  assert.match(await page.getAttribute("#theme", "aria-label"), /dark/);
});

test("a phone shows all of it without scrolling sideways", { skip }, async (t) => {
  const page = await look(t, server.url, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  await drawn(page);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  const map = await page.locator("#map").boundingBox();
  assert.ok(map.width > 300 && map.height < 500, JSON.stringify(map));
  await page.touchscreen.tap(map.x + 60, map.y + 30);
  assert.match(await page.textContent("#page-text"), /^Page [\d,]+: /);
  await page.screenshot({ path: path.join(pictures, "phone.png"), fullPage: true });
  await check_axe(page);
});

test("axe finds nothing serious", { skip }, async (t) => {
  const page = await look(t, server.url);
  await drawn(page);
  await check_axe(page);
});

test("a token is asked for, and a wrong one refused", { skip }, async (t) => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "scoot-page-")), "token");
  writeFileSync(file, "the-token-of-this-test\n");
  const guarded = await start_server(["-m", "8", "--http-token-file", file]);
  t.after(() => guarded.stop());
  await store(guarded.port, 0, 3000, 200);
  const page = await look(t, guarded.url);
  await page.waitForSelector("#ask:not([hidden])");
  await check_axe(page);
  await page.fill("#token", "not-the-token-of-this-test");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#refused").textContent === "That is not the token.");
  await page.fill("#token", "the-token-of-this-test");
  await page.keyboard.press("Enter");
  await drawn(page);
  const linked = await look(t, `${guarded.url}#token=the-token-of-this-test`);
  await drawn(linked);
  assert.ok(!linked.url().includes("token"));
});

test("10,000 pages are painted within a second", { skip }, async (t) => {
  const many = await start_synthetic(10000);
  t.after(() => many.stop());
  const page = await look(t, many.url);
  await page.waitForFunction(() => document.querySelector("#map").width > 300);
  const first_ms = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  t.diagnostic(`first paint after ${first_ms.toFixed(0)} ms`);
  assert.ok(first_ms < 1000, `first paint after ${first_ms} ms`);
  assert.ok((await colours(page)) > 20);
});

test("100,000 pages are drawn, and the page goes on answering", { skip }, async (t) => {
  const many = await start_synthetic(100000);
  t.after(() => many.stop());
  const page = await look(t, many.url);
  await page.waitForFunction(() => document.querySelector("#map").width > 300, null, { timeout: 10000 });
  assert.ok((await colours(page)) > 20);
  const map = await page.locator("#map").boundingBox();
  assert.ok(map.height <= 520, JSON.stringify(map));
  await page.waitForFunction(() => document.querySelector("#cold-map").width > 300, null, { timeout: 10000 });
  assert.ok((await colours(page, "#cold-map")) > 3);
  await page.waitForTimeout(1500);
  const late_ms = await page.evaluate(() => new Promise((done) => {
    const began = performance.now();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
  }));
  t.diagnostic(`an answer after ${late_ms.toFixed(0)} ms`);
  assert.ok(late_ms < 1000, `an answer after ${late_ms} ms`);
  await page.focus("#map");
  await page.keyboard.press("End");
  await page.waitForFunction(() => document.querySelector("#page-text").textContent.startsWith("Page 99,999"));
  await page.screenshot({ path: path.join(pictures, "100000.png") });
});
