// Log-densities of noisy images, f(x, s) with ∇f, as anila/density/networks/noise_conditional.py and its neighbours have them.
//
//     f(x, s) = log N(x; m, C + s² I) + ⟨ρ, v⟩ − ½ |v|² − ½ Σ (max(0, |x| − 1 − 4 s) / s)²
//     ρ = s (C + s² I)⁻¹ (φ(x) − m),   v = c(s) / s U(u, s),   u = (φ(x) − m) / √(σ² + s²)
//     φ(x) = x (1 + (x / r)⁸)^(−1/8),   r = 4 + 16 s
//
// At the lowest level U is U + A where there is an adapter A, a net of its own.
// Of a class: + ⟨e_y, h(u, s)⟩ + w log p(y | x, s); of all of them, the log of the sum.

import { add } from "./layers.js";
import { unet } from "./unet.js";

const NOISE = 4;
const MARGIN = 4;
const FAR = 100;
/** The most noise, in sd of the data, at which guidance acts. */
const GUIDED = 5;

/** A density of images: {at, widened, side, channels, classes, lowest, highest, finest, drawHighest}. */
export function noisy({ tensors, side, channels, lowest, highest, finest }) {
  const base = gaussian(within(tensors, "base."));
  const net = unet(within(tensors, "net."), side, channels);
  const added = "adapter.head.bias" in tensors ? unet(within(tensors, "adapter."), side, channels) : null;
  const embedding = tensors.embedding;
  const classes = embedding ? embedding.shape[0] : 0;

  /** U(u, s), its features and the way back; with the adapter at the lowest level. */
  const through = (u, s) => {
    const seen = net(u, s);
    if (!added || s !== lowest) return seen;
    const more = added(u, s);
    const none = more.features.map(() => 0);
    return {
      points: add(more.points, seen.points),
      features: seen.features,
      back: (gPoints, gFeatures) => add(more.back(gPoints, none), seen.back(gPoints, gFeatures)),
    };
  };

  /** x -> {value, grad, chances} at level s, of class y with guidance w; y null is of all. */
  const at = (s, y = null, w = 0) => (x) => {
    const known = base.at(x, s);
    const spread = Math.sqrt(base.variance + s * s);
    const scale = Math.sqrt(base.unknown(s)) / s;
    const { seen, slopes } = saturated(x, s);
    const z = seen.map((v, k) => v - base.mean[k]);
    const { points, features, back } = through(z.map((v) => v / spread), s);
    const guidance = s <= GUIDED * Math.sqrt(base.variance) ? w : 0;
    const told = classes ? ofClass(features, embedding, y, guidance) : { value: 0, slope: features.map(() => 0), chances: null };
    const step = Float64Array.from(points, (p) => scale * p);
    const lack = base.precise(z, s).map((v, k) => s * v - step[k]);
    const slope = back(lack.map((v) => scale * v), told.slope);
    const pull = base.precise(step, s);
    let value = known.value + told.value;
    const grad = known.grad;
    for (let k = 0; k < x.length; k++) {
      value += (lack[k] + step[k] / 2) * step[k];
      grad[k] += (slope[k] / spread + s * pull[k]) * slopes[k];
      const out = Math.max(0, Math.abs(x[k]) - 1 - NOISE * s) / s;
      value -= (out * out) / 2;
      grad[k] -= (Math.sign(x[k]) * out) / s;
    }
    return { value, grad, chances: told.chances };
  };

  /** ∇((1 + w) f(x, s) + w |x − m|² / (2 s²)) from ∇f(x, s), for the step to a lower level. */
  const widened = (x, grad, s) => {
    const w = between(tensors.widening.data, Math.log(s / highest) / Math.log(lowest / highest));
    return grad.map((g, k) => (1 + w) * g + (w * (x[k] - base.mean[k])) / (s * s));
  };
  return { at, widened, side, channels, classes, lowest, highest, finest, drawHighest: (normal) => base.draw(normal, highest) };
}

