// Training in the page: θ goes up where the objective says, one iteration at a time.
//
//     likelihood   ∇ = mean ∂f(x_data)/∂θ − mean ∂f(x_model)/∂θ, x_model from kept chains (Karimi, Xie & Li 2023, Algorithm 1)
//     denoising    f goes up from x_t = x + s ξ towards the data x and down towards what it believed (Vincent 2011), without chains

import { at } from "./kernel.js";
import { adam, addSlope, energyOf, net, zeros } from "./net.js";
import { drawNoise, normals, uniforms } from "./random.js";
import { bind } from "./samplers.js";

export const ITERATIONS = 800;
const BATCH = 128;
const STEPS = 8;
const RATE = { likelihood: 0.005, denoising: 0.01 };
/** The noise of denoising, and the data's own in Algorithm 1, in the data's spread. */
const NOISE = { likelihood: 0.03, denoising: 0.12 };
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
  const contrast = { likelihood: chainsAgainstData, denoising: dataAgainstNoise }[objective];
  let iteration = 0;

  function iterate() {
    const data = Array.from({ length: BATCH }, () => drawData(random));
    const gradient = zeros();
    contrast(data, gradient);
    climb(gradient, RATE[objective] * (1 + Math.cos((Math.PI * iteration++) / ITERATIONS)) / 2);
  }

  function chainsAgainstData(data, gradient) {
    const settings = { step_size: STEP_SIZE * spread ** 2, threshold: THRESHOLD / spread, temperature: 1 };
    const kernel = bind("anisotropic_mala", energyOf(model), settings);
    chains = chains.map((x) => {
      let z = at(kernel.f, x);
      for (let k = 0; k < STEPS; k++) z = kernel.step(z, drawNoise(random)).next;
      return z.x;
    });
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
