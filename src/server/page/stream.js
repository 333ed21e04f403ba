// SPDX-License-Identifier: MIT
//
// The server's events: read with fetch rather than EventSource, which could not send a token. Comes back by itself when
// the server was away, and rests while nobody sees the page.

const first_wait_ms = 300;
const longest_wait_ms = 3000;
const hidden_ms = 20000; // seen by nobody for so long: let the server be

let token = sessionStorage.getItem("scoot-token") ?? "";
if (location.hash.startsWith("#token=")) {
  set_token(decodeURIComponent(location.hash.slice(7)));
  history.replaceState(null, "", location.pathname);
}

export function set_token(text) {
  token = text;
  sessionStorage.setItem("scoot-token", text);
}

export function get(path, options = {}) {
  return fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
}

async function read_events(response, handle) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let pieces = []; // of an event that is not whole yet
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    if (!text.includes("\n")) {
      pieces.push(text);
      continue;
    }
    const whole = (pieces.join("") + text).split("\n\n");
    pieces = [whole.pop()];
    for (const event of whole) {
      const line = event.indexOf("\n");
      handle(event.slice(7, line), event.slice(line + 7));
    }
  }
}

// handle(name, data) for each event; tell("live" | "away" | "full" | "token") when that changes.
export async function follow(handle, tell) {
  let wait_ms = first_wait_ms;
  for (;;) {
    if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
    const stop = new AbortController();
    let timer = 0;
    const on_change = () => {
      clearTimeout(timer);
      if (document.hidden) timer = setTimeout(() => stop.abort(), hidden_ms);
    };
    document.addEventListener("visibilitychange", on_change);
    try {
      const response = await get("/events", { signal: stop.signal, cache: "no-store" });
      if (response.status === 401) {
        await tell("token");
        continue;
      }
      if (response.status === 503) tell("full");
      if (response.ok) {
        wait_ms = first_wait_ms;
        tell("live");
        await read_events(response, handle);
      }
    } catch {
      // Away: tried again below.
    } finally {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", on_change);
    }
    if (!stop.signal.aborted) tell("away");
    await new Promise((rested) => setTimeout(rested, wait_ms));
    wait_ms = Math.min(wait_ms * 1.6, longest_wait_ms);
  }
}
