// An image page without its looks: chains of images, the frames they left, a brush, and films where the net is not here.

import { walkLength } from "./descent.js";

/** Numbers as bytes of a picture: [-1, 1] is black to white. */
export const bytes = (x) => Uint8ClampedArray.from(x, (v) => 127.5 * (v + 1));

export class ImageApp {
  /** `workers` are the threads in which chains walk, each its share of them; none where there are films. */
  constructor(subject, state, workers) {
    const { side, channels } = subject;
    Object.assign(this, { subject, state, workers, side, channels, hidden: new Uint8Array(side * side), picture: null });
    Object.assign(this, { playing: true, picked: 0, frames: [], shown: 0, passed: 0, number: 0, busy: 0, filling: false });
    for (const worker of workers) worker.addEventListener("message", ({ data }) => this.hear(data));
    this.tell("net", subject.net);
    this.restart();
  }

  get live() {
    return this.workers.length > 0;
  }

  tell(task, given) {
    for (const worker of this.workers) worker.postMessage({ task, given });
  }

  get names() {
    return this.subject.classes ?? [];
  }

  /** Whether all has been drawn, or the film is at its end. */
  get done() {
    return this.live ? this.walks.every(({ over }) => over) : this.shown === this.frames.length - 1;
  }

  /** Change the state. What belongs to how chains walk starts them anew. */
  change(patch) {
    const still = ["show", "brush", "speed"];
    const anew = Object.keys(patch).some((key) => !still.includes(key) && patch[key] !== this.state[key]);
    this.state = { ...this.state, ...patch };
    if (anew) this.restart();
  }

  /** Chains from noise or, where a part is hidden, filling it in; or the film from its beginning. */
  restart() {
    if (this.filling) return this.fill();
    if (!this.live) return this.rewind(unrolled(this.subject.films[Number(this.state.film)] ?? this.subject.films[0], this.subject));
    this.walk();
  }

  /** What the brush hid of a picture, drawn by all chains. */
  fill() {
    const hidden = Uint8Array.from({ length: this.picture.length }, (_, k) => this.hidden[Math.floor(k / this.channels)]);
    this.filling = true;
    this.walk({ picture: this.picture, hidden });
  }

  classOf(label) {
    const y = this.names.indexOf(label);
    return y < 0 ? null : y;
  }

  /** Begin chains, each with noise of its own, that draw images or what is hidden of one. */
  walk(given = {}) {
    const { state, state: { chains, label } } = this;
    this.tell("walk", { state, y: this.classOf(label), ...given });
    this.walks = Array.from({ length: chains }, () => ({ z: null, over: false }));
    Object.assign(this, { picked: Math.min(this.picked, chains - 1), fresh: true, playing: true });
    this.length = walkLength(this.subject.net, state, "picture" in given);
    this.number += 1;
    this.begin();
    this.ask();
  }

  rewind(frames) {
    Object.assign(this, { frames, shown: 0, passed: 0 });
  }

  /** Go on: a film for some milliseconds, chains whenever they have answered. */
  advance(elapsed) {
    if (!this.playing || this.done) return;
    if (this.live) this.ask();
    else this.wind(elapsed);
  }

  wind(elapsed) {
    this.passed += (elapsed / 1000) * this.state.speed;
    this.shown = Math.min(this.shown + Math.floor(this.passed), this.frames.length - 1);
    this.passed %= 1;
  }

  /** A frame in which no chain had its turn. Thread w has chains w, w + n, w + 2n, …, of n threads, one after the other. */
  begin() {
    Object.assign(this, { turns: this.workers.map((_, w) => w), asked: this.workers.map(() => false), since: null });
  }

  /** Ask each thread for its next chain's turn in this frame, unless its answer is still to come. */
  ask() {
    if (this.done) return;
    this.since ??= performance.now();
    this.workers.forEach((worker, w) => {
      if (this.asked[w] || this.turns[w] >= this.walks.length) return;
      this.asked[w] = true;
      worker.postMessage({ task: "turn", given: { walk: this.number, k: this.turns[w] } });
    });
  }

  /** One chain's turn: a frame is kept when each had its own, and what is begun of a frame is ended. */
  hear({ walk, k, value, done }) {
    if (walk !== this.number) return;
    const w = k % this.workers.length;
    this.asked[w] = false;
    this.turns[w] += this.workers.length;
    if (done) this.walks[k].over = true;
    else this.walks[k].z = value;
    const ended = this.turns.every((turn) => turn >= this.walks.length);
    if (ended) {
      const took = performance.now() - this.since;
      this.busy = this.busy ? 0.8 * this.busy + 0.2 * took : took;
      this.keep();
      this.begin();
    }
    if (this.playing || !ended) this.ask();
  }

  /** One step, or one frame of a film. */
  single() {
    this.playing = false;
    if (this.live && !this.done) this.ask();
    else this.shown = Math.min(this.shown + 1, this.frames.length - 1);
  }

  /** Remember where chains stand; the newest frame is shown, unless the reader went back to another. */
  keep() {
    if (this.done) return;
    if (this.fresh) this.rewind([]);
    this.fresh = false;
    const follows = this.shown >= this.frames.length - 1;
    this.frames.push(this.walks.map(({ z }) => ({ chain: bytes(z.x), mean: bytes(z.mean), s: z.s, value: z.value, chances: z.chances })));
    if (follows) this.shown = this.frames.length - 1;
  }

  get frame() {
    return this.frames[this.shown];
  }

  /** What is seen of a chain in a frame. */
  look(k, shown = this.shown) {
    const found = this.frames[shown][Math.min(k, this.frames[shown].length - 1)];
    return this.state.show === "chain" ? found.chain : found.mean;
  }

  /** Take a chain as it is shown for the picture to hide parts of. */
  pick(k) {
    this.picked = k;
    if (!this.live || this.filling || !this.frame) return;
    this.picture = Float64Array.from(this.look(k), (v) => v / 127.5 - 1);
  }

  /** Hide what is within the brush of a point, in parts of the picture. */
  paint(a, b) {
    if (!this.picture) this.pick(this.picked);
    const size = this.state.brush;
    for (let i = 0; i < this.side; i++) {
      for (let j = 0; j < this.side; j++) {
        if (Math.hypot(j + 0.5 - a * this.side, i + 0.5 - b * this.side) <= size) this.hidden[i * this.side + j] = 1;
      }
    }
  }

  /** Hide nothing any more, and take the picked chain as it is shown. */
  wipe() {
    this.hidden.fill(0);
    this.filling = false;
    this.pick(this.picked);
  }

  /** Whether some is hidden and some is seen. */
  get canFill() {
    return this.live && this.picture !== null && this.hidden.includes(1) && this.hidden.includes(0);
  }
}

/** The frames of a film: bytes of all chains, frame after frame. */
function unrolled({ data, chains }, { side, channels }) {
  const all = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const size = side * side * channels;
  const images = Array.from({ length: all.length / size }, (_, k) => all.subarray(k * size, (k + 1) * size));
  const frames = Array.from({ length: images.length / chains }, (_, t) => images.slice(t * chains, (t + 1) * chains));
  return frames.map((frame) => frame.map((pixels) => ({ chain: pixels, mean: pixels })));
}
