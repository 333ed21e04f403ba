// SPDX-License-Identifier: MIT
//
// The heap as a map: every page of memory a cell, in the order of addresses. A cell's colour is the size of what is in its
// page, its height how much of the page is in use, paler above that what is resident in vain; blocks that move in or out make
// it flash. Only what changed is drawn again, so 100,000 pages are as cheap as 1,000.
//
// Chunks of the cold tier are drawn by a map of their own: what is offered to the kernel, and what it took of that.
//
//     record of the stream, 16 bytes: number u32 | content u8, kind u8, live u8, resident u8 | size u16, pins u16,
//     arrivals u16, departures u16 (both of these wrap)

export const content = { unused: 0, idle: 1, used: 2, shelf: 3, large: 4, run: 5, run_body: 6, offered: 16, purged: 17 };

const record_bytes = 16;
const flash_ms = 900;
const frame_ms = 40;
const cell_most = 26; // CSS pixels
const square_least = 5; // smaller cells are painted as pixels of an image that is then enlarged
const least_size = 32; // of the colours
const largest_size = 8192;
const still = matchMedia("(prefers-reduced-motion: reduce)");

// OKLCH to sRGB (B. Ottosson, https://bottosson.github.io/posts/oklab/): colours of one lightness in all hues.
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((c) => Math.round(255 * Math.min(1, Math.max(0, c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055))));
}

const dark = () => document.documentElement.hasAttribute("data-dark");

// Of the blocks on a page: from blue for the smallest to orange for the largest, red for the large space, grey for tables.
export function colour_of(what, kind, size) {
  const lightness = dark() ? 0.72 : 0.62;
  if (what === content.used) return oklch(lightness, 0.01, 250);
  if (kind !== 0) return oklch(lightness - 0.04, 0.06, kind === 2 ? 300 : 330);
  if (what === content.large) return oklch(lightness, 0.17, 27);
  if (what !== content.shelf) return oklch(lightness, 0.17, 5);
  const part = (Math.log2(size) - Math.log2(least_size)) / (Math.log2(largest_size) - Math.log2(least_size));
  return oklch(lightness, 0.135, 262 - 205 * Math.min(1, Math.max(0, part)));
}

const css = ([r, g, b]) => `rgb(${r},${g},${b})`;
const mixed = (a, b, part) => a.map((c, i) => Math.round(c + (b[i] - c) * part));

function rgb_of(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
}

