// SPDX-License-Identifier: MIT
//
// The live page: brings together the stream, the map, the plots and the table.
import { colour_of, content, heap_map } from "/map.js";
import { plots } from "/plots.js";
import { follow, get, set_token } from "/stream.js";
import { bytes, count, fixed, micros, percent } from "/words.js";

const $ = (id) => document.getElementById(id);
const asked_after_ms = 120;
const names = ["unused", "kept for reuse", "in use", "one size", "large blocks", "a block of its own", "part of a block"];

let hello = null;
let kinds = [];
let sizes = [];
let quiet = true; // what comes next tells what is, not what changed
let cold_quiet = true; // the same of the cold tier
let last = null;

// ---- colours -------------------------------------------------------------------------------------------------------

const modes = ["auto", "light", "dark"];
let mode = localStorage.getItem("scoot-theme") ?? "auto";
const system_dark = matchMedia("(prefers-color-scheme: dark)");

function set_colours() {
  const is_dark = mode === "dark" || (mode === "auto" && system_dark.matches);
  document.documentElement.toggleAttribute("data-dark", is_dark);
  $("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[mode];
  $("theme").setAttribute("aria-label", `Colours: ${mode === "auto" ? "as the system has them" : mode}`);
}
set_colours();

const map = new heap_map($("map"), $("map-mark"), $("map-box"), show_page);
const cold_map = new heap_map($("cold-map"), $("cold-mark"), $("cold-box"), show_chunk, 170);
const series = new plots($("plots"));

function recolour() {
  set_colours();
  map.draw_all();
  cold_map.draw_all();
  series.build();
  draw_legend();
  draw_sizes();
}
$("theme").addEventListener("click", () => {
  mode = modes[(modes.indexOf(mode) + 1) % modes.length];
  localStorage.setItem("scoot-theme", mode);
  recolour();
});
system_dark.addEventListener("change", recolour);

// ---- the chosen page -----------------------------------------------------------------------------------------------

let question = 0;

function facts(rows) {
  $("page-facts").replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const term = document.createElement("dt");
      const fact = document.createElement("dd");
      term.textContent = name;
      fact.textContent = value;
      return [term, fact];
    }),
  );
}

function words_for(i) {
  const page = map.page(i);
  const kind = kinds[page.kind] ?? "block";
  if (page.content <= content.used) return names[page.content];
  if (page.content === content.shelf) return `${kind}s of ${page.size.toLocaleString("en")} bytes`;
  return page.content === content.large ? `${page.size} large ${kind}s` : `${kind} of ${page.size} pages`;
}

// Nothing is asked about any more. True if there is a cell, of this map and of no other.
function chosen(i, other) {
  if (i >= 0) other.choose(-1);
  clearTimeout(question);
  $("page-strip").hidden = true;
  if (i >= 0) return true;
  $("page-text").textContent = "Point at a cell, or choose one with the arrow keys, to see what is in it.";
  facts([]);
  return false;
}

function show_page(i) {
  if (!chosen(i, cold_map)) return;
  const page = map.page(i);
  $("page-text").textContent = `Page ${i.toLocaleString("en")}: ${words_for(i)}`;
  const rows = [["in use", percent(page.live / 255, 0)], ["resident", percent(page.resident / 255, 0)]];
  if (page.pins !== 0) rows.push(["pinned", String(page.pins)]);
  facts(page.content <= content.idle ? [["resident", page.content === content.idle ? "yes" : "no"]] : rows);
  if (page.content > content.used) question = setTimeout(() => ask_about(map, i, "/page.json", tell_about), asked_after_ms);
}

const chunk_states = { [content.offered]: "offered to the kernel", [content.purged]: "taken by the kernel" };

