// A net in training, as a film: a snapshot of its landscape now and then.

import { gridOf, landscape } from "./grid.js";
import { cellsOf, divergence, exactLaw } from "./laws.js";
import { ITERATIONS, learner } from "./learner.js";
import { energyOf } from "./net.js";

const EVERY = 20;
const NODES = 64;

/** Training on points that `drawData` gives: {frames, iteration, done, advance}. */
export class Film {
  constructor(objective, drawData, { centre, scale }, frame, law, seed) {
    Object.assign(this, { frame, law, objective });
    this.learner = learner(objective, drawData, centre, scale, seed);
    this.frames = [];
    this.iteration = 0;
    this.take();
  }

  get done() {
    return this.iteration >= ITERATIONS;
  }

  /** Train until a moment, or to the end; whether there is a new snapshot. */
  advance(until) {
    const before = this.frames.length;
    while (!this.done && performance.now() < until) {
      this.learner.iterate();
      this.iteration++;
      if (this.iteration % EVERY === 0) this.take();
    }
    return this.frames.length > before;
  }

  /** A snapshot: the landscape on a grid, and KL(data ‖ model). */
  take() {
    const f = landscape(gridOf(energyOf(this.learner.model), this.frame, NODES));
    const kl = divergence(this.law, exactLaw(cellsOf(f, this.frame), 1));
    this.frames.push({ f, kl, iteration: this.iteration });
  }
}