export class heap_map {
  // on_choose(number) when a page is pointed at or chosen by key; -1 when none is. No higher than `highest` CSS pixels.
  constructor(canvas, mark, box, on_choose, highest = 460) {
    this.highest = highest;
    this.canvas = canvas;
    this.mark = mark;
    this.box = box;
    this.on_choose = on_choose;
    this.chosen = -1;
    this.flashing = new Map(); // number -> [time, in, out]
    this.timer = 0;
    this.now = 0;
    this.image = null;
    this.clear();
    new ResizeObserver(() => this.lay_out()).observe(box);
    canvas.addEventListener("pointermove", (e) => this.choose(this.at(e)));
    canvas.addEventListener("pointerdown", (e) => this.choose(this.at(e)));
    canvas.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && !this.by_key && this.choose(-1));
    canvas.addEventListener("keydown", (e) => this.key(e));
    canvas.addEventListener("blur", () => {
      this.by_key = false;
    });
  }

  clear() {
    this.count = 0;
    this.content = new Uint8Array(0);
    this.kind = new Uint8Array(0);
    this.live = new Uint8Array(0);
    this.resident = new Uint8Array(0);
    this.size = new Uint16Array(0);
    this.pins = new Uint16Array(0);
    this.arrivals = new Uint16Array(0);
    this.departures = new Uint16Array(0);
    this.flashing.clear();
  }

  // Room for so many cells; those there are stay.
  grow(count) {
    if (count <= this.count) return;
    for (const name of ["content", "kind", "live", "resident", "size", "pins", "arrivals", "departures"]) {
      const larger = new this[name].constructor(count);
      larger.set(this[name]);
      this[name] = larger;
    }
    this.count = count;
    this.lay_out();
  }

  // The records of an event. The first ones after clear() tell what is, not what moved.
  take(bytes, quiet) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const now = performance.now();
    this.now = now;
    const changed = [];
    for (let at = 0; at + record_bytes <= view.byteLength; at += record_bytes) {
      const i = view.getUint32(at, true);
      if (i >= this.count) this.grow(i + 1);
      const arrivals = view.getUint16(at + 12, true);
      const departures = view.getUint16(at + 14, true);
      const what = view.getUint8(at + 4);
      if (!quiet) {
        const was = this.content[i];
        const into = what > content.used && what !== content.purged && arrivals !== this.arrivals[i];
        const out = was > content.used && (what <= content.idle || departures !== this.departures[i]);
        if (into || out) this.flashing.set(i, [now, into, out]);
      }
      this.content[i] = what;
      this.kind[i] = view.getUint8(at + 5);
      this.live[i] = view.getUint8(at + 6);
      this.resident[i] = view.getUint8(at + 7);
      this.size[i] = view.getUint16(at + 8, true);
      this.pins[i] = view.getUint16(at + 10, true);
      if (what > content.used || quiet) {
        this.arrivals[i] = arrivals;
        this.departures[i] = departures;
      }
      changed.push(i);
    }
    this.read_colours_once();
    for (const i of changed) this.draw(i);
    this.show_pixels();
    if (this.flashing.size !== 0 && this.timer === 0) this.fade();
    if (this.chosen >= 0 && changed.includes(this.chosen)) this.on_choose(this.chosen);
  }

  // As large as the box allows, and no larger than looks well.
  lay_out() {
    const width = this.box.clientWidth;
    if (width === 0 || this.count === 0) return;
    const height = Math.min(this.highest, Math.max(180, window.innerHeight * 0.48));
    this.scale = window.devicePixelRatio || 1;
    const room = Math.floor(width * this.scale);
    let cell = Math.floor(Math.min(cell_most * this.scale, Math.sqrt((room * height * this.scale) / this.count)));
    cell = Math.max(1, cell);
    this.columns = Math.max(1, Math.floor(room / cell));
    // A row more or less is nothing; cells that are too high are.
    while (cell > 1 && Math.ceil(this.count / this.columns) * cell > height * this.scale) {
      --cell;
      this.columns = Math.floor(room / cell);
    }
    this.cell = cell;
    this.gap = cell >= 12 * this.scale ? Math.round(2 * this.scale) : cell > square_least ? 1 : 0;
    const rows = Math.ceil(this.count / this.columns);
    this.image = null;
    if (cell - this.gap < square_least) {
      this.small = new OffscreenCanvas(this.columns, rows);
      this.image = new ImageData(this.columns, rows);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    for (const canvas of [this.canvas, this.mark]) {
      canvas.width = this.columns * cell;
      canvas.height = rows * cell;
      canvas.style.width = `${canvas.width / this.scale}px`;
      canvas.style.height = `${canvas.height / this.scale}px`;
    }
    this.draw_all();
  }

  read_colours_once() {
    if (this.colours !== undefined) return;
    this.colours = new Map();
    this.panel = rgb_of("--panel");
    this.cell_colour = rgb_of("--cell");
    this.idle_colour = rgb_of("--idle");
    const numbers = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).split(",").map(Number);
    this.flash_in = numbers("--flash-in");
    this.flash_out = numbers("--flash-out");
    this.mark_rgb = rgb_of("--mark");
    this.mark_colour = css(this.mark_rgb);
    this.offered = rgb_of("--offered");
    this.purged = rgb_of("--purged");
    // Of a chunk: what is there, what was taken of it, and nothing.
    this.chunk = { live: css(this.offered), waste: css(mixed(this.panel, this.purged, 0.75)), rest: css(this.cell_colour) };
  }

  // After a change of colours.
  draw_all() {
    this.colours = undefined;
    this.read_colours_once();
    const to = this.canvas.getContext("2d", { alpha: false });
    to.fillStyle = css(this.panel);
    to.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (let i = 0; i < this.count; ++i) this.draw(i);
    this.show_pixels();
    this.draw_mark();
  }

  // [of the part that is live, of the rest], cached.
  pair(i) {
    const key = (this.content[i] << 24) | (this.kind[i] << 16) | this.size[i];
    let pair = this.colours.get(key);
    if (pair === undefined) {
      const full = colour_of(this.content[i], this.kind[i], this.size[i]);
      pair = { full, live: css(full), waste: css(mixed(this.panel, full, 0.55)), rest: css(mixed(this.cell_colour, full, dark() ? 0.26 : 0.22)) };
      this.colours.set(key, pair);
    }
    return pair;
  }

  // How much of a flash is left, 0 to 1, and its colour.
  flash_of(i) {
    const flash = this.flashing.get(i);
    const left = flash === undefined ? 0 : 1 - (this.now - flash[0]) / flash_ms;
    return left > 0 ? { colour: flash[1] ? this.flash_in : this.flash_out, part: 0.85 * left } : null;
  }

  draw_pixel(i) {
    const what = this.content[i];
    let colour = this.cell_colour;
    if (what === content.idle) colour = this.idle_colour;
    if (what === content.purged) colour = mixed(this.cell_colour, this.purged, 0.5);
    if (what === content.offered) {
      colour = mixed(this.cell_colour, this.offered, 0.15 + (0.85 * this.live[i]) / 255);
      colour = mixed(colour, this.purged, (0.8 * (this.resident[i] - this.live[i])) / 255);
    }
    if (what > content.idle && what < content.offered) colour = mixed(this.cell_colour, this.pair(i).full, 0.2 + (0.8 * this.live[i]) / 255);
    if (this.pins[i] !== 0) colour = mixed(colour, this.mark_rgb, 0.5);
    const flash = this.flash_of(i);
    if (flash !== null) colour = mixed(colour, flash.colour, flash.part);
    this.pixels[i] = 0xff000000 | (colour[2] << 16) | (colour[1] << 8) | colour[0];
  }

  show_pixels() {
    if (!this.image) return;
    this.small.getContext("2d").putImageData(this.image, 0, 0);
    const to = this.canvas.getContext("2d", { alpha: false });
    to.imageSmoothingEnabled = false;
    to.fillStyle = css(this.panel);
    to.fillRect(0, 0, this.canvas.width, this.canvas.height);
    to.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
  }

  draw(i) {
    if (this.columns === undefined) return;
    if (this.image) {
      this.draw_pixel(i);
      return;
    }
    const to = this.canvas.getContext("2d", { alpha: false });
    const x = (i % this.columns) * this.cell;
    const y = Math.floor(i / this.columns) * this.cell;
    const side = this.cell - this.gap;
    const what = this.content[i];
    if (what <= content.idle) {
      to.fillStyle = css(what === content.idle ? this.idle_colour : this.cell_colour);
      to.fillRect(x, y, side, side);
    } else {
      const pair = what >= content.offered ? this.chunk : this.pair(i);
      const live = Math.round((side * this.live[i]) / 255);
      const resident = Math.max(live, Math.round((side * this.resident[i]) / 255));
      to.fillStyle = pair.rest;
      to.fillRect(x, y, side, side - resident);
      to.fillStyle = pair.waste;
      to.fillRect(x, y + side - resident, side, resident - live);
      to.fillStyle = pair.live;
      to.fillRect(x, y + side - live, side, live);
    }
    if (what === content.purged) {
      const line = Math.max(1, Math.round(side / 8));
      to.strokeStyle = this.chunk.waste;
      to.lineWidth = line;
      to.strokeRect(x + line / 2, y + line / 2, side - line, side - line);
    }
    if (this.pins[i] !== 0) {
      const dot = Math.max(2, Math.round(side / 4));
      to.fillStyle = this.mark_colour;
      to.fillRect(x + side - dot - 1, y + 1, dot, dot);
    }
    const flash = this.flash_of(i);
    if (flash === null) return;
    to.fillStyle = `rgba(${flash.colour},${flash.part.toFixed(3)})`;
    to.fillRect(x, y, side, side);
  }

  fade() {
    this.now = performance.now();
    const steady = still.matches;
    for (const [i, flash] of this.flashing) {
      const over = this.now - flash[0] >= flash_ms;
      if (over) this.flashing.delete(i);
      if (over || !steady) this.draw(i);
    }
    this.show_pixels();
    this.timer = this.flashing.size === 0 ? 0 : setTimeout(() => requestAnimationFrame(() => this.fade()), steady ? 300 : frame_ms);
  }

  // ---- choosing a page

  at(event) {
    const column = Math.floor((event.offsetX * this.scale) / this.cell);
    const row = Math.floor((event.offsetY * this.scale) / this.cell);
    const i = row * this.columns + column;
    return column >= 0 && column < this.columns && i >= 0 && i < this.count ? i : -1;
  }

  choose(i) {
    if (i === this.chosen) return;
    this.chosen = i;
    this.draw_mark();
    this.on_choose(i);
  }

  key(event) {
    const rows = Math.max(1, Math.floor(200 / this.cell));
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -rows * this.columns,
      PageDown: rows * this.columns,
      Home: -this.count,
      End: this.count,
    };
    if (event.key === "Escape") {
      this.by_key = false;
      this.choose(-1);
      return;
    }
    if (!(event.key in steps) || this.count === 0) return;
    event.preventDefault();
    this.by_key = true;
    const from = this.chosen < 0 ? (event.key === "End" ? 0 : -1) : this.chosen;
    const step = this.chosen < 0 && event.key !== "End" ? 1 : steps[event.key];
    let to = from + step;
    if (event.key.startsWith("Arrow") && (to < 0 || to >= this.count)) to = from;
    this.choose(Math.max(0, Math.min(this.count - 1, to)));
  }

  draw_mark() {
    const to = this.mark.getContext("2d");
    to.clearRect(0, 0, this.mark.width, this.mark.height);
    if (this.chosen < 0 || this.chosen >= this.count) return;
    const x = (this.chosen % this.columns) * this.cell;
    const y = Math.floor(this.chosen / this.columns) * this.cell;
    const side = Math.max(this.cell - this.gap, 5 * this.scale);
    const line = Math.max(2, Math.round(2 * this.scale));
    to.lineWidth = line;
    to.strokeStyle = this.mark_colour ?? "#888";
    to.strokeRect(x - line / 2, y - line / 2, side + line, side + line);
  }

  page(i) {
    return { content: this.content[i], kind: this.kind[i], live: this.live[i], resident: this.resident[i], size: this.size[i], pins: this.pins[i] };
  }
}
