// The page: a state from the URL, controls that change it, and a loop that draws it.

import { App } from "./app.js";
import { themeName } from "./colours.js";
import { reflect, reflectPath, wire } from "./controls.js";
import { handle } from "./pointer.js";
import { SAMPLERS } from "./samplers.js";
import { DEFAULTS, parseState } from "./state.js";
import { TARGETS } from "./targets.js";
import { drawGrounds, drawSides, fitCanvases, tell } from "./view.js";
import { SHOWS, STORIES, kindOf } from "./words.js";

const EVERY = 8;

const titles = (things) => Object.fromEntries(Object.entries(things).map(([name, { title }]) => [name, title]));
/** A run bears the name of its data, often that of a law here. */
const nameOf = ({ title, ...what }) => (kindOf(what) === "run" ? `${title}, learned` : title);

const subject = JSON.parse(document.querySelector("#subject").textContent);
const options = {
  left: titles(SAMPLERS),
  right: titles(SAMPLERS),
  show: SHOWS,
  objective: { denoising: "denoising, no chains", likelihood: "likelihood, kept chains", recovery: "recovery, short chains" },
  target: { ...(subject.title ? { own: nameOf(subject) } : {}), ...titles(TARGETS), yours: "yours" },
  story: STORIES,
};
const choices = Object.fromEntries(Object.entries(options).map(([key, known]) => [key, Object.keys(known)]));

const read = () => ({ ...DEFAULTS, ...subject.state, ...parseState(location.hash, choices) });
const app = new App(subject, read());
let stale = true;
const refresh = () => {
  reflect(app);
  stale = true;
};

let [frames, last] = [0, performance.now()];
function loop(now) {
  const taken = app.film?.frames.length;
  app.advance(Math.min(now - last, 100));
  last = now;
  if (app.film?.frames.length !== taken) refresh();
  const often = frames++ % EVERY === 0;
  if (stale || (often && app.state.show === "visited")) drawGrounds(app);
  drawSides(app);
  if (stale || often) {
    tell(app);
    reflectPath(app);
  }
  stale = false;
  requestAnimationFrame(loop);
}

function begin() {
  document.documentElement.dataset.theme = themeName();
  wire(app, options, refresh);
  handle(app, refresh);
  addEventListener("hashchange", () => {
    app.change(read());
    refresh();
  });
  new ResizeObserver(() => {
    fitCanvases();
    stale = true;
  }).observe(document.body);
  fitCanvases();
  if (subject.title && !location.hash) app.change(app.place.suits);
  app.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  refresh();
  requestAnimationFrame(loop);
}

begin();
globalThis.playground = app;
