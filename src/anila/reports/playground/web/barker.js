// Barker's proposal (Livingstone & Zanella 2022): noise whose sign leans uphill. The formulas of anila/samplers/barker.py.
//
//     yᵢ = xᵢ ± √γ |ξᵢ|, + with probability sigmoid(√γ |ξᵢ| ∂ᵢf(x))

import { accept, at, pair } from "./kernel.js";

export function barker(f, { step_size }) {
  return (z, { normal, uniform, sign }) => {
    const w = pair((i) => {
      const size = Math.sqrt(step_size) * Math.abs(normal[i]);
      return sign[i] < sigmoid(size * z.grad[i]) ? size : -size;
    });
    const y = at(f, pair((i) => z.x[i] + w[i]));
    const [a, b] = pair((i) => logSigmoid(-w[i] * y.grad[i]) - logSigmoid(w[i] * z.grad[i]));
    return accept(z, y, y.value - z.value + a + b, uniform);
  };
}

const sigmoid = (t) => 1 / (1 + Math.exp(-t));
const logSigmoid = (t) => Math.min(t, 0) - Math.log1p(Math.exp(-Math.abs(t)));
