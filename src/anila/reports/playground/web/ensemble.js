// Many chains of one kernel, and what is told of them: moves, acceptance, clipping, the histogram of where they were.

import { ess } from "./ess.js";
import { at, isFinite2 } from "./kernel.js";
import { BINS, binOf, divergence } from "./laws.js";
import { bind } from "./samplers.js";

/** Steps after which the histogram has forgotten most. */
const MEMORY = 300;
/** Steps of the first chain's path that can be gone through, and points of a curve. */
const [PATH, CURVE] = [2000, 240];
/** Chains of which an effective sample size is told. */
const WATCHED = 24;
/** Frames away from the frame's middle at which a chain counts as gone. */
const GONE = 5;

export class Ensemble {
  constructor(name, f, settings, frame, starts) {
    Object.assign(this, { f, frame, refresh: settings.refresh });
    this.kernel = bind(name, f, settings);
    this.restart(starts);
  }

  /** The same chains, moved by another kernel or on another landscape from now on. */
  rebind(name, f, settings) {
    Object.assign(this, { f, refresh: settings.refresh });
    this.kernel = bind(name, f, settings);
    this.points = this.points.map((z) => at(this.kernel.f, z.x));
    this.forget();
  }

  restart(starts) {
    this.points = starts.map((x) => at(this.kernel.f, x));
    this.path = [this.points[0].x];
    this.moves = [];
    this.forget();
  }

  /** Forget what was told so far. */
  forget() {
    this.bins = new Float64Array(BINS * BINS + 1);
    this.history = [];
    this.every = 1;
    this.steps = 0;
    this.recent = [];
    [this.accepted, this.clipped] = [null, null];
  }

  /** One step of every chain, each with its noise. */
  step(noises) {
    if (this.kernel.hold && this.steps % this.refresh === 0) this.points = this.points.map(this.kernel.hold);
    this.moves = this.points.map((z, k) => ({ from: z, ...this.kernel.step(z, noises[k]) }));
    this.points = this.moves.map(({ next }) => next);
    this.path.push(this.points[0].x);
    if (this.path.length > PATH) this.path.shift();
    this.recent.push(this.points.slice(0, WATCHED).map(({ x }) => x));
    if (this.recent.length > MEMORY) this.recent.shift();
    this.steps++;
    this.tell();
  }

  tell() {
    const { threshold } = this.kernel;
    const steep = ({ from: { grad } }) => ((Math.abs(grad[0]) > threshold) + (Math.abs(grad[1]) > threshold)) / 2;
    this.accepted = smoothed(this.accepted, mean(this.moves, ({ prob }) => prob));
    this.clipped = smoothed(this.clipped, mean(this.moves, steep));
    for (let k = 0; k < this.bins.length; k++) this.bins[k] *= 1 - 1 / MEMORY;
    for (const { x } of this.points) this.bins[binOf(x, this.frame)]++;
  }

  /** Write down how far the histogram is from a law; ever more rarely, so that the whole course fits. */
  note(law) {
    if (this.steps % this.every) return;
    this.history.push([this.steps, divergence(this.bins, law)]);
    if (this.history.length <= 2 * CURVE) return;
    this.history = this.history.filter((_, k) => k % 2);
    this.every *= 2;
  }

  /** Effective draws among the latest of all chains, by the worse coordinate of some; null before there are any, and where chains have flown off. */
  get ess() {
    if (this.recent.length < 8 || this.gone) return null;
    const found = [0, 1].map((i) => ess(this.recent[0].map((_, k) => this.recent.map((then) => then[k][i]))));
    return found.includes(null) ? null : (Math.min(...found) * this.points.length) / this.recent[0].length;
  }

  /** How many chains have flown off. */
  get gone() {
    const { low, high } = this.frame;
    const far = (x, i) => Math.abs(x[i] - (low[i] + high[i]) / 2) > GONE * (high[i] - low[i]);
    return this.points.filter(({ x }) => !isFinite2(x) || far(x, 0) || far(x, 1)).length;
  }
}

const mean = (items, g) => items.reduce((sum, item) => sum + g(item), 0) / items.length;
const smoothed = (before, now) => (before === null ? now : 0.9 * before + 0.1 * now);
