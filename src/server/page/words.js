// SPDX-License-Identifier: MIT
//
// Numbers as people read them.

export function bytes(n, digits = 3) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1024;
    ++unit;
  }
  return `${unit === 0 ? Math.round(n) : fixed(n, digits)} ${units[unit]}`;
}

// So many significant digits, none wasted.
export function fixed(n, digits = 3) {
  if (n === 0) return "0";
  const whole = Math.floor(Math.log10(Math.abs(n))) + 1;
  return n.toFixed(Math.max(0, Math.min(digits - Math.max(whole, 1), digits)));
}

export function count(n) {
  if (n < 10000) return n < 100 && n % 1 ? fixed(n, 2) : Math.round(n).toLocaleString("en");
  if (n < 1e6) return `${fixed(n / 1e3)} k`;
  if (n < 1e9) return `${fixed(n / 1e6)} M`;
  return `${fixed(n / 1e9)} G`;
}

export function percent(part, digits = 1) {
  return `${(100 * part).toFixed(digits)} %`;
}

export function micros(us) {
  return us < 1000 ? `${fixed(us, 2)} µs` : `${fixed(us / 1000, 2)} ms`;
}
