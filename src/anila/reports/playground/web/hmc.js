// Hamiltonian Monte Carlo (Neal 2011): a fresh momentum, leapfrog steps, accepted or rejected. As anila/samplers/hmc.py.
//
//     leapfrog_steps times:   p ← p + ε/2 ∇f(x);   x ← x + ε p;   p ← p + ε/2 ∇f(x),     ε = √step_size · U(0.8, 1.2)

import { accept, at, pair } from "./kernel.js";

const JITTER = 0.2;

export function hmc(f, { step_size, leapfrog_steps }) {
  return (z, { normal, uniform, jitter }) => {
    const eps = Math.sqrt(step_size) * (1 + JITTER * (2 * jitter - 1));
    let [y, p] = [z, normal];
    for (let k = 0; k < leapfrog_steps; k++) [y, p] = leapfrog(f, y, p, eps);
    return accept(z, y, y.value - z.value + kinetic(normal) - kinetic(p), uniform);
  };
}

function leapfrog(f, z, p, eps) {
  const half = pair((i) => p[i] + (eps / 2) * z.grad[i]);
  const y = at(f, pair((i) => z.x[i] + eps * half[i]));
  return [y, pair((i) => half[i] + (eps / 2) * y.grad[i])];
}

const kinetic = ([a, b]) => (a * a + b * b) / 2;
