// SPDX-License-Identifier: MIT
//
// What the tests of the live page share: servers, a load, a browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const scootd = process.env.SCOOT_SERVER ?? path.join(root, "build/release/src/server/scootd");
export const browser_path = process.env.SCOOT_CHROMIUM ?? "/usr/bin/chromium";
export const pictures = path.join(root, "build/page-tests");
mkdirSync(pictures, { recursive: true });

export const can_run = existsSync(browser_path);

export function open_browser() {
  // As root Chromium has no sandbox; the rest keeps it from looking for hosts that are not there.
  return chromium.launch({
    executablePath: browser_path,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

export async function free_port() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}

// A scootd with its page; { port, url, stop() }. Other options, and the ports of one that was there before, as given.
export async function start_server(options = [], ports = undefined) {
  const { port, http_port } = ports ?? { port: await free_port(), http_port: await free_port() };
  const child = spawn(scootd, ["-l", "127.0.0.1", "-p", String(port), "--http", `127.0.0.1:${http_port}`, "-t", "1", ...options], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  const ended = once(child, "exit");
  const url = `http://127.0.0.1:${http_port}/`;
  for (let i = 0; ; ++i) {
    try {
      if ((await fetch(`${url}readyz`)).ok) break;
    } catch {
      // not yet
    }
    if (child.exitCode !== null || i > 200) throw new Error(`scootd does not serve: ${said}`);
    await new Promise((later) => setTimeout(later, 50));
  }
  return {
    port,
    http_port,
    url,
    pid: child.pid,
    async stop() {
      child.kill("SIGTERM");
      const [status] = await ended;
      if (status !== 0) throw new Error(`scootd ended with ${status}: ${said}`);
    },
  };
}

// Stores items of about `size` bytes under keys from..to, and waits until the server has them.
export async function store(port, from, to, size) {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  let text = "";
  for (let i = from; i < to; ++i) {
    const bytes = size + (i % 8) * Math.ceil(size / 8);
    text += `set key${i} 0 0 ${bytes} noreply\r\n${"v".repeat(bytes)}\r\n`;
  }
  socket.write(`${text}mn\r\n`);
  for await (const answer of socket) {
    if (answer.toString().includes("MN")) break;
  }
  socket.destroy();
}

// A memory cgroup for a process, whose offered memory the kernel can be made to take; null where that can't be had.
export function reclaimable(pid) {
  for (const [folder, take] of [["/sys/fs/cgroup/memory", "memory.force_empty"], ["/sys/fs/cgroup", "memory.reclaim"]]) {
    const group = `${folder}/scoot-page-${pid}`;
    try {
      if (!existsSync(`${folder}/cgroup.procs`)) continue;
      mkdirSync(group);
      if (existsSync(`${group}/${take}`)) {
        writeFileSync(`${group}/cgroup.procs`, String(pid));
        return {
          take() {
            try {
              writeFileSync(`${group}/${take}`, take === "memory.reclaim" ? "1G" : "0");
            } catch {
              // Less than asked for was there.
            }
          },
          remove: () => rmdirSync(group),
        };
      }
      rmdirSync(group);
    } catch {
      // Not for us.
    }
  }
  return null;
}

const page_folder = path.join(root, "src/server/page");
const files = { "/": "index.html", "/uplot.js": "uplot/uPlot.iife.min.js", "/uplot.css": "uplot/uPlot.min.css" };
const types = { html: "text/html", js: "text/javascript", css: "text/css" };

// The page over a heap of so many pages that is not there: the same files, and a stream of the same form.
export async function start_synthetic(pages) {
  const record = Buffer.alloc(16 * pages);
  for (let i = 0; i < pages; ++i) {
    record.writeUInt32LE(i, 16 * i);
    record.set([i % 97 === 0 ? 4 : i % 31 === 0 ? 0 : 3, 0, (i * 37) % 256, 255], 16 * i + 4);
    record.writeUInt16LE(32 + ((i * 7) % 8000), 16 * i + 8);
  }
  const cold = Buffer.alloc(16 * pages);
  for (let i = 0; i < pages; ++i) {
    cold.writeUInt32LE(i, 16 * i);
    cold.set(i % 50 === 0 ? [17, 0, 0, 0] : i % 70 === 0 ? [0, 255, 0, 0] : [16, 0, i % 9 === 0 ? 100 : 250, 250], 16 * i + 4);
    cold.writeUInt16LE(i % 500, 16 * i + 8);
  }
  const fields = ["time", "budget", "held", "rss", "item_bytes", "live_bytes", "items", "gets", "hits", "sets", "others", "evictions", "expired", "moved", "pause_us", "pages", "holes", "idle", "connections", "cpu", "cold_items", "cold_ceiling", "offered", "purged", "cold_hits"];
  const row = (t) => [t, pages * 65536, pages * 60000, pages * 61000, pages * 55000, pages * 58000, 1e6, 5000, 4000, 2000, 10, 5, 6, 1e6, 64, pages, 0, 0, 3, 0.2, 1e6, pages * 65536, pages * 60000, 0, 10];
  let number = 0;
  const server = http.createServer((request, response) => {
    const at = new URL(request.url, "http://localhost").pathname;
    if (at === "/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const event = (name, data) => response.write(`event: ${name}\ndata: ${data}\n\n`);
      const now = Date.now() / 1000;
      event("hello", JSON.stringify({ version: "0", began: 1, page_bytes: 65536, shards: 1, sweep_ms: 250, fields }));
      event("history", JSON.stringify(Array.from({ length: 600 }, (_, i) => row(now - 600 + i))));
      event("cells", String(pages));
      event("pages", record.toString("base64"));
      event("cold_cells", String(pages));
      event("cold", cold.toString("base64"));
      event("pins", JSON.stringify([["reader", 3, 30000, 1500, 4096]]));
      // Every quarter of a second as many cells as scootd sends at most.
      const timer = setInterval(() => {
        const many = Math.min(8192, pages);
        const changed = Buffer.from(record.subarray(0, 16 * many));
        for (let i = 0; i < many; ++i) {
          changed.writeUInt32LE((number * many + i) % pages, 16 * i);
          changed.writeUInt16LE(number & 0xffff, 16 * i + 12);
        }
        ++number;
        event("pages", changed.toString("base64"));
        event("sample", JSON.stringify(row(Date.now() / 1000)));
      }, 250);
      request.on("close", () => clearInterval(timer));
      return;
    }
    const file = path.join(page_folder, files[at] ?? at.slice(1));
    if (!existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": types[file.split(".").pop()] }).end(readFileSync(file));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop: () => new Promise((closed) => {
      server.closeAllConnections();
      server.close(closed);
    }),
  };
}
