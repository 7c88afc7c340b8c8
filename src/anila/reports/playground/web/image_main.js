// The page of an image run: a state from the URL, controls that change it, and a loop that draws it.

import { themeName } from "./colours.js";
import { ImageApp } from "./image_app.js";
import { reflect, wire } from "./image_controls.js";
import { DEFAULTS, RANGES } from "./image_state.js";
import { draw, expect } from "./image_view.js";
import { parseState } from "./state.js";

const subject = JSON.parse(document.querySelector("#subject").textContent);
const names = subject.classes ?? [];
const films = Object.fromEntries((subject.films ?? []).map(({ title }, k) => [String(k), title]));
const options = {
  label: names.length ? ["any", ...names] : [],
  sampler: { langevin: "Langevin", anisotropic: "Anisotropic" },
  show: { mean: "without noise", chain: "as they are" },
  film: films,
};
const choices = Object.fromEntries(Object.entries(options).map(([key, known]) => [key, Array.isArray(known) ? known : Object.keys(known)]));
const read = () => ({ ...DEFAULTS, ...subject.state, ...parseState(location.hash, choices, DEFAULTS, RANGES) });

document.documentElement.dataset.theme = themeName();
document.documentElement.dataset.kind = subject.net ? "live" : "films";
document.documentElement.dataset.classes = names.length ? "some" : "none";
const code = new Blob([document.querySelector("#worker").textContent], { type: "text/javascript" });
/** Threads that chains share; more than the machine has cores, or than a few, help nobody. */
const threads = subject.net ? Math.min(navigator.hardwareConcurrency || 1, 6) : 0;
const app = new ImageApp(subject, read(), Array.from({ length: threads }, () => new Worker(URL.createObjectURL(code))));
let [drawn, last] = [[], performance.now()];
const refresh = () => (drawn = []);

/** What must change before anything is drawn anew. */
const standing = () => [app.frames, app.frames.length, app.shown, app.done];

function loop(now) {
  app.advance(Math.min(Math.max(now - last, 0), 100));
  last = now;
  if (app.frame && standing().some((v, k) => v !== drawn[k])) {
    draw(app);
    reflect(app);
    drawn = standing();
  }
  requestAnimationFrame(loop);
}

wire(app, options, refresh);
reflect(app);
expect(app);
addEventListener("hashchange", () => {
  app.change(read());
  refresh();
});
globalThis.playground = app;
requestAnimationFrame(loop);
