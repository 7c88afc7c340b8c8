// A small net as a log-density of the plane, with its gradients in x and in θ by hand, and Adam.
//
//     f(x) = w · silu(W₂ silu(W₁ u + b₁) + b₂) − |u|²/(2 CONFINE²),    u = (x − centre) / scale

import { normals } from "./random.js";

const WIDTH = 32;
const CONFINE = 2;
/** Standard deviation of the first layer's weights: waves of this many turns see detail. */
const DETAIL = 3;
const SIZES = { W1: 2 * WIDTH, b1: WIDTH, W2: WIDTH * WIDTH, b2: WIDTH, w: WIDTH };

/** A net with weights drawn by `random`. */
export function net(random, centre, scale) {
  const draw = (n, sd) => Float64Array.from({ length: n }, () => sd * normals(random)[0]);
  const theta = {
    W1: draw(SIZES.W1, DETAIL / Math.SQRT2), b1: draw(SIZES.b1, DETAIL / 2),
    W2: draw(SIZES.W2, Math.sqrt(2 / WIDTH)), b2: draw(SIZES.b2, 0), w: draw(SIZES.w, 1 / WIDTH),
  };
  return { theta, centre, scale };
}

const silu = (t) => t / (1 + Math.exp(-t));
const dSilu = (t) => {
  const s = 1 / (1 + Math.exp(-t));
  return s * (1 + t * (1 - s));
};

/** What one pass leaves for the gradient in θ; the next pass overwrites it. */
const [z1, a1, d1, a2, d2] = Array.from({ length: 5 }, () => new Float64Array(WIDTH));

/** The pass through the net and back at one point: f, ∇f, and u. */
function through({ theta: { W1, b1, W2, b2, w }, centre, scale }, x) {
  const u = [(x[0] - centre[0]) / scale[0], (x[1] - centre[1]) / scale[1]];
  let value = -(u[0] * u[0] + u[1] * u[1]) / (2 * CONFINE ** 2);
  d1.fill(0);
  for (let k = 0; k < WIDTH; k++) a1[k] = silu((z1[k] = W1[2 * k] * u[0] + W1[2 * k + 1] * u[1] + b1[k]));
  for (let k = 0; k < WIDTH; k++) {
    let sum = b2[k];
    for (let m = 0; m < WIDTH; m++) sum += W2[k * WIDTH + m] * a1[m];
    a2[k] = silu(sum);
    value += w[k] * a2[k];
    d2[k] = w[k] * dSilu(sum);
    for (let m = 0; m < WIDTH; m++) d1[m] += d2[k] * W2[k * WIDTH + m];
  }
  const grad = [-u[0] / CONFINE ** 2, -u[1] / CONFINE ** 2];
  for (let m = 0; m < WIDTH; m++) {
    d1[m] *= dSilu(z1[m]);
    grad[0] += d1[m] * W1[2 * m];
    grad[1] += d1[m] * W1[2 * m + 1];
  }
  return { value, grad: [grad[0] / scale[0], grad[1] / scale[1]], u };
}

/** f of the net as it is now: x -> {value, grad}. */
export const energyOf = (model) => (x) => {
  const { value, grad } = through(model, x);
  return { value, grad };
};

export const zeros = () => Object.fromEntries(Object.entries(SIZES).map(([name, n]) => [name, new Float64Array(n)]));

/** Add weight · ∂f(x)/∂θ to a sum. */
export function addSlope(model, x, weight, sum) {
  const { u } = through(model, x);
  for (let k = 0; k < WIDTH; k++) {
    sum.w[k] += weight * a2[k];
    sum.b2[k] += weight * d2[k];
    sum.b1[k] += weight * d1[k];
    sum.W1[2 * k] += weight * d1[k] * u[0];
    sum.W1[2 * k + 1] += weight * d1[k] * u[1];
    for (let m = 0; m < WIDTH; m++) sum.W2[k * WIDTH + m] += weight * d2[k] * a1[m];
  }
}

/** How much of the gradient's running mean, and square, an iteration keeps; chains argue for a small first one. */
const [KEEP, KEEP_SQUARE] = [0.5, 0.999];

/** Adam (Kingma & Ba 2015), uphill: a function that moves θ along a gradient. */
export function adam(theta) {
  const [mean, square] = [zeros(), zeros()];
  let t = 0;
  return (gradient, rate) => {
    t++;
    for (const [name, g] of Object.entries(gradient)) {
      for (let k = 0; k < g.length; k++) {
        mean[name][k] += (1 - KEEP) * (g[k] - mean[name][k]);
        square[name][k] += (1 - KEEP_SQUARE) * (g[k] * g[k] - square[name][k]);
        const size = Math.sqrt(square[name][k] / (1 - KEEP_SQUARE ** t)) + 1e-8;
        theta[name][k] += (rate * mean[name][k]) / (1 - KEEP ** t) / size;
      }
    }
  };
}
