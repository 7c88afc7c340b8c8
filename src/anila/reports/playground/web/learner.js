// Training in the page: θ goes up where the objective says, one iteration at a time.
//
//     likelihood   ∇ = mean ∂f(x_data)/∂θ − mean ∂f(x_model)/∂θ, x_model from kept chains (Karimi, Xie & Li 2023, Algorithm 1)
//     recovery     the same on exp(f(x) − |x − y|²/(2 Δ²)) of x = x_data + t ξ, y = x + Δ ξ', by short chains from y (Gao et al. 2021)
//     denoising    f goes up from x_t = x + s ξ towards the data x and down towards what it believed (Vincent 2011), without chains

import { at } from "./kernel.js";
import { adam, addSlope, energyOf, net, zeros } from "./net.js";
import { drawNoise, normals, uniforms } from "./random.js";
import { bind } from "./samplers.js";

export const ITERATIONS = 800;
const BATCH = 128;
const STEPS = 8;
const RATE = { likelihood: 0.005, recovery: 0.005, denoising: 0.01 };
/** The noise of denoising, and the data's own in Algorithm 1, in the data's spread. */
const NOISE = { likelihood: 0.03, recovery: 0.05, denoising: 0.12 };
/** Δ of recovery, in the data's spread. */
const FURTHER = 0.6;
const ETA = 0.03;
/** The chains' kernel: exact, its step and threshold in the data's spread. */
const [STEP_SIZE, THRESHOLD] = [0.2, 4];

/** A learner of points: {model, iterate}. `drawData(random)` gives a point; centre and scale are its mean and spread. */
export function learner(objective, drawData, centre, scale, seed) {
  const random = uniforms(seed + 1);
  const model = net(random, centre, scale);
  const climb = adam(model.theta);
  const spread = Math.sqrt(scale[0] * scale[1]);
  const noisy = (x) => {
    const xi = normals(random);
    return [x[0] + NOISE[objective] * spread * xi[0], x[1] + NOISE[objective] * spread * xi[1]];
  };
  let chains = Array.from({ length: BATCH }, () => drawData(random));
  const contrast = { likelihood: chainsAgainstData, recovery: chainsFromNearby, denoising: dataAgainstNoise }[objective];
  let iteration = 0;

  function iterate() {
    const data = Array.from({ length: BATCH }, () => drawData(random));
    const gradient = zeros();
    contrast(data, gradient);
    climb(gradient, RATE[objective] * (1 + Math.cos((Math.PI * iteration++) / ITERATIONS)) / 2);
  }

  function walked(f, x) {
    const settings = { step_size: STEP_SIZE * spread ** 2, threshold: THRESHOLD / spread, temperature: 1 };
    const kernel = bind("anisotropic_mala", f, settings);
    let z = at(kernel.f, x);
    for (let k = 0; k < STEPS; k++) z = kernel.step(z, drawNoise(random)).next;
    return z.x;
  }

  function chainsFromNearby(data, gradient) {
    const f = energyOf(model);
    const reach = FURTHER * spread;
    for (const x of data.map(noisy)) {
      const y = normals(random).map((xi, i) => x[i] + reach * xi);
      const near = (z) => {
        const { value, grad } = f(z);
        const [a, b] = [z[0] - y[0], z[1] - y[1]];
        return { value: value - (a * a + b * b) / (2 * reach ** 2), grad: [grad[0] - a / reach ** 2, grad[1] - b / reach ** 2] };
      };
      const z = walked(near, y);
      addSlope(model, x, 1 / BATCH, gradient);
      addSlope(model, z, -1 / BATCH, gradient);
    }
  }

  function chainsAgainstData(data, gradient) {
    chains = chains.map((x) => walked(energyOf(model), x));
    for (const x of data) addSlope(model, noisy(x), 1 / BATCH, gradient);
    for (const x of chains) addSlope(model, x, -1 / BATCH, gradient);
  }

  function dataAgainstNoise(data, gradient) {
    const f = energyOf(model);
    const s = NOISE.denoising * spread;
    for (const x of data) {
      const xt = noisy(x);
      const { grad } = f(xt);
      const lack = [0, 1].map((i) => x[i] - xt[i] - s * s * grad[i]);
      const side = (sign) => [xt[0] + sign * ETA * lack[0], xt[1] + sign * ETA * lack[1]];
      addSlope(model, side(1), 1 / (2 * ETA * BATCH), gradient);
      addSlope(model, side(-1), -1 / (2 * ETA * BATCH), gradient);
    }
  }

  return { model, iterate };
}
