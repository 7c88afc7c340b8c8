// The kernels by name, each with its own facts. A new one is a file and a row.

import { barker } from "./barker.js";
import { hmc } from "./hmc.js";
import { anisotropic, anisotropic_mala, holding, langevin, mala } from "./langevin.js";

export const SAMPLERS = {
  langevin: { make: langevin, title: "Langevin", exact: false, clips: false },
  anisotropic: { make: anisotropic, title: "Anisotropic", exact: false, clips: true },
  mala: { make: mala, title: "Langevin, exact", exact: true, clips: false },
  anisotropic_mala: { make: anisotropic_mala, title: "Anisotropic, exact", exact: true, clips: true },
  barker: { make: barker, title: "Barker", exact: true, clips: false },
  hmc: { make: hmc, title: "Hamiltonian", exact: true, clips: false },
};

/** A kernel with the law it aims at, exp(f / temperature): {f, step, threshold, hold}. Its points are those of its f.
 *  Where γ is refreshed after more than one step, `hold` makes a point hold it. */
export function bind(name, f, settings) {
  const { make, exact, clips } = SAMPLERS[name];
  const T = exact ? settings.temperature : 1;
  const scaled = { ...settings, step_size: settings.step_size * T, threshold: settings.threshold / T };
  const tempered = T === 1 ? f : divided(f, T);
  const hold = clips && settings.refresh > 1 ? holding(scaled) : null;
  return { f: tempered, step: make(tempered, scaled), threshold: clips ? scaled.threshold : Infinity, hold };
}

/** f / T: a Metropolis kernel knows no temperature, so its f does. With step_size · T it proposes as an unadjusted one. */
const divided = (f, T) => (x) => {
  const { value, grad } = f(x);
  return { value: value / T, grad: [grad[0] / T, grad[1] / T] };
};
