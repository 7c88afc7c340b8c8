// The chains of a picture, drawn anew for every frame: dots, one chain's path, and single steps as events.

import { palette } from "./colours.js";
import { isFinite2 } from "./kernel.js";

/** Chains whose single steps are shown, and steps of a path that are. */
const [SHOWN, PATH] = [24, 30];

/** Where a point of the frame is on the canvas. */
export const onCanvas = ({ low, high }, canvas) => ([x, y]) => [
  ((x - low[0]) / (high[0] - low[0])) * canvas.width,
  (1 - (y - low[1]) / (high[1] - low[1])) * canvas.height,
];

/** Draw an ensemble. `phase` in [0, 1] is how far the last step has been told; `slow` shows it as events; `past` is the
 *  step of the first chain that is looked back at, or null. */
export function drawChains(canvas, ensemble, colour, { phase, slow, past }, data) {
  const context = canvas.getContext("2d");
  const unit = canvas.width / canvas.clientWidth || 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const place = onCanvas(ensemble.frame, canvas);
  if (data) drawDots(context, data.map(place), 1.1 * unit, palette().ink, 0.35);
  const size = (ensemble.points.length > 600 ? 1.5 : ensemble.points.length > 60 ? 2.1 : 3.4) * unit;
  const until = past === null ? ensemble.path.length : past + 1;
  if (!slow) drawPath(context, ensemble.path.slice(Math.max(0, until - PATH), until).map(place), unit, canvas);
  const told = slow ? (phase > 0.66 ? (phase - 0.66) / 0.34 : 0) : phase;
  const spots = ensemble.moves.length
    ? ensemble.moves.map(({ from, next }) => place(between(from.x, next.x, told)))
    : ensemble.points.map(({ x }) => place(x));
  drawDots(context, spots.map((spot) => held(spot, canvas, size)), size, colour, slow ? 0.35 : past === null ? 0.85 : 0.2);
  if (slow) ensemble.moves.slice(0, SHOWN).forEach((step) => drawEvent(context, step, place, phase, colour, unit));
}

const between = (a, b, t) => (t >= 1 || !isFinite2(b) ? b : [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);

/** A spot outside the picture is held at its edge; a chain that is no number any more is nowhere. */
function held([x, y], { width, height }, size) {
  return [Math.min(Math.max(x, size), width - size), Math.min(Math.max(y, size), height - size)];
}

function drawDots(context, spots, size, colour, alpha) {
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.beginPath();
  for (const [x, y] of spots) {
    if (!Number.isFinite(x + y)) continue;
    context.moveTo(x + size, y);
    context.arc(x, y, size, 0, 7);
  }
  context.fill();
  context.globalAlpha = 1;
}

/** The way of the first chain, and the chain itself, larger. */
function drawPath(context, spots, unit, canvas) {
  const near = spots.filter(([x, y]) => Math.abs(x) < 4 * canvas.width && Math.abs(y) < 4 * canvas.height);
  context.strokeStyle = context.fillStyle = palette().ink;
  context.lineWidth = 0.9 * unit;
  context.globalAlpha = 0.45;
  context.beginPath();
  near.forEach(([x, y]) => context.lineTo(x, y));
  context.stroke();
  context.globalAlpha = 1;
  if (near.length < spots.length || !near.length) return;
  const [x, y] = near[near.length - 1];
  context.beginPath();
  context.arc(x, y, 4.2 * unit, 0, 7);
  context.fill();
}

/** One step as it happens: the slope, the proposal, then accepted or refused. */
function drawEvent(context, { from, proposed, next }, place, phase, colour, unit) {
  if (!isFinite2(from.x)) return;
  const { yes, no, ink, mark } = palette();
  const [start, end] = [place(from.x), place(proposed.x)];
  context.lineWidth = 1.4 * unit;
  drawArrow(context, start, uphill(from, place, unit), ink, unit);
  if (phase > 0.33 && isFinite2(end)) {
    const taken = next === proposed;
    const judged = phase > 0.66;
    const shade = judged ? (taken ? yes : no) : colour;
    drawLine(context, start, end, shade, judged && !taken ? [3 * unit, 3 * unit] : []);
    drawRing(context, end, 3.6 * unit, shade, judged && taken ? shade : mark);
    if (judged && !taken) drawCross(context, end, 3 * unit, no);
  }
  drawRing(context, start, 3 * unit, colour, colour);
}

/** The end of an arrow along ∇f, its length the logarithm of the slope. */
function uphill({ x, grad }, place, unit) {
  const [a, b] = place(x);
  const size = Math.hypot(grad[0], grad[1]) || 1;
  const length = Math.min(60, 9 * Math.log1p(size)) * unit;
  return [a + (grad[0] / size) * length, b - (grad[1] / size) * length];
}

function drawLine(context, [a, b], [c, d], colour, dash = []) {
  context.strokeStyle = colour;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(a, b);
  context.lineTo(c, d);
  context.stroke();
  context.setLineDash([]);
}

function drawArrow(context, start, end, colour, unit) {
  const angle = Math.atan2(end[1] - start[1], end[0] - start[0]);
  context.globalAlpha = 0.75;
  drawLine(context, start, end, colour);
  for (const turn of [2.6, -2.6]) {
    const barb = [end[0] + 5 * unit * Math.cos(angle + turn), end[1] + 5 * unit * Math.sin(angle + turn)];
    drawLine(context, end, barb, colour);
  }
  context.globalAlpha = 1;
}

function drawRing(context, [x, y], size, line, fill) {
  [context.strokeStyle, context.fillStyle] = [line, fill];
  context.beginPath();
  context.arc(x, y, size, 0, 7);
  context.fill();
  context.stroke();
}

function drawCross(context, [x, y], size, colour) {
  drawLine(context, [x - size, y - size], [x + size, y + size], colour);
  drawLine(context, [x - size, y + size], [x + size, y - size], colour);
}
