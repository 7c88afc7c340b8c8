// The Langevin family: drift along ∇f, add noise, perhaps accept. Two choices: scale × kernel.
//
//     z' = z + γ/2 · ∇f(z) + √(temperature · γ) ξ         unadjusted
//     the same at temperature 1, accepted or rejected      Metropolis
//
// A point may hold the γ of where it was looked up; it goes with the chain until it is looked up again.
//
// Karimi, Xie & Li 2023, Algorithm 1; Roberts & Tweedie 1996. The same formulas as anila/samplers/langevin.py.

import { accept, at, move, pair } from "./kernel.js";
import { clipped, constant } from "./scales.js";

export const langevin = (f, { step_size, temperature }) => unadjusted(f, constant(step_size), temperature);

export const anisotropic = (f, { threshold, step_size, temperature }) =>
  unadjusted(f, clipped(threshold, step_size), temperature);

export const mala = (f, { step_size }) => metropolis(f, constant(step_size));

export const anisotropic_mala = (f, { threshold, step_size }) => metropolis(f, clipped(threshold, step_size));

/** A point that holds the γ of where it is. */
export const holding = ({ threshold, step_size }) => (z) => ({ ...z, held: clipped(threshold, step_size)(z.grad) });

const gammaOf = (scale, z) => z.held ?? scale(z.grad);

/** The point at x, of the chain that was at z. */
const after = (z, f, x) => ({ ...at(f, x), held: z.held });

function unadjusted(f, scale, temperature) {
  return (z, { normal }) => {
    const gamma = gammaOf(scale, z);
    const x = pair((i) => z.x[i] + (gamma[i] / 2) * z.grad[i] + Math.sqrt(temperature * gamma[i]) * normal[i]);
    return move(after(z, f, x));
  };
}

function metropolis(f, scale) {
  return (z, { normal, uniform }) => {
    const gamma = gammaOf(scale, z);
    const x = pair((i) => z.x[i] + (gamma[i] / 2) * z.grad[i] + Math.sqrt(gamma[i]) * normal[i]);
    const y = after(z, f, x);
    const logRatio = y.value - z.value + logQ(z.x, y, gammaOf(scale, y)) - logQ(x, z, gamma);
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
