// The page without its looks: a state, two ensembles from the same start with the same noise, and their laws.

import { Ensemble } from "./ensemble.js";
import { Film } from "./film.js";
import { binned, cellsOf, divergence, drawer, exactLaw, unadjustedLaw } from "./laws.js";
import { drawNoise, normals, uniforms } from "./random.js";
import { SAMPLERS } from "./samplers.js";
import { source } from "./sources.js";

export const SIDES = ["left", "right"];
/** Milliseconds of a frame that chains, and a net in training, may take. */
const BUDGET = 8;
/** The blob that dropped chains make, in parts of the frame. */
const DROP = 0.012;

export class App {
  constructor(subject, state) {
    Object.assign(this, { subject, state, playing: true, pending: 0, phase: 1, film: null, shown: 0, dropped: null, telling: false, past: null });
    this.load();
  }

  /** Change the state and what follows from it, and no more. */
  change(patch) {
    const changed = (...keys) => keys.some((key) => key in patch && patch[key] !== this.state[key]);
    const [place, objective, start, kernel] = [
      changed("target", "points"),
      changed("objective"),
      changed("chains", "seed"),
      changed("left", "right", "step_size", "threshold", "temperature", "refresh", "leapfrog_steps"),
    ];
    this.state = { ...this.state, ...patch };
    if (this.film && objective) this.leave();
    if (place) this.load();
    else if (start) this.restart();
    else if (kernel) this.rebind();
  }

  /** The landscape of the state, with chains anew. */
  load() {
    this.film = this.dropped = null;
    this.place = source(this.state, this.subject);
    this.truth = this.place.f;
    this.survey(this.place.f);
    this.restart();
  }

  survey(f) {
    this.f = f;
    this.cells = cellsOf(f, this.place.frame);
    this.judge();
  }

  /** The laws that follow from the landscape and the settings. */
  judge() {
    const { temperature: T, threshold } = this.state;
    this.exact = exactLaw(this.cells, T);
    this.biased = unadjustedLaw(this.cells, T, threshold);
    [this.exactBins, this.biasedBins] = [binned(this.exact), binned(this.biased)];
  }

  /** Chains anew, on both sides from the same start and with the same noise. */
  restart() {
    this.random = uniforms(this.state.seed);
    const starts = Array.from({ length: this.state.chains }, () => this.start());
    for (const side of SIDES) this[side] = new Ensemble(this.state[side], this.f, this.state, this.place.frame, starts);
    [this.pending, this.phase, this.past] = [0, 1, null];
  }

  /** Anywhere in the frame, or near where chains were dropped. */
  start() {
    const { low, high } = this.place.frame;
    const [a, b] = normals(this.random);
    if (!this.dropped) return [0, 1].map((i) => low[i] + (high[i] - low[i]) * (0.04 + 0.92 * this.random()));
    return this.dropped.map((x, i) => x + DROP * (high[i] - low[i]) * [a, b][i]);
  }

  /** Drop all chains at a point. */
  drop(x) {
    this.dropped = x;
    this.restart();
  }

  rebind() {
    this.judge();
    for (const side of SIDES) this[side].rebind(this.state[side], this.f, this.state);
  }

  /** One step on both sides with the same noise. */
  step() {
    this.past = null;
    const noises = Array.from({ length: this.state.chains }, () => drawNoise(this.random));
    for (const side of SIDES) {
      this[side].step(noises);
      this[side].note(this.exactBins);
    }
  }

  /** The law that a side's kernel aims at. */
  lawOf(side) {
    return this.isBiased(side) ? this.biased : this.exact;
  }

  isBiased(side) {
    const { exact, clips } = SAMPLERS[this.state[side]];
    return clips && (!exact || this.state.refresh > 1);
  }

  /** Go on by some milliseconds, within the budget of a frame. */
  advance(elapsed) {
    const until = performance.now() + BUDGET;
    if (this.film && !this.film.done) this.learn(until);
    if (!this.playing) {
      this.phase = Math.min(1, this.phase + elapsed / 1800);
      return;
    }
    this.telling = false;
    this.pending = Math.min(this.pending + (elapsed / 1000) * this.state.speed, 1000);
    do {
      if (this.pending < 1) break;
      this.step();
      this.pending--;
    } while (performance.now() < until);
    if (this.pending >= 1) this.pending = 0;
    this.phase = this.pending;
  }

  /** Stop, and look at the first chains as they were so many steps after the oldest that is remembered. */
  look(k) {
    [this.playing, this.telling, this.past] = [false, false, k];
  }

  /** Stop, take one step, and tell it slowly. */
  single() {
    [this.playing, this.telling] = [false, true];
    this.step();
    this.phase = 0;
  }

  /** Whether single steps are told as events. */
  get slow() {
    return this.left.moves.length > 0 && (this.telling || this.state.speed <= 2);
  }

  /** Begin to train a net on the points of this law. */
  train() {
    const { data, frame } = this.place;
    const law = exactLaw(cellsOf(this.truth, frame), 1);
    const draw = data?.length ? (random) => data[Math.floor(random() * data.length)] : drawer(frame, law);
    this.film = new Film(this.state.objective, draw, moments(draw, this.state.seed), frame, law, this.state.seed);
    this.playing = true;
    this.show(0);
  }

  /** Train until a moment; the newest snapshot is shown, unless the reader went back to another. */
  learn(until) {
    const follows = this.shown === this.film.frames.length - 1;
    if (this.film.advance(until) && follows) this.show(this.film.frames.length - 1);
  }

  /** Go to a snapshot of training. */
  show(k) {
    this.shown = k;
    this.survey(this.film.frames[k].f);
    this.rebind();
  }

  /** Back from the net to the law it learned. */
  leave() {
    this.film = null;
    this.survey(this.truth);
    this.rebind();
  }

  /** What is told of a side: all a test, or a reader at the console, wants to know. */
  told(side) {
    const ensemble = this[side];
    const { accepted, clipped, steps, gone, bins, ess } = ensemble;
    const kl = steps ? divergence(bins, this.exactBins) : null;
    return { accepted, clipped, steps, gone, ess, kl, own: steps ? divergence(bins, binned(this.lawOf(side))) : null };
  }
}

/** Mean and spread of a law's draws along both axes. */
function moments(draw, seed) {
  const random = uniforms(seed);
  const points = Array.from({ length: 1000 }, () => draw(random));
  const centre = [0, 1].map((i) => points.reduce((sum, x) => sum + x[i], 0) / points.length);
  const spread = (i) => Math.sqrt(points.reduce((sum, x) => sum + (x[i] - centre[i]) ** 2, 0) / points.length) || 1;
  return { centre, scale: [spread(0), spread(1)] };
}
