// Buttons, sliders, choices and keys: each changes the app and says so.

import { short } from "./charts.js";
import { themeName } from "./colours.js";
import { ITERATIONS } from "./learner.js";
import { SAMPLERS } from "./samplers.js";
import { RANGES, formatState } from "./state.js";
import { setText } from "./view.js";
import { STORIES, textOf, toldBy } from "./words.js";

const find = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const GRAIN = 1000;

/** Wire every control to the app. `options` are the choices with their titles. */
export function wire(app, options, refresh) {
  const act = (button, action) => find(button).addEventListener("click", () => { action(); refresh(); });
  fill(options);
  act("#play", () => (app.playing = !app.playing));
  act("#step", () => app.single());
  act("#restart", () => app.change({ seed: app.state.seed + 1 }));
  act("#train", () => app.train());
  act("#leave", () => app.leave());
  act("#theme", turnLight);
  find("#link").addEventListener("click", copyLink);
  for (const button of all("[data-target]")) act(`[data-target="${button.dataset.target}"]`, () => settle(app, button.dataset.target));
  for (const button of all("[data-story]")) act(`[data-story="${button.dataset.story}"]`, () => tellStory(app, button.dataset.story));
  for (const pick of all("[data-choice]")) {
    pick.addEventListener("change", () => { app.change({ [pick.dataset.choice]: pick.value }); refresh(); });
  }
  for (const slider of all("[data-setting]")) {
    slider.addEventListener("input", () => { app.change({ [slider.dataset.setting]: slid(slider) }); refresh(); });
  }
  find("#film").addEventListener("input", () => { app.show(Number(find("#film").value)); refresh(); });
  addEventListener("keydown", (event) => press(app, event, refresh));
}

/** Options of the choices, and a button for each law and story. */
function fill(options) {
  for (const pick of all("[data-choice]")) {
    pick.append(...Object.entries(options[pick.dataset.choice]).map(([value, title]) => new Option(title, value)));
  }
  const button = (key) => ([name, title]) => {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: title });
    made.dataset[key] = name;
    return made;
  };
  find("#targets").append(...Object.entries(options.target).map(button("target")));
  find("#stories").append(...Object.entries(STORIES).map(([name, { title }]) => button("story")([name, title])));
  for (const slider of all("[data-setting]")) Object.assign(slider, bounds(RANGES[slider.dataset.setting]));
}

const bounds = ({ low, high, whole }) => (whole && high <= 100 ? { min: low, max: high, step: 1 } : { min: 0, max: GRAIN, step: 1 });

/** The value a slider stands for: by its logarithm, unless it counts a few. */
function slid(slider) {
  const { low, high, whole } = RANGES[slider.dataset.setting];
  if (Number(slider.max) !== GRAIN) return Number(slider.value);
  const value = low * (high / low) ** (slider.value / GRAIN);
  return whole ? Math.round(value) : Number(value.toPrecision(2));
}

function place(slider, value) {
  const { low, high } = RANGES[slider.dataset.setting];
  slider.value = Number(slider.max) === GRAIN ? Math.round((GRAIN * Math.log(value / low)) / Math.log(high / low)) : value;
}

/** Another law, with settings that suit it. */
export function settle(app, target) {
  app.change({ target });
  app.change(app.place.suits);
}

/** A story from its beginning. */
export function tellStory(app, story) {
  app.dropped = null;
  app.change({ story, temperature: 1, leapfrog_steps: 10, chains: 400, ...STORIES[story].state });
  app.load();
  app.playing = true;
}

/** Show the state on every control, and in the URL. */
export function reflect(app) {
  const { state, film } = app;
  for (const pick of all("[data-choice]")) pick.value = state[pick.dataset.choice];
  for (const slider of all("[data-setting]")) {
    const value = state[slider.dataset.setting];
    if (slid(slider) !== value) place(slider, value);
    slider.previousElementSibling.textContent = short(value);
    slider.setAttribute("aria-valuetext", short(value));
  }
  for (const button of all("[data-target]")) button.setAttribute("aria-pressed", button.dataset.target === state.target);
  for (const button of all("[data-story]")) button.setAttribute("aria-pressed", button.dataset.story === toldBy(state));
  find("#play").textContent = app.playing ? "Pause" : "Play";
  setText(find("#story"), textOf(state));
  find("#hint").textContent = hint(app);
  enable(app);
  Object.assign(find("#film"), { max: film ? film.frames.length - 1 : 0, value: app.shown, disabled: !film });
  find("#leave").disabled = !film;
  find("#when").textContent = film ? when(film, app.shown) : "–";
  history.replaceState(null, "", formatState(state));
}

function when(film, shown) {
  const { iteration, kl } = film.frames[shown];
  return `${iteration} of ${ITERATIONS}, KL ${kl.toFixed(2)}`;
}

/** Settings that no kernel here has stand back. */
function enable({ state }) {
  const used = {
    threshold: [state.left, state.right].some((name) => SAMPLERS[name].clips),
    leapfrog_steps: [state.left, state.right].includes("hmc"),
  };
  for (const [key, on] of Object.entries(used)) {
    const slider = find(`[data-setting="${key}"]`);
    slider.disabled = !on;
    slider.parentElement.classList.toggle("idle", !on);
  }
}

function hint({ slow, state }) {
  if (slow) return "Arrow: the slope ∇f. Ring: the proposal. Green: accepted. Red cross: refused.";
  if (state.target === "yours") return "Drag over a picture to scatter points.";
  return "Click a picture: all chains start there.";
}

function turnLight() {
  document.documentElement.dataset.theme = themeName() === "dark" ? "light" : "dark";
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    find("#link").textContent = "Copied";
  } catch {
    find("#link").textContent = "Copy the address above";
  }
  setTimeout(() => (find("#link").textContent = "Copy link"), 2000);
}

const KEYS = { " ": "#play", ArrowRight: "#step", r: "#restart", d: "#theme" };

/** Keys of the page; those typed into a control, or on a picture, are its own. */
function press(app, event, refresh) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, button, .chains")) return;
  const story = Object.keys(STORIES)[Number(event.key) - 1];
  if (story) tellStory(app, story);
  else if (event.key in KEYS) find(KEYS[event.key]).click();
  else return;
  event.preventDefault();
  refresh();
}
