// Curves beside the pictures: the law along one axis with the chains' histogram, and the divergence as it falls.

import { palette } from "./colours.js";
import { BINS, SIDE, marginal } from "./laws.js";

const FOOT = 16;

/** Along one axis: histograms of both sides, the exact law and, dashed, that of the unadjusted anisotropic chain. */
export function drawMarginal(canvas, axis, { frame, exact, biased, left, right }) {
  const { context, unit, height } = cleared(canvas);
  const { ink, left: orange, right: blue } = palette();
  const densities = (mass, side) => Array.from(marginal(mass, side, axis), (m) => m * side);
  const lines = [densities(exact, SIDE), ...(biased ? [densities(biased, SIDE)] : [])];
  const bars = [left, right].map(({ bins }) => histogram(bins, densities));
  const most = 1.12 * Math.max(...lines.flat(), ...bars.flat().map((m) => Math.min(m, 2 * Math.max(...lines.flat()))));
  const x = (t) => t * canvas.width;
  const y = (m) => height - (m / most) * (height - 4 * unit);
  bars.forEach((bar, k) => drawBars(context, bar, x, y, [orange, blue][k], unit));
  lines.forEach((line, k) => {
    context.setLineDash(k ? [5 * unit, 4 * unit] : []);
    drawCurve(context, line.map((m, i) => [x((i + 0.5) / line.length), y(m)]), ink, 1.6 * unit);
  });
  context.setLineDash([]);
  foot(context, canvas, unit, [frame.low[axis], frame.high[axis]].map(short));
}

/** A histogram of bins as densities; nothing before the first step. */
function histogram(bins, densities) {
  const sum = bins.reduce((a, b) => a + b);
  return densities(bins.subarray(0, BINS * BINS).map((m) => (sum ? m / sum : 0)), BINS);
}

function drawBars(context, bar, x, y, colour, unit) {
  context.beginPath();
  context.moveTo(0, y(0));
  bar.forEach((m, i) => {
    context.lineTo(x(i / bar.length), y(m));
    context.lineTo(x((i + 1) / bar.length), y(m));
  });
  context.lineTo(x(1), y(0));
  context.fillStyle = context.strokeStyle = colour;
  context.globalAlpha = 0.2;
  context.fill();
  context.globalAlpha = 0.9;
  context.lineWidth = 1.2 * unit;
  context.stroke();
  context.globalAlpha = 1;
}

/** Curves of [step, value] on a logarithmic axis between `least` and `most`. */
export function drawCourses(canvas, courses, colours, least = 0.003, most = 10) {
  const { context, unit, height } = cleared(canvas);
  const { faint, rule } = palette();
  const steps = Math.max(50, ...courses.flatMap((course) => course.slice(-1).map(([step]) => step)));
  const y = (v) => (1 - Math.log(Math.min(Math.max(v, least), most) / least) / Math.log(most / least)) * (height - 6 * unit) + 3 * unit;
  context.font = `${10.5 * unit}px system-ui, sans-serif`;
  context.textAlign = "left";
  for (const value of [0.01, 0.1, 1]) {
    context.globalAlpha = 1;
    drawCurve(context, [[0, y(value)], [canvas.width, y(value)]], rule, unit);
    context.fillStyle = faint;
    context.fillText(String(value), 2 * unit, y(value) - 3 * unit);
  }
  courses.forEach((course, k) => {
    drawCurve(context, course.map(([step, v]) => [(step / steps) * canvas.width, y(v)]), colours[k], 2 * unit);
  });
  foot(context, canvas, unit, ["0", `${steps}`]);
}

function cleared(canvas) {
  const context = canvas.getContext("2d");
  const unit = canvas.width / canvas.clientWidth || 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  return { context, unit, height: canvas.height - FOOT * unit };
}

function drawCurve(context, spots, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  spots.forEach(([x, y]) => context.lineTo(x, y));
  context.stroke();
}

/** The axis below, with the numbers at its ends. */
function foot(context, canvas, unit, [low, high]) {
  const { faint, rule } = palette();
  const base = canvas.height - FOOT * unit;
  drawCurve(context, [[0, base], [canvas.width, base]], rule, unit);
  context.font = `${10.5 * unit}px system-ui, sans-serif`;
  context.fillStyle = faint;
  context.textBaseline = "alphabetic";
  context.textAlign = "left";
  context.fillText(low, 0, canvas.height - 3 * unit);
  context.textAlign = "right";
  context.fillText(high, canvas.width, canvas.height - 3 * unit);
}

/** A number for people: three digits at most. */
export const short = (v) => signed(String(Number(v.toPrecision(Math.abs(v) < 1 ? 2 : 3))));

/** A number with a sign for minus, where programs write a hyphen. */
export const signed = (text) => text.replace("-", "−");
