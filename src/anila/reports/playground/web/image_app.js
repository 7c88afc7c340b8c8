// An image page without its looks: chains of images, the frames they left, a brush, and films where the net is not here.

import { filled, sampled } from "./descent.js";
import { opened } from "./halves.js";
import { noisy } from "./noisy.js";
import { uniforms } from "./random.js";

/** Numbers as bytes of a picture: [-1, 1] is black to white. */
export const bytes = (x) => Uint8ClampedArray.from(x, (v) => 127.5 * (v + 1));

export class ImageApp {
  constructor(subject, state) {
    Object.assign(this, { subject, state, playing: true, picked: 0, shown: 0, passed: 0, busy: 0, filling: false });
    this.f = subject.net ? noisy({ ...subject.net, tensors: opened(subject.net.tensors) }) : null;
    const { side, channels } = this.f ?? subject;
    Object.assign(this, { side, channels, hidden: new Uint8Array(side * side), picture: null });
    this.restart();
  }

  get live() {
    return this.f !== null;
  }

  get names() {
    return this.subject.classes ?? [];
  }

  /** How many frames there are now, and will be as far as is known. */
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
    const y = this.classOf(this.state.label);
    this.walk((random) => sampled(this.f, this.state, y, random));
  }

  /** What the brush hid of a picture, drawn by all chains. */
  fill() {
    const y = this.classOf(this.state.label);
    const hidden = Uint8Array.from({ length: this.picture.length }, (_, k) => this.hidden[Math.floor(k / this.channels)]);
    this.filling = true;
    this.walk((random) => filled(this.f, this.state, y, this.picture, hidden, random));
  }

  classOf(label) {
    const y = this.names.indexOf(label);
    return y < 0 ? null : y;
  }

  /** Chains, each by a walk of its own noise. */
  walk(make) {
    const { chains, seed } = this.state;
    this.walks = Array.from({ length: chains }, (_, k) => ({ steps: make(uniforms(1000 * seed + k)), z: null, over: false }));
    Object.assign(this, { turn: 0, picked: Math.min(this.picked, chains - 1), fresh: true, playing: true });
    if (!this.frames) this.round();
  }

  rewind(frames) {
    Object.assign(this, { frames, shown: 0, passed: 0 });
  }

  /** Go on for some milliseconds: chains take turns, and a frame is kept when each had its own. */
  advance(elapsed, budget = 12) {
    if (!this.playing || this.done) return;
    if (!this.live) return this.wind(elapsed);
    const until = performance.now() + budget;
    do this.next();
    while (!this.done && performance.now() < until);
  }

  wind(elapsed) {
    this.passed += (elapsed / 1000) * this.state.speed;
    this.shown = Math.min(this.shown + Math.floor(this.passed), this.frames.length - 1);
    this.passed %= 1;
  }

  /** One chain's turn. */
  next() {
    const before = performance.now();
    this.move(this.walks[this.turn]);
    this.turn = (this.turn + 1) % this.walks.length;
    if (this.turn === 0) this.keep();
    const took = performance.now() - before;
    this.busy = this.busy ? 0.8 * this.busy + 0.2 * took : took;
  }

  move(walk) {
    const { value, done } = walk.steps.next();
    if (done) walk.over = true;
    else walk.z = value;
  }

  /** Every chain's turn: one step. */
  round() {
    do this.next();
    while (this.turn !== 0);
  }

  /** One step, or one frame of a film. */
  single() {
    this.playing = false;
    if (this.live && !this.done) this.round();
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
    if (!this.live || this.filling) return;
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
