// Your own points: a bump on each makes a law, f = log Σ exp(−|x − xᵢ|²/(2 h²)), with h by leave-one-out likelihood
// (Duin 1976), as anila/density/kernel_energy.py has it. Also points as text, and as letters of a URL.

const JUDGES = 150;

/** The kernel energy of points with bandwidth h, without one of them where asked. */
export function bumps(points, h, without = -1) {
  const powers = new Float64Array(points.length);
  return ([x, y]) => {
    let top = -Infinity;
    points.forEach(([a, b], k) => {
      powers[k] = k === without ? -Infinity : ((x - a) ** 2 + (y - b) ** 2) / (-2 * h * h);
      top = Math.max(top, powers[k]);
    });
    let [sum, mx, my] = [0, 0, 0];
    points.forEach(([a, b], k) => {
      const bump = Math.exp(powers[k] - top);
      sum += bump;
      mx += bump * a;
      my += bump * b;
    });
    return { value: top + Math.log(sum / points.length), grad: [(mx / sum - x) / (h * h), (my / sum - y) / (h * h)] };
  };
}

/** The h, in the spread of the points, under which points are likeliest by all the others. */
export function bandwidth(points) {
  const spread = Math.sqrt((variance(points, 0) + variance(points, 1)) / 2) || 1;
  const every = Math.max(1, Math.floor(points.length / JUDGES));
  const judges = [...points.keys()].filter((k) => k % every === 0);
  const candidates = Array.from({ length: 12 }, (_, k) => spread * 10 ** (-1.3 + (1.5 * k) / 11));
  const likelihood = (h) => {
    const found = judges.map((k) => bumps(points, h, k)(points[k]).value).sort((a, b) => a - b);
    const voting = found.slice(Math.floor(found.length / 20));
    return voting.reduce((a, b) => a + b, 0) - 2 * voting.length * Math.log(h);
  };
  return candidates.map((h) => [likelihood(h), h]).reduce((best, next) => (next[0] > best[0] ? next : best))[1];
}

function variance(points, i) {
  const mean = points.reduce((sum, p) => sum + p[i], 0) / points.length;
  return points.reduce((sum, p) => sum + (p[i] - mean) ** 2, 0) / points.length;
}

/** The box of points with room around it. */
export function frameOf(points, margin = 0.25) {
  const box = [0, 1].map((i) => {
    const values = points.map((p) => p[i]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = margin * (high - low || 1);
    return [low - room, high + room];
  });
  return { low: box.map(([a]) => a), high: box.map(([, b]) => b) };
}

/** Pasted text: two numbers a line, between them a comma, a semicolon or space. Lines without are left out. */
export function parsePoints(text) {
  const rows = text.split(/\n/).map((line) => numbersOf(line.trim()));
  return rows.filter((row) => row.length >= 2 && row.slice(0, 2).every(Number.isFinite)).map(([x, y]) => [x, y]);
}

/** The numbers of a line. Commas are decimal where something else is between the numbers. */
function numbersOf(line) {
  const parts = line.split(/[\s;]+/);
  const decimal = parts.length > 1 && parts.every((part) => /^[+-]?\d+(,\d+)?$/.test(part));
  return (decimal ? parts.map((part) => part.replace(",", ".")) : line.split(/[\s,;]+/)).map(Number);
}

/** Points as letters: each coordinate to a 4096th of the frame, in two letters. */
export function spell(points, { low, high }) {
  const letter = (n) => LETTERS[n >> 6] + LETTERS[n & 63];
  const number = (v, i) => Math.round(4095 * Math.min(1, Math.max(0, (v - low[i]) / (high[i] - low[i]))));
  return points.map((p) => letter(number(p[0], 0)) + letter(number(p[1], 1))).join("");
}

/** The points that were spelled. */
export function unspell(text, { low, high }) {
  const number = (at) => (LETTERS.indexOf(text[at]) * 64 + LETTERS.indexOf(text[at + 1])) / 4095;
  const value = (at, i) => low[i] + (high[i] - low[i]) * number(at);
  return Array.from({ length: Math.floor(text.length / 4) }, (_, k) => [value(4 * k, 0), value(4 * k + 2, 1)]);
}
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
