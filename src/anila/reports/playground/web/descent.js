// Images from noise, down the levels of an f(x, s), and parts of images filled in: one gradient at a time.
//
//     x ← x + r (γ/2 r ∇f + √(T γ) ξ),  r = s / lowest                       a transition at level s, in its units
//     x ← x + (s² − s'²) ∇f + √((s² − s'²) s'² / s²) ξ                       from level s to the next, s'
//
// γ = step_size, or step_size · b / max(b, |r ∂f|). As anila/samplers/annealed.py and anila/applications/descend.py.
// Each walk is a generator. It gives where the chain stands, {x, mean, s, value, chances}, at each gradient.

import { normals } from "./random.js";

/** Levels on the way down of what is filled in: few and long are better than many and short. */
const FILL_LEVELS = 8;

/** One transition of the run's kernel at level s. */
export function moved(x, grad, s, lowest, { sampler, step_size, threshold, temperature }, normal) {
  const r = s / lowest;
  return x.map((v, k) => {
    const g = r * grad[k];
    const gamma = sampler === "anisotropic" ? (step_size * threshold) / Math.max(threshold, Math.abs(g)) : step_size;
    return v + r * ((gamma / 2) * g + Math.sqrt(temperature * gamma) * normal[k]);
  });
}

/** The step from level s to a lower one; without new noise it only takes some away. */
export function lowered(x, grad, s, lower, normal = null) {
  const gone = s * s - lower * lower;
  const spread = (Math.sqrt(gone) * lower) / s;
  return x.map((v, k) => v + gone * grad[k] + (normal ? spread * normal[k] : 0));
}

/** Levels whose logarithms are evenly spread. */
export function ladder(highest, lowest, count) {
  return Array.from({ length: count }, (_, k) => (k === count - 1 ? lowest : highest * (lowest / highest) ** (k / (count - 1))));
}

/** The levels through which noise goes at the end: from the lowest by the finest to none. */
export function finer({ lowest, finest }) {
  const ratio = finest / lowest;
  const steps = Math.max(1, Math.round(-2 * Math.log2(ratio)));
  return [lowest, ...(ratio < 1 ? Array.from({ length: steps }, (_, k) => lowest * ratio ** ((k + 1) / steps)) : []), 0];
}

const pairs = (levels) => levels.slice(1).map((lower, k) => [levels[k], lower]);
const noise = (f, random) => Float64Array.from({ length: f.side * f.side * f.channels }, () => normals(random)[0]);

/** From noise to an image. `y` is a class, or null: then one is drawn, where f tells classes apart. */
export function* sampled(f, settings, y, random) {
  let x = f.drawHighest(noise(f, random));
  const of = y ?? drawnClass(f, x, random);
  const look = (s) => seen(f, x, s, of, of === null ? 0 : settings.guidance);
  const transition = (z, s) => moved(x, z.grad, s, f.lowest, settings, noise(f, random));
  const levels = ladder(f.highest, f.lowest, settings.levels);
  for (const [k, s] of levels.entries()) {
    for (let n = 0; n < settings.level_steps; n++) {
      const z = look(s);
      yield z;
      x = transition(z, s);
    }
    if (k + 1 === levels.length) break;
    const z = look(s);
    yield z;
    x = lowered(x, f.widened(x, z.grad, s), s, levels[k + 1], noise(f, random));
  }
  for (let n = 0; n < settings.steps; n++) {
    const z = seen(f, x, f.lowest, y, 0);
    yield z;
    x = transition(z, f.lowest);
  }
  for (const [s, lower] of pairs(finer(f))) {
    const z = seen(f, x, s, y, 0);
    yield z;
    x = lowered(x, z.grad, s, lower);
  }
  yield { ...seen(f, x, f.finest, y, 0), mean: x };
}

/** What is hidden of a picture, given what is seen: `hidden` is 1 for each number that is to be drawn. */
export function* filled(f, settings, y, picture, hidden, random) {
  let x = f.drawHighest(noise(f, random));
  const given = (s) => {
    const xi = noise(f, random);
    return x.map((v, k) => (hidden[k] ? v : picture[k] + s * xi[k]));
  };
  for (const [s, lower] of pairs(ladder(f.highest, f.lowest, FILL_LEVELS))) {
    const z = seen(f, x, s, y, 0);
    yield z;
    x = lowered(x, z.grad, s, lower, noise(f, random));
    for (let n = 0; n < settings.fill_steps; n++) {
      x = given(lower);
      const there = seen(f, x, lower, y, 0);
      yield there;
      x = moved(x, there.grad, lower, f.lowest, settings, noise(f, random));
    }
  }
  for (const [s, lower] of pairs(finer(f))) {
    x = given(s);
    const z = seen(f, x, s, y, 0);
    yield z;
    x = lowered(x, z.grad, s, lower);
  }
  x = given(0);
  yield { ...seen(f, x, f.finest, y, 0), mean: x };
}

/** How many gradients a walk gives. `f` needs its levels only. */
export function walkLength(f, { levels, level_steps, steps, fill_steps }, filling) {
  const end = finer(f).length;
  return filling ? (FILL_LEVELS - 1) * (fill_steps + 1) + end : levels * (level_steps + 1) - 1 + steps + end;
}

/** Where a chain stands, with the image that it would be on average without its noise. */
function seen(f, x, s, y, guidance) {
  const { value, grad, chances } = f.at(s, y, guidance)(x);
  return { x, mean: x.map((v, k) => v + s * s * grad[k]), s, value, grad, chances };
}

/** A draw of p(y | x) at the highest level; null where there are no classes. */
function drawnClass(f, x, random) {
  if (!f.classes) return null;
  const { chances } = f.at(f.highest)(x);
  let rest = random();
  return Math.max(0, chances.findIndex((p) => (rest -= p) < 0));
}
