// Known laws of the plane: f and ∇f by hand, as anila/density/targets.py has them, with the frame they are seen in.
// `suits` are settings that move well on it.

const square = (t) => t * t;

/** log Σ exp of the powers, and the share of each in the sum, which takes the place of the powers. */
function logSumExp(powers) {
  let [top, sum] = [-Infinity, 0];
  for (const power of powers) top = Math.max(top, power);
  for (let j = 0; j < powers.length; j++) sum += powers[j] = Math.exp(powers[j] - top);
  for (let j = 0; j < powers.length; j++) powers[j] /= sum;
  return top + Math.log(sum);
}

/** f = −|x|²/2. */
const gaussian = ([x, y]) => ({ value: -(x * x + y * y) / 2, grad: [-x, -y] });

/** Four rings of equal mass: f = log Σ exp(−(r − rⱼ)²/(2 sd²)) − log r, radii 1 to 4 and, folded over, −1 to −4, sd 0.15. */
function rings([x, y]) {
  const r = Math.max(Math.sqrt(x * x + y * y), Number.MIN_VALUE);
  for (let j = 0; j < RADII.length; j++) shares[j] = square(r - RADII[j]) / (-2 * square(RING_SD));
  const value = logSumExp(shares) - Math.log(r);
  let slope = -1 / r;
  for (let j = 0; j < RADII.length; j++) slope -= (shares[j] * (r - RADII[j])) / square(RING_SD);
  return { value, grad: [(slope * x) / r, (slope * y) / r] };
}
const RADII = [1, 2, 3, 4, -1, -2, -3, -4];
const RING_SD = 0.15;

/** Eight equal normals of sd 0.15 on a circle of radius 1. */
function mixture([x, y]) {
  for (let j = 0; j < 8; j++) shares[j] = (square(x - CENTRES[j][0]) + square(y - CENTRES[j][1])) / (-2 * square(MODE_SD));
  const value = logSumExp(shares);
  let [a, b] = [0, 0];
  for (let j = 0; j < 8; j++) {
    a += shares[j] * CENTRES[j][0];
    b += shares[j] * CENTRES[j][1];
  }
  return { value, grad: [(a - x) / square(MODE_SD), (b - y) / square(MODE_SD)] };
}
const MODE_SD = 0.15;
const CENTRES = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => [Math.cos((Math.PI * k) / 4), Math.sin((Math.PI * k) / 4)]);
const shares = new Float64Array(8);

/** x ~ N(0, 1), y | x ~ N(x² − 1, sd²), sd 0.3. */
function banana([x, y]) {
  const residual = (y - (x * x - 1)) / square(BANANA_SD);
  return { value: -x * x / 2 - square(y - (x * x - 1)) / (2 * square(BANANA_SD)), grad: [-x + 2 * x * residual, -residual] };
}
const BANANA_SD = 0.3;

/** Neal's funnel, neck down: y ~ N(0, 2²), x | y ~ N(0, exp y). */
function funnel([x, y]) {
  const spread = x * x * Math.exp(-y);
  return { value: -y * y / 8 - (spread + y) / 2, grad: [-x * Math.exp(-y), -y / 4 + (spread - 1) / 2] };
}

/** Two wells of unequal mass along x, a normal along y: f = −2 (x² − 1)² + x/2 − y²/2. */
const double_well = ([x, y]) => ({
  value: -2 * square(x * x - 1) + x / 2 - (y * y) / 2,
  grad: [-8 * x * (x * x - 1) + 0.5, -y],
});

/** A wave: x ~ N(0, 2²), y | x ~ N(1.5 sin 2x, sd²), sd 0.2. */
function sine([x, y]) {
  const residual = (y - 1.5 * Math.sin(2 * x)) / square(SINE_SD);
  const value = -(x * x) / 8 - (square(residual) * square(SINE_SD)) / 2;
  return { value, grad: [-x / 4 + 3 * residual * Math.cos(2 * x), -residual] };
}
const SINE_SD = 0.2;

const frame = (x0, x1, y0, y1) => ({ low: [x0, y0], high: [x1, y1] });

export const TARGETS = {
  gaussian: { f: gaussian, title: "gaussian", frame: frame(-4, 4, -4, 4), suits: { step_size: 0.5, threshold: 1 } },
  "double-well": { f: double_well, title: "double well", frame: frame(-2.6, 2.6, -3.6, 3.6), suits: { step_size: 0.1, threshold: 2 } },
  rings: { f: rings, title: "rings", frame: frame(-5.2, 5.2, -5.2, 5.2), suits: { step_size: 0.12, threshold: 4 } },
  funnel: { f: funnel, title: "funnel", frame: frame(-9, 9, -7, 6), suits: { step_size: 0.4, threshold: 2 } },
  banana: { f: banana, title: "banana", frame: frame(-3.6, 3.6, -2.4, 8), suits: { step_size: 0.15, threshold: 3 } },
  mixture: { f: mixture, title: "mixture", frame: frame(-1.9, 1.9, -1.9, 1.9), suits: { step_size: 0.03, threshold: 8 } },
  sine: { f: sine, title: "sine", frame: frame(-6.5, 6.5, -4, 4), suits: { step_size: 0.1, threshold: 4 } },
};