function show_chunk(i) {
  if (!chosen(i, map)) return;
  const chunk = cold_map.page(i);
  const part = chunk.content === content.offered && chunk.live < chunk.resident ? ", part of it purged" : "";
  const items = chunk.content === content.offered ? `, ${chunk.size.toLocaleString("en")} items` : "";
  $("page-text").textContent = `Chunk ${i.toLocaleString("en")}: ${chunk_states[chunk.content] ?? "unused"}${items}${part}`;
  facts(chunk.content === content.offered ? [["still there", percent(chunk.live / 255, 0)], ["filled", percent(chunk.resident / 255, 0)]] : []);
  if (chunk.content === content.offered) question = setTimeout(() => ask_about(cold_map, i, "/chunk.json", tell_about_chunk), asked_after_ms);
}

function tell_about_chunk(chunk) {
  const rows = [["items", chunk.items.toLocaleString("en")], ["filled", bytes(chunk.used_bytes)], ["purged", bytes(chunk.purged_bytes)]];
  rows.push(["filled since", chunk.age === 1 ? "1 chunk" : `${chunk.age.toLocaleString("en")} chunks`], ["read since offered", chunk.read ? "yes" : "no"], ["heap", String(chunk.heap)]);
  facts(rows);
  const style = getComputedStyle(document.documentElement);
  draw_strip(chunk.fill, style.getPropertyValue("--offered"), style.getPropertyValue("--purged"));
}

async function ask_about(from, i, path, tell_of) {
  try {
    const answer = await get(`${path}?number=${i}`);
    if (!answer.ok) return;
    const found = await answer.json();
    if (from.chosen === i) tell_of(found);
  } catch {
    // The server is away, which is told elsewhere.
  }
}

function tell_about(page) {
  const rows = [["in use", bytes(page.live_bytes)], ["resident", bytes(page.resident_end - page.resident_begin - page.missing_bytes)]];
  if (page.use === "shelf") {
    rows.unshift(["blocks", (page.slots - page.holes - page.withdrawn).toLocaleString("en")], ["holes", page.holes.toLocaleString("en")]);
  }
  if (page.use === "large") rows.unshift(["blocks", page.blocks.toLocaleString("en")]);
  if (page.run_bytes) rows.unshift(["block", bytes(page.run_bytes)]);
  rows.push(["pinned", String(page.pins)], ["moved in", page.moved_in.toLocaleString("en")]);
  rows.push(["moved out", page.moved_out.toLocaleString("en")], ["heap", String(page.heap)], ["address", page.address]);
  facts(rows);
  const seen = map.page(page.number);
  draw_strip(page.fill, `rgb(${colour_of(seen.content, seen.kind, seen.size)})`, "");
}

// The parts of a page, each as high as it is full, or of another colour.
function draw_strip(fill, colour, taken) {
  const strip = $("page-strip");
  const to = strip.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const wide = strip.width / fill.length;
  to.clearRect(0, 0, strip.width, strip.height);
  [...fill].forEach((c, i) => {
    to.fillStyle = style.getPropertyValue("--cell");
    to.fillRect(i * wide, 0, wide - 1, strip.height);
    if (c === ".") return;
    const high = c === "x" ? strip.height : Math.round((strip.height * Number(c)) / 9);
    to.fillStyle = c === "x" ? taken : colour;
    to.fillRect(i * wide, strip.height - high, wide - 1, high);
  });
  strip.hidden = false;
}

// ---- legend and sizes ----------------------------------------------------------------------------------------------

function swatch(colour) {
  const box = document.createElement("span");
  box.className = "swatch";
  box.style.background = `rgb(${colour})`;
  return box;
}

function legend_entry(text, wide, paint) {
  const entry = document.createElement("li");
  const box = document.createElement("canvas");
  box.width = wide;
  box.height = 14;
  paint(box.getContext("2d"), wide, 14);
  entry.append(box, text);
  return entry;
}

