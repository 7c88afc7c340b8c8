// Buttons, sliders, choices, brush and keys of an image page.

import { short } from "./charts.js";
import { DEFAULTS, RANGES } from "./image_state.js";
import { WORDS } from "./image_words.js";
import { formatState } from "./state.js";
import { bounds, buttons, copyLink, explain, place, setText, slid, turnLight } from "./widgets.js";

const find = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
/** The part of the picture an arrow key goes. */
const PACE = 0.05;

/** Wire every control to the app. `options` are the choices with their titles. */
export function wire(app, options, refresh) {
  const act = (selector, action) => find(selector).addEventListener("click", () => { action(); refresh(); });
  for (const pick of all("[data-choice]")) {
    pick.append(...Object.entries(options[pick.dataset.choice]).map(([value, title]) => new Option(title, value)));
    pick.addEventListener("change", () => { app.change({ [pick.dataset.choice]: pick.value }); refresh(); });
  }
  find("#labels").append(...buttons("label", options.label.map((name) => [name, name])));
  for (const button of all("[data-label]")) button.addEventListener("click", () => { app.change({ label: button.dataset.label }); refresh(); });
  for (const slider of all("[data-setting]")) {
    const range = RANGES[slider.dataset.setting];
    Object.assign(slider, bounds(range));
    slider.addEventListener("input", () => { app.change({ [slider.dataset.setting]: slid(slider, range) }); refresh(); });
  }
  explain(find("#meanings ul"), WORDS);
  act("#play", () => play(app));
  act("#step", () => app.single());
  act("#restart", () => app.change({ seed: app.state.seed + 1 }));
  act("#theme", turnLight);
  act("#fill", () => { app.fill(); app.playing = true; });
  act("#wipe", () => app.wipe());
  find("#link").addEventListener("click", () => copyLink(find("#link")));
  find("#path").addEventListener("input", () => { app.shown = Number(find("#path").value); refresh(); });
  find("#chains").addEventListener("click", (event) => choose(app, event, refresh));
  brush(app, find("#picture"), refresh);
  addEventListener("keydown", (event) => press(event));
}

/** Play or pause; what is at its end begins anew. */
function play(app) {
  if (!app.done) app.playing = !app.playing;
  else if (app.live) app.change({ seed: app.state.seed + 1 });
  else app.restart();
  if (app.shown === 0) app.playing = true;
}

function choose(app, event, refresh) {
  const button = event.target.closest("[data-chain]");
  if (!button) return;
  app.pick(Number(button.dataset.chain));
  refresh();
}

/** Mouse, finger, or arrow keys and enter hide parts of the picture. */
function brush(app, canvas, refresh) {
  const ring = canvas.nextElementSibling;
  let down = false;
  const stroke = (event) => {
    const box = canvas.getBoundingClientRect();
    app.paint((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    refresh();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (app.filling) app.filling = false;
    down = true;
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => down && stroke(event));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (down = false));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0] };
    if (!(event.key in moves)) return;
    const inside = (v) => Math.min(Math.max(v, 0), 1);
    const [a, b] = ["a", "b"].map((key, i) => inside(Number(ring.dataset[key] ?? 0.5) + PACE * moves[event.key][i]));
    Object.assign(ring.dataset, { a, b });
    Object.assign(ring.style, { left: `${100 * a}%`, top: `${100 * b}%` });
    if (event.key === "Enter") app.paint(a, b);
    event.preventDefault();
    refresh();
  });
}

const KEYS = { " ": "#play", ArrowRight: "#step", r: "#restart", d: "#theme" };

/** Keys of the page; those typed into a control, or that the picture takes, are its own. */
function press(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  if (event.key === " " && event.target.closest("button")) return;
  if (!(event.key in KEYS)) return;
  find(KEYS[event.key]).click();
  event.preventDefault();
}

/** Show the state on every control, and in the URL. */
export function reflect(app) {
  const { state } = app;
  for (const pick of all("[data-choice]")) pick.value = state[pick.dataset.choice];
  for (const slider of all("[data-setting]")) {
    const key = slider.dataset.setting;
    place(slider, state[key], RANGES[key], short(state[key]));
  }
  for (const button of all("[data-label]")) button.setAttribute("aria-pressed", button.dataset.label === state.label);
  Object.assign(find("#path"), { max: Math.max(app.frames.length - 1, 0), value: app.shown });
  setText(find("#path-at"), app.frames.length ? `${app.shown + 1} of ${app.frames.length}` : "");
  setText(find("#play"), app.done ? "Again" : app.playing ? "Pause" : "Play");
  find("#fill").disabled = !app.canFill;
  const slider = find('[data-setting="threshold"]');
  slider.disabled = state.sampler !== "anisotropic";
  slider.parentElement.classList.toggle("idle", slider.disabled);
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", formatState(Object.fromEntries(changed)) || "#");
}
