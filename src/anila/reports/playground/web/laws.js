// Laws on cells: f at the centres of side × side cells of a frame, and what follows from it by sums.
//
//     exp (f / T)                        what exact chains follow
//     exp (f / T) · Πᵢ max(1, |∂ᵢf| / b)  what unadjusted anisotropic chains follow, for small steps and separable f
//
// Cell (i, j) is at index i · side + j, i along x, j along y. A law is a mass for each cell; the masses sum to 1.

export const BINS = 32;
export const SIDE = 5 * BINS;
/** What a law leaves for everything outside the frame, where it has less: the divergence stays finite. */
const OUTSIDE = 1e-3;

/** f and ∇f at the centres. */
export function cellsOf(f, { low, high }) {
  const n = SIDE * SIDE;
  const cells = { low, high, value: new Float64Array(n), gx: new Float64Array(n), gy: new Float64Array(n) };
  for (let i = 0, k = 0; i < SIDE; i++) {
    for (let j = 0; j < SIDE; j++, k++) {
      const { value, grad } = f([0, 1].map((a) => low[a] + ((high[a] - low[a]) * ([i, j][a] + 0.5)) / SIDE));
      cells.value[k] = value;
      [cells.gx[k], cells.gy[k]] = grad;
    }
  }
  return cells;
}

/** exp(f / T) on the cells. */
export const exactLaw = ({ value }, T) => normalised(value.map((v) => v / T));

/** exp(f / T) · Π max(1, |∂f| / b) on the cells. */
export function unadjustedLaw({ value, gx, gy }, T, b) {
  const steep = (slope) => Math.log(Math.max(1, Math.abs(slope) / b));
  return normalised(value.map((v, k) => v / T + steep(gx[k]) + steep(gy[k])));
}

function normalised(powers) {
  const top = powers.reduce((a, b) => Math.max(a, b), -Infinity);
  const mass = powers.map((power) => Math.exp(power - top));
  const sum = mass.reduce((a, b) => a + b);
  return mass.map((m) => m / sum);
}

/** The law on BINS × BINS wider cells, and last what lies outside. */
export function binned(mass) {
  const bins = new Float64Array(BINS * BINS + 1);
  const wide = SIDE / BINS;
  mass.forEach((m, k) => {
    bins[Math.floor(k / SIDE / wide) * BINS + Math.floor((k % SIDE) / wide)] += m * (1 - OUTSIDE);
  });
  bins[BINS * BINS] = OUTSIDE;
  return bins;
}

/** The bin a point is in; the last one for what is outside or no number. */
export function binOf([x, y], { low, high }) {
  const i = Math.floor(((x - low[0]) / (high[0] - low[0])) * BINS);
  const j = Math.floor(((y - low[1]) / (high[1] - low[1])) * BINS);
  return i >= 0 && i < BINS && j >= 0 && j < BINS ? i * BINS + j : BINS * BINS;
}

/** KL(p ‖ q) = Σ p log(p / q) in nats; p need not sum to 1. */
export function divergence(p, q) {
  const sum = p.reduce((a, b) => a + b);
  return p.reduce((kl, m, k) => (m > 0 ? kl + (m / sum) * Math.log(m / sum / Math.max(q[k], 1e-30)) : kl), 0);
}

/** The law of x (axis 0) or y (axis 1) alone, from side × side masses. */
export function marginal(mass, side, axis) {
  const found = new Float64Array(side);
  for (let k = 0; k < side * side; k++) found[axis === 0 ? Math.floor(k / side) : k % side] += mass[k];
  return found;
}

/** A draw of the law: a cell by its mass, then anywhere in it. */
export function drawer({ low, high }, mass) {
  const cumulative = mass.slice();
  for (let k = 1; k < cumulative.length; k++) cumulative[k] += cumulative[k - 1];
  return (random) => {
    const k = firstAbove(cumulative, random() * cumulative[cumulative.length - 1]);
    const cell = [Math.floor(k / SIDE), k % SIDE];
    return [0, 1].map((a) => low[a] + ((high[a] - low[a]) * (cell[a] + random())) / SIDE);
  };
}

function firstAbove(sorted, u) {
  let [a, b] = [0, sorted.length - 1];
  while (a < b) {
    const middle = (a + b) >> 1;
    if (sorted[middle] > u) b = middle;
    else a = middle + 1;
  }
  return a;
}
