// What is seen: the backgrounds when something changed, chains in every frame, numbers and curves now and then.

import { SIDES } from "./app.js";
import { drawChains } from "./chains.js";
import { drawCourses, drawMarginal } from "./charts.js";
import { palette } from "./colours.js";
import { BINS } from "./laws.js";
import { drawLandscape, drawLaw } from "./plane.js";
import { SAMPLERS } from "./samplers.js";
import { counted, setText } from "./widgets.js";
import { NUMBERS, whatToSee } from "./words.js";

const find = (selector) => document.querySelector(selector);
const part = (side, selector) => find(`[data-side="${side}"] ${selector}`);

/** Give every canvas as many dots as its place on the screen has. */
export function fitCanvases() {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  for (const canvas of document.querySelectorAll("canvas")) {
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  }
}

/** The background of each side. */
export function drawGrounds(app) {
  const { show } = app.state;
  for (const side of SIDES) {
    const canvas = part(side, ".ground");
    if (show === "landscape") drawLandscape(canvas, app.cells);
    else if (show === "visited") drawLaw(canvas, app[side].bins.subarray(0, BINS * BINS), palette()[side]);
    else drawLaw(canvas, show === "law" ? app.lawOf(side) : app.exact);
  }
}

/** The chains of each side. */
export function drawSides(app) {
  const data = app.film || app.state.target === "yours" || app.state.target === "own" ? app.place.data : null;
  const phase = app.state.speed <= 15 || !app.playing ? app.phase : 1;
  for (const side of SIDES) drawChains(part(side, ".chains"), app[side], palette()[side], { phase, slow: app.slow, past: app.past }, data);
}

/** Numbers, sentences and curves. */
export function tell(app) {
  for (const side of SIDES) tellSide(app, side);
  const { place, exact, left, right } = app;
  const shown = { frame: place.frame, exact, left, right, biased: SIDES.some((side) => app.isBiased(side)) ? app.biased : null };
  drawMarginal(find("#along-x"), 0, shown);
  drawMarginal(find("#along-y"), 1, shown);
  for (const words of document.querySelectorAll(".dashes")) words.hidden = shown.biased === null;
  drawCourses(find("#course"), [left.history, right.history], [palette().left, palette().right]);
}

function tellSide(app, side) {
  const { accepted, clipped, ess, kl, gone, steps } = app.told(side);
  const { exact, clips } = SAMPLERS[app.state[side]];
  const percent = (v) => (v === null ? "–" : `${Math.round(100 * v)}%`);
  const numbers = [
    ["accepted", exact ? percent(accepted) : "always"],
    ["clipped", clips ? percent(clipped) : "never"],
    ["ESS", ess === null ? "–" : String(Math.round(ess))],
    ["KL, nats", kl === null ? "–" : kl.toFixed(kl < 1 ? 3 : 1)],
    ["flown off", String(gone)],
  ];
  const list = part(side, "dl");
  if (!list.children.length) list.append(...numbers.map(number));
  numbers.forEach(([, value], k) => setText(list.children[k].lastChild, value));
  setText(part(side, "figcaption"), whatToSee(app.state, side, gone));
  const what = `${SAMPLERS[app.state[side]].title}: ${counted(app.state.chains, "chain")} on ${app.state.target}`;
  part(side, ".chains").setAttribute("aria-label", `${what}, ${steps ? "moving" : "at their start"}, ${gone} flown off`);
}

function number([name]) {
  const item = document.createElement("div");
  const [term, value] = [document.createElement("dt"), document.createElement("dd")];
  Object.assign(term, { textContent: name, title: NUMBERS[name] });
  item.append(term, value);
  return item;
}
