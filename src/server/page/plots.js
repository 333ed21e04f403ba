// SPDX-License-Identifier: MIT
//
// The last ten minutes, drawn by uPlot.
import { bytes, count, micros, percent } from "/words.js";

const shown_s = 600;
const least_s = 60; // shown while there are fewer
const high = 132;

// Each: a title, series of [name, value of a sample, css colour], how a value is written, and the scale.
const ratio = (part, whole) => (whole > 0 ? part / whole : null);
const wanted = [
  { title: "In use of what is held", write: (v) => percent(v), range: (least) => [Math.max(0, Math.floor(least * 10 - 0.5) / 10), 1],
    series: [["blocks", (s) => ratio(s.live_bytes, s.held)], ["keys and values", (s) => ratio(s.item_bytes, s.held)]] },
  { title: "Memory", write: (v) => bytes(v), axis: (v) => bytes(v, 2),
    series: [["resident", (s) => s.rss], ["held", (s) => s.held], ["budget", (s) => s.budget]] },
  { title: "Operations a second", write: count,
    series: [["get", (s) => s.gets], ["set", (s) => s.sets], ["others", (s) => s.others]] },
  { title: "Hits", write: (v) => percent(v), range: () => [0, 1], series: [["of all gets", (s) => ratio(s.hits, s.gets)]] },
  { title: "Bytes moved a second", write: (v) => bytes(v), axis: (v) => bytes(v, 2), fill: true, series: [["moved", (s) => s.moved]] },
  { title: "Longest pause by moves", write: micros, log: true, series: [["within a second, at most", (s) => (s.pause_us > 0 ? s.pause_us : null)]] },
  { title: "Items gone a second", write: count, series: [["evicted", (s) => s.evictions], ["expired", (s) => s.expired]] },
  { title: "Pressure", needs: "deficit", write: (v) => bytes(v), axis: (v) => bytes(v, 2), fill: true,
    series: [["to give back now", (s) => s.deficit], ["target", (s) => s.target], ["available", (s) => s.available]] },
  { title: "Cold tier", needs: "offered", write: (v) => bytes(v), axis: (v) => bytes(v, 2), fill: true,
    series: [["offered to the kernel", (s) => s.offered], ["purged a second", (s) => s.purged]] },
];

export class plots {
  constructor(box) {
    this.box = box;
    this.samples = [];
    this.drawn = [];
    new ResizeObserver(() => {
      for (const one of this.drawn) one.plot.setSize({ width: one.holder.clientWidth, height: high });
    }).observe(box);
  }

  replace(samples) {
    this.samples = samples;
    this.build();
  }

  add(sample) {
    this.samples.push(sample);
    while (this.samples.length > shown_s) this.samples.shift();
    this.refresh();
  }

  data_of(want) {
    return [this.samples.map((s) => s.time), ...want.series.map(([, value]) => this.samples.map((s) => value(s)))];
  }

  // Whether there is such a thing in this server.
  needed(want) {
    return typeof this.samples[this.samples.length - 1]?.[want.needs] === "number";
  }

  // Anew, with the colours as they are.
  build() {
    for (const one of this.drawn) one.plot.destroy();
    this.box.replaceChildren();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.drawn = wanted
      .filter((want) => want.needs === undefined || this.needed(want))
      .map((want) => this.build_one(want, colour));
    this.refresh();
  }

  build_one(want, colour) {
    const panel = document.createElement("div");
    panel.className = "plot";
    const title = document.createElement("h2");
    title.textContent = want.title;
    const keys = document.createElement("ul");
    keys.className = "keys";
    const values = want.series.map(([name], i) => {
      const key = document.createElement("li");
      key.style.setProperty("--key", colour(`--series-${i + 1}`));
      const value = document.createElement("b");
      key.append(`${name} `, value);
      keys.append(key);
      return value;
    });
    const holder = document.createElement("div");
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", `${want.title}, the last ten minutes`);
    panel.append(title, keys, holder);
    this.box.append(panel);
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const plot = new uPlot(
      {
        width: holder.clientWidth || 300,
        height: high,
        legend: { show: false },
        padding: [8, 8, 0, 0],
        cursor: { y: false, points: { size: 6 } },
        scales: {
          x: { range: (_, first, last) => (last === null ? [-least_s, 0] : [Math.max(last - shown_s, Math.min(first, last - least_s)), last]) },
          y: want.log
            ? { distr: 3, range: (_, least, most) => [Math.min(least ?? 1, 1), Math.max(most ?? 100, 100)] }
            : { range: (_, least, most) => (want.range ? want.range(least ?? 0) : [0, Math.max(most ?? 0, 1) * 1.08]) },
        },
        axes: [
          { ...axis, space: 70, size: 26, values: (_, at) => at.map((t) => ago(t - this.samples[this.samples.length - 1].time)) },
          { ...axis, grid: want.log ? { show: false } : axis.grid, size: 62, space: 30, values: (_, at) => at.map((v) => (v === null ? "" : (want.axis ?? want.write)(v))) },
        ],
        series: [
          {},
          ...want.series.map(([name], i) => {
            const line = colour(`--series-${i + 1}`);
            return { label: name, stroke: line, width: 1.8, points: { show: want.log === true, size: 3 }, spanGaps: false,
              fill: want.fill && i === 0 ? `${line}33` : undefined, dash: name === "budget" ? [5, 4] : undefined };
          }),
        ],
      },
      this.data_of(want),
      holder,
    );
    // What is pointed at, else the latest, stands beside the names.
    const one = { want, plot, holder, values };
    plot.over.addEventListener("mouseleave", () => this.write(one, null));
    plot.over.addEventListener("mousemove", () => this.write(one, plot.cursor.idx));
    return one;
  }

  write(one, at) {
    one.pointed = at;
    const sample = this.samples[at ?? this.samples.length - 1];
    one.want.series.forEach(([, value], i) => {
      const v = sample === undefined ? null : value(sample);
      one.values[i].textContent = v === null || v === undefined ? "–" : one.want.write(v);
    });
  }

  refresh() {
    for (const one of this.drawn) {
      one.plot.setData(this.data_of(one.want));
      this.write(one, one.pointed ?? null);
    }
  }
}

function ago(seconds) {
  if (seconds > -1) return "now";
  return seconds > -60 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