function draw_legend() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  const plain = (colour) => (to, w, h) => {
    to.fillStyle = colour;
    to.fillRect(0, 0, w, h);
  };
  const of = (...what) => plain(`rgb(${colour_of(...what)})`);
  const entries = [
    legend_entry("32 B to 8 KiB", 150, (to, w, h) => {
      for (let x = 0; x < w; ++x) {
        to.fillStyle = `rgb(${colour_of(content.shelf, 0, 32 * 2 ** ((8 * x) / w))})`;
        to.fillRect(x, 0, 1, h);
      }
    }),
    legend_entry("larger", 14, of(content.large, 0, 0)),
    legend_entry("index", 14, of(content.shelf, 2, 0)),
    legend_entry("queues", 14, of(content.shelf, 1, 0)),
    legend_entry("resident in vain", 14, (to, w, h) => {
      const full = colour_of(content.shelf, 0, 256);
      plain(value("--panel"))(to, w, h);
      to.globalAlpha = 0.55;
      plain(`rgb(${full})`)(to, w, h);
      to.globalAlpha = 1;
    }),
    legend_entry("kept for reuse", 14, plain(value("--idle"))),
    legend_entry("unused", 14, plain(value("--cell"))),
    legend_entry("blocks moved in", 14, plain(`rgb(${value("--flash-in")})`)),
    legend_entry("moved out, or given back", 14, plain(`rgb(${value("--flash-out")})`)),
    legend_entry("pinned", 14, (to, w, h) => {
      of(content.shelf, 0, 256)(to, w, h);
      to.fillStyle = value("--mark");
      to.fillRect(8, 1, 5, 5);
    }),
  ];
  if (!$("cold").hidden) {
    entries.push(legend_entry("offered to the kernel", 14, plain(value("--offered"))));
    entries.push(legend_entry("purged", 14, plain(`color-mix(in srgb, ${value("--purged")} 75%, ${value("--panel")})`)));
  }
  $("legend").replaceChildren(...entries);
}

function draw_sizes() {
  const rows = sizes.map(([kind, what, least, most, pages, blocks, live, holes, resident]) => {
    const row = document.createElement("tr");
    const size = what === content.shelf ? (least === most ? `${least} B` : `${least}–${most} B`) : what === content.large ? "above 8 KiB" : "above half a page";
    const cells = [size, kinds[kind] ?? "", count(blocks), count(pages), bytes(live), bytes(holes)].map((text, i) => {
      const cell = document.createElement("td");
      if (i === 0) cell.append(swatch(colour_of(what, kind, (least + most) / 2)));
      if (i > 1) cell.className = "n";
      cell.append(text);
      return cell;
    });
    const fill = document.createElement("td");
    fill.className = "fill";
    const line = document.createElement("div");
    const bar = document.createElement("div");
    bar.className = "bar";
    const full = resident > 0 ? Math.min(1, live / resident) : 0;
    const part = document.createElement("i");
    part.style.width = `${100 * full}%`;
    part.style.background = `rgb(${colour_of(what, kind, (least + most) / 2)})`;
    bar.append(part);
    const share = document.createElement("span");
    share.textContent = percent(full);
    line.append(bar, share);
    fill.append(line);
    row.append(...cells, fill);
    return row;
  });
  $("sizes").replaceChildren(...rows);
}

// ---- what comes ----------------------------------------------------------------------------------------------------

const sample_of = (row) => Object.fromEntries(hello.fields.map((name, i) => [name, row[i]]));

function put(id, value, unit = "") {
  const small = document.createElement("small");
  small.textContent = unit;
  $(id).replaceChildren(value, small);
}

function tell(s) {
  last = s;
  const [held, held_unit] = bytes(s.held).split(" ");
  put("utilisation", s.held > 0 ? (100 * (s.live_bytes / s.held)).toFixed(1) : "–", " %");
  $("utilisation-bar").style.width = `${s.held > 0 ? (100 * s.live_bytes) / s.held : 0}%`;
  put("held", held, ` ${held_unit} of ${bytes(s.budget)}`);
  $("held-bar").style.width = `${Math.min(100, (100 * s.held) / s.budget)}%`;
  put("items", count(s.items));
  $("connections").textContent = `${s.connections} connection${s.connections === 1 ? "" : "s"}`;
  put("operations", count(s.gets + s.sets + s.others));
  $("cpu").textContent = `${percent(s.cpu)} of a processor`;
  put("hits", s.gets > 0 ? (100 * (s.hits / s.gets)).toFixed(1) : "–", s.gets > 0 ? " %" : "");
  $("evictions").textContent = `${count(s.evictions)} evicted, ${count(s.expired)} expired`;
  const [moved, moved_unit] = bytes(s.moved).split(" ");
  put("moved", moved, ` ${moved_unit}`);
  tell_cold(s);
  $("pause").textContent = s.pause_us > 0 ? `pauses below ${micros(s.pause_us)}` : "no pause";
}

