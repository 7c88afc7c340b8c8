// Where a landscape comes from: a known target, what the page was made for, or points drawn here.
// Each gives {f, frame, data, suits}: the landscape, the frame it is seen in, its points, and settings that suit it.

import { gridOf, landscape } from "./grid.js";
import { cellsOf, exactLaw } from "./laws.js";
import { bandwidth, bumps, frameOf, unspell } from "./points.js";
import { TARGETS } from "./targets.js";

/** The frame of points that are drawn in the page. */
export const SHEET = { low: [-4, -4], high: [4, 4] };
const NODES = 96;
/** Points the law of so many is made of; more are left out evenly. */
const MOST = 600;

/** The landscape that a state asks for. The subject is what the page was made for. */
export function source(state, subject) {
  if (state.target === "yours") return state.points ? ofPoints(unspell(state.points, SHEET), SHEET) : blank();
  if (state.target !== "own") return TARGETS[state.target];
  return subject.grid ? ofGrid(subject) : ofPoints(subject.points, frameOf(subject.points));
}

function ofGrid({ grid, points }) {
  const decoded = { ...grid, value: numbers(grid.value), gx: numbers(grid.gx), gy: numbers(grid.gy) };
  return suited({ f: landscape(decoded), frame: { low: grid.low, high: grid.high }, data: points });
}

function ofPoints(points, frame) {
  const some = points.filter((_, k) => k % Math.ceil(points.length / MOST) === 0);
  const f = landscape(gridOf(bumps(some, bandwidth(some)), frame, NODES));
  return suited({ f, frame, data: points });
}

/** An empty sheet: nearly flat, held together by a wide normal. */
const blank = () => ({
  f: ([x, y]) => ({ value: -(x * x + y * y) / 8, grad: [-x / 4, -y / 4] }),
  frame: SHEET,
  data: [],
  suits: { step_size: 0.1, threshold: 2 },
});

/** With a step and a threshold that suit the typical slope s = √E (∂f)²: γ = 2/s², b = s. */
function suited(found) {
  const { value, gx, gy } = cellsOf(found.f, found.frame);
  const law = exactLaw({ value }, 1);
  const square = law.reduce((sum, m, k) => sum + (m * (gx[k] ** 2 + gy[k] ** 2)) / 2, 0);
  const rounded = (v) => Number(v.toPrecision(2));
  return { ...found, suits: { step_size: rounded(Math.min(2 / square, 4)), threshold: rounded(Math.sqrt(square)) } };
}

/** Numbers of 32 bits, as base64 spells them. */
function numbers(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
