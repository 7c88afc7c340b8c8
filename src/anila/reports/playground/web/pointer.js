// Mouse, finger and keys on a picture: drop all chains at a place, or scatter points where the law is one's own.

import { SIDES } from "./app.js";
import { frameOf, parsePoints, spell, unspell } from "./points.js";
import { normals } from "./random.js";
import { SHEET } from "./sources.js";

const find = (selector) => document.querySelector(selector);
/** Points a stroke scatters at a time, how wide, in units of the sheet, and how many there may be. */
const [SPRAY, SPREAD, MOST] = [3, 0.16, 800];
/** The part of a picture an arrow key goes. */
const PACE = 0.04;

/** Let both pictures be touched, and points be pasted. */
export function handle(app, refresh) {
  for (const side of SIDES) {
    const canvas = find(`[data-side="${side}"] .chains`);
    canvas.addEventListener("pointerdown", (event) => app.state.target === "yours" && event.isPrimary && scatter(app, canvas, event, refresh));
    canvas.addEventListener("click", (event) => app.state.target !== "yours" && drop(app, canvas, event, refresh));
    canvas.addEventListener("keydown", (event) => steer(app, canvas, event, refresh));
  }
  find("#use").addEventListener("click", () => paste(app, refresh));
  find("#clear").addEventListener("click", () => {
    app.change({ target: "yours", points: "" });
    refresh();
  });
}

function pointOf({ place: { frame } }, [a, b]) {
  return [frame.low[0] + (frame.high[0] - frame.low[0]) * a, frame.high[1] - (frame.high[1] - frame.low[1]) * b];
}

function shareOf(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function drop(app, canvas, event, refresh) {
  app.drop(pointOf(app, shareOf(canvas, event)));
  refresh();
}

/** Scatter points along a stroke; the law follows when it ends. */
function scatter(app, canvas, event, refresh) {
  const points = app.state.points ? unspell(app.state.points, SHEET) : [];
  const spray = (e) => {
    const [x, y] = pointOf(app, shareOf(canvas, e));
    for (let k = 0; k < SPRAY && points.length < MOST; k++) {
      const [a, b] = normals(Math.random);
      points.push([x + SPREAD * a, y + SPREAD * b]);
    }
    app.place = { ...app.place, data: points };
  };
  canvas.setPointerCapture(event.pointerId);
  spray(event);
  canvas.addEventListener("pointermove", spray);
  const end = () => {
    canvas.removeEventListener("pointermove", spray);
    own(app, points);
    refresh();
  };
  canvas.addEventListener("lostpointercapture", end, { once: true });
}

/** These points, on the sheet, are the law now, with settings that suit it. */
function own(app, points) {
  app.change({ target: "yours", points: spell(points, SHEET) });
  app.change(app.place.suits);
}

/** Arrow keys move a ring over the picture, enter drops the chains there. */
function steer(app, canvas, event, refresh) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const ring = canvas.nextElementSibling;
  const [a, b] = [Number(ring.dataset.a ?? 0.5), Number(ring.dataset.b ?? 0.5)];
  if (event.key === "Enter") app.drop(pointOf(app, [a, b]));
  else if (event.key in moves) {
    const [da, db] = moves[event.key];
    const inside = (v) => Math.min(Math.max(v, 0), 1);
    Object.assign(ring.dataset, { a: inside(a + PACE * da), b: inside(b + PACE * db) });
    Object.assign(ring.style, { left: `${100 * ring.dataset.a}%`, top: `${100 * ring.dataset.b}%` });
  } else return;
  event.preventDefault();
  refresh();
}

/** The points that were pasted, moved and stretched to the sheet. */
function paste(app, refresh) {
  const text = find("#paste").value, points = parsePoints(text).slice(0, MOST);
  const lines = text.split("\n").filter((line) => line.trim()).length;
  if (points.length < 2) {
    find("#pasted").textContent = "Paste at least two lines, with two numbers per line.";
    return;
  }
  const { low, high } = frameOf(points);
  const onSheet = (x, i) => SHEET.low[i] + ((SHEET.high[i] - SHEET.low[i]) * (x - low[i])) / (high[i] - low[i]);
  own(app, points.map((x) => [onSheet(x[0], 0), onSheet(x[1], 1)]));
  const of = lines > points.length ? ` of ${lines} lines` : "";
  find("#pasted").textContent = `${points.length} points${of}, scaled to fit the picture.`;
  refresh();
}