// What the kernel may take is no part of the heap's pages: it is drawn below them.
function tell_cold(s) {
  const was_hidden = $("cold").hidden;
  $("cold").hidden = typeof s.offered !== "number";
  if (was_hidden !== $("cold").hidden) draw_legend();
  if ($("cold").hidden) return;
  $("cold-text").textContent = `${count(s.cold_items)} items in ${bytes(s.offered)} offered to the kernel, of ${bytes(s.cold_ceiling)} at most; ${bytes(s.purged)} purged and ${count(s.cold_hits)} hits a second`;
}

// Who pins what: in a line each.
function tell_pins(holders) {
  $("pins").hidden = holders.length === 0;
  $("pins").replaceChildren(
    ...holders.map(([holder, blocks, size, age_ms, stranded]) => {
      const line = document.createElement("p");
      line.textContent = `Pinned by ${holder || "somebody"}: ${count(blocks)} block${blocks === 1 ? "" : "s"}, ${bytes(size)}, for up to ${fixed(age_ms / 1000, 2)} s; ${bytes(stranded)} stranded`;
      return line;
    }),
  );
}

function handle(name, data) {
  if (name === "pages" || name === "cold") {
    const records = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    if (name === "pages") {
      map.take(records, quiet);
      quiet = false;
    } else {
      cold_map.take(records, cold_quiet);
      cold_quiet = false;
    }
    return;
  }
  const value = JSON.parse(data);
  if (name === "hello") {
    hello = value;
    quiet = true;
    cold_quiet = true;
    map.clear();
    cold_map.clear();
    tell_pins([]);
    $("version").textContent = hello.version;
    document.title = $("name").textContent = hello.name ?? "scootd";
    $("map-note").textContent = `Every cell is a page of ${bytes(hello.page_bytes)}: its height is how much is in use, its colour the size of the blocks.`;
  } else if (name === "history") {
    series.replace(value.map(sample_of));
    if (series.samples.length !== 0) tell(series.samples[series.samples.length - 1]);
  } else if (name === "cells") {
    map.grow(Math.max(value, last === null ? 0 : Math.ceil(last.budget / hello.page_bytes)));
  } else if (name === "cold_cells") {
    cold_map.grow(value);
  } else if (name === "pins") {
    tell_pins(value);
  } else if (name === "sample") {
    const sample = sample_of(value);
    tell(sample);
    series.add(sample);
  } else if (name === "kinds") {
    kinds = value.map((kind) => kind.replace(/^cache /, ""));
  } else if (name === "sizes") {
    sizes = value;
    draw_sizes();
  }
}

function ask_for_token() {
  $("ask").hidden = false;
  $("main").hidden = true;
  $("token").focus();
  return new Promise((given) => {
    $("ask").onsubmit = (event) => {
      event.preventDefault();
      set_token($("token").value);
      $("refused").textContent = "Asking …";
      given();
    };
  });
}

async function told(state) {
  const words = { live: "live", away: "the server is away; trying again", full: "too many viewers; trying again", token: "needs a token" };
  $("state").textContent = words[state];
  $("state").dataset.state = state;
  document.body.toggleAttribute("data-away", state !== "live" && state !== "token");
  if (state === "token") {
    if ($("refused").textContent !== "") $("refused").textContent = "That is not the token.";
    await ask_for_token();
  } else if (state === "live") {
    $("ask").hidden = true;
    $("main").hidden = false;
    $("refused").textContent = "";
  }
}

draw_legend();
follow(handle, told);