/** A value between those of knots on [0, 1), 0 outside. */
function between(knots, place) {
  const k = place * (knots.length - 1);
  const first = Math.floor(k);
  return k >= 0 && k < knots.length - 1 ? knots[first] + (k - first) * (knots[first + 1] - knots[first]) : 0;
}

/** φ(x), and its slopes. */
function saturated(x, s) {
  const r = MARGIN * (1 + NOISE * s);
  const v = x.map((p) => Math.min(Math.max(p / r, -FAR), FAR));
  const bent = v.map((p) => 1 + p ** 8);
  return {
    seen: v.map((p, k) => r * p * bent[k] ** -0.125),
    slopes: v.map((p, k) => (Math.abs(p) < FAR ? bent[k] ** -1.125 : 0)),
  };
}

/** The tensors of one part, by their names in it. */
function within(tensors, part) {
  const own = Object.entries(tensors).filter(([name]) => name.startsWith(part));
  return Object.fromEntries(own.map(([name, t]) => [name.slice(part.length), t]));
}

/** What a class adds, its slope in the features, and p(y | x, s) of every class. */
function ofClass(features, { shape: [classes, pooled], data }, y, w) {
  const logits = Array.from({ length: classes }, (_, c) => features.reduce((sum, h, k) => sum + h * data[c * pooled + k], 0));
  const top = Math.max(...logits);
  const powers = logits.map((v) => Math.exp(v - top));
  const total = powers.reduce((a, b) => a + b);
  const chances = powers.map((p) => p / total);
  const all = top + Math.log(total);
  const weights = chances.map((p, c) => (y === null ? p : (c === y) * (1 + w) - w * p));
  const value = y === null ? all : logits[y] + w * (logits[y] - all);
  const slope = features.map((_, k) => weights.reduce((sum, v, c) => sum + v * data[c * pooled + k], 0));
  return { value, slope, chances };
}

/** log N(m, C + s² I), C = V diag(λ) Vᵀ + ρ (I − V Vᵀ). V is (numbers, rank). */
function gaussian({ mean: { data: mean }, directions: { shape: [dim, rank], data: V }, variances: { data: along }, rest: { data: [rest] } }) {
  const overDirections = (g, ofRest) => (along.reduce((sum, v) => sum + g(v), 0) + (dim - rank) * ofRest) / dim;
  const inward = (z) => {
    const p = new Float64Array(rank);
    for (let k = 0; k < dim; k++) for (let j = 0; j < rank; j++) p[j] += V[k * rank + j] * z[k];
    return p;
  };
  const outward = (p, k) => {
    let sum = 0;
    for (let j = 0; j < rank; j++) sum += V[k * rank + j] * p[j];
    return sum;
  };

  /** (C + s² I)⁻¹ z. */
  function precise(z, s) {
    const ofRest = rest + s * s;
    const parts = inward(z).map((v, j) => v / (along[j] + s * s) - v / ofRest);
    return z.map((v, k) => v / ofRest + outward(parts, k));
  }

  function at(x, s) {
    const z = x.map((v, k) => v - mean[k]);
    const pull = precise(z, s);
    let sum = (dim - rank) * Math.log(rest + s * s) + dim * Math.log(2 * Math.PI);
    for (let j = 0; j < rank; j++) sum += Math.log(along[j] + s * s);
    for (let k = 0; k < dim; k++) sum += z[k] * pull[k];
    return { value: -sum / 2, grad: pull.map((v) => -v) };
  }

  function draw(xi, s) {
    const still = Math.sqrt(rest + s * s);
    const p = inward(xi).map((v, j) => v * (Math.sqrt(along[j] + s * s) - still));
    return xi.map((v, k) => mean[k] + still * v + outward(p, k));
  }

  return {
    at, precise, draw, mean,
    variance: overDirections((v) => v, rest),
    unknown: (s) => s * s * overDirections((v) => v / (v + s * s), rest / (rest + s * s)),
  };
}
