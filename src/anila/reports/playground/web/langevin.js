// The Langevin family: drift along ∇f, add noise, perhaps accept. Two choices: scale × kernel.
//
//     z' = z + γ/2 · ∇f(z) + √(temperature · γ) ξ         unadjusted
//     the same at temperature 1, accepted or rejected      Metropolis
//
// Karimi, Xie & Li 2023, Algorithm 1; Roberts & Tweedie 1996. The same formulas as anila/samplers/langevin.py.

import { accept, at, move, pair } from "./kernel.js";
import { clipped, constant } from "./scales.js";

export const langevin = (f, { step_size, temperature }) => unadjusted(f, constant(step_size), temperature);

export const anisotropic = (f, { threshold, step_size, temperature }) =>
  unadjusted(f, clipped(threshold, step_size), temperature);

export const mala = (f, { step_size }) => metropolis(f, constant(step_size));

export const anisotropic_mala = (f, { threshold, step_size }) => metropolis(f, clipped(threshold, step_size));

function unadjusted(f, scale, temperature) {
  return (z, { normal }) => {
    const gamma = scale(z.grad);
    const x = pair((i) => z.x[i] + (gamma[i] / 2) * z.grad[i] + Math.sqrt(temperature * gamma[i]) * normal[i]);
    return move(at(f, x));
  };
}

function metropolis(f, scale) {
  return (z, { normal, uniform }) => {
    const gamma = scale(z.grad);
    const x = pair((i) => z.x[i] + (gamma[i] / 2) * z.grad[i] + Math.sqrt(gamma[i]) * normal[i]);
    const y = at(f, x);
    const logRatio = y.value - z.value + logQ(z.x, y, scale(y.grad)) - logQ(x, z, gamma);
    return accept(z, y, logRatio, uniform);
  };
}

/** log q(to | from) = log N(to; x + γ/2 ∇f(x), diag γ), without its constant. */
function logQ(to, from, gamma) {
  const [a, b] = pair((i) => {
    const residual = to[i] - from.x[i] - (gamma[i] / 2) * from.grad[i];
    return (residual * residual) / gamma[i] + Math.log(gamma[i]);
  });
  return -(a + b) / 2;
}
