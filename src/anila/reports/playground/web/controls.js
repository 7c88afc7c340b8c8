// Buttons, sliders, choices and keys: each changes the app and says so.

import { short } from "./charts.js";
import { ITERATIONS } from "./learner.js";
import { SAMPLERS } from "./samplers.js";
import { RANGES, formatState } from "./state.js";
import { bounds, buttons, copyLink, counted, explain, place, setText, slid, turnLight } from "./widgets.js";
import { NUMBERS, SETTINGS, STORIES, kindOf, textOf, toldBy } from "./words.js";

const find = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];

/** Wire every control to the app. `options` are the choices with their titles. */
export function wire(app, options, refresh) {
  const act = (button, action) => find(button).addEventListener("click", () => { action(); refresh(); });
  fill(options);
  act("#play", () => (app.playing = !app.playing));
  act("#step", () => app.single());
  act("#restart", () => app.change({ seed: app.state.seed + 1 }));
  act("#train", () => { app.train(); find(".stage").scrollIntoView({ block: "nearest" }); });
  act("#leave", () => app.leave());
  act("#theme", turnLight);
  find("#link").addEventListener("click", () => copyLink(find("#link")));
  for (const button of all("[data-target]")) act(`[data-target="${button.dataset.target}"]`, () => settle(app, button.dataset.target));
  for (const button of all("[data-story]")) act(`[data-story="${button.dataset.story}"]`, () => tellStory(app, button.dataset.story));
  for (const pick of all("[data-choice]")) {
    pick.addEventListener("change", () => { app.change({ [pick.dataset.choice]: pick.value }); refresh(); });
  }
  for (const slider of all("[data-setting]")) {
    slider.addEventListener("input", () => { app.change({ [slider.dataset.setting]: slid(slider, RANGES[slider.dataset.setting]) }); refresh(); });
  }
  find("#film").addEventListener("input", () => { app.show(Number(find("#film").value)); refresh(); });
  find("#past").addEventListener("input", () => { app.look(Number(find("#past").value)); refresh(); });
  addEventListener("keydown", (event) => press(app, event, refresh));
}

/** Options of the choices, and a button for each law and story. */
function fill(options) {
  for (const pick of all("[data-choice]")) {
    pick.append(...Object.entries(options[pick.dataset.choice]).map(([value, title]) => new Option(title, value)));
  }
  find("#targets").append(...buttons("target", Object.entries(options.target)));
  find("#stories").append(...buttons("story", Object.entries(STORIES).map(([name, { title }]) => [name, title])));
  for (const slider of all("[data-setting]")) Object.assign(slider, bounds(RANGES[slider.dataset.setting]));
  explain(find("#meanings ul"), { ...NUMBERS, ...SETTINGS });
}

/** Another law, with settings that suit it. */
export function settle(app, target) {
  app.change({ target });
  app.change(app.place.suits);
}

/** A story from its beginning. */
export function tellStory(app, story) {
  app.dropped = null;
  app.change({ story, temperature: 1, refresh: 1, leapfrog_steps: 10, chains: 400, ...STORIES[story].state });
  app.load();
  app.playing = true;
}

/** Show the state on every control, and in the URL. */
export function reflect(app) {
  const { state, film } = app;
  for (const pick of all("[data-choice]")) pick.value = state[pick.dataset.choice];
  for (const slider of all("[data-setting]")) {
    const value = state[slider.dataset.setting];
    place(slider, value, RANGES[slider.dataset.setting], short(value));
  }
  for (const button of all("[data-target]")) button.setAttribute("aria-pressed", button.dataset.target === state.target);
  for (const button of all("[data-story]")) button.setAttribute("aria-pressed", button.dataset.story === toldBy(state));
  for (const canvas of all(".chains")) canvas.classList.toggle("own", state.target === "yours");
  find("#play").textContent = app.playing ? "Pause" : "Play";
  setText(find("#story"), textOf(state, kindOf(app.subject)));
  find("#hint").textContent = hint(app);
  enable(app);
  Object.assign(find("#film"), { max: film ? film.frames.length - 1 : 0, value: app.shown });
  find("#film").parentElement.hidden = !film;
  find("#leave").disabled = !film;
  reflectPath(app);
  find("#when").textContent = film ? when(film, app.shown) : "";
  history.replaceState(null, "", formatState(state));
}

/** Where the slider through a chain is; it follows while chains move. */
export function reflectPath({ left: { path }, past }) {
  Object.assign(find("#past"), { max: path.length - 1, value: past ?? path.length - 1 });
  setText(find("#past-at"), past === null ? "now" : `${counted(path.length - 1 - past, "step")} ago`);
}

function when(film, shown) {
  const { iteration, kl } = film.frames[shown];
  return `${iteration} of ${ITERATIONS}, KL ${kl.toFixed(2)}`;
}

/** Settings that no kernel here has stand back. */
function enable({ state }) {
  const clips = [state.left, state.right].some((name) => SAMPLERS[name].clips);
  const used = {
    threshold: clips,
    refresh: clips,
    leapfrog_steps: [state.left, state.right].includes("hmc"),
  };
  for (const [key, on] of Object.entries(used)) {
    const slider = find(`[data-setting="${key}"]`);
    slider.disabled = !on;
    slider.parentElement.classList.toggle("idle", !on);
  }
}

function hint({ slow, state }) {
  if (slow) return "Arrow: the slope ∇f. Ring: the proposal. Green: accepted. Red cross: rejected.";
  if (state.target === "yours") return "Drag over a picture to scatter points. Further down you can train a net on them.";
  return "Click a picture: all chains start there.";
}

const KEYS = { " ": "#play", ArrowRight: "#step", r: "#restart", d: "#theme" };

/** Keys of the page; those typed into a control, or that a picture takes, are its own. */
function press(app, event, refresh) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === " " && event.target.closest("button")) return;
  const story = Object.keys(STORIES)[Number(event.key) - 1];
  if (story) tellStory(app, story);
  else if (event.key in KEYS) find(KEYS[event.key]).click();
  else return;
  event.preventDefault();
  refresh();
}
