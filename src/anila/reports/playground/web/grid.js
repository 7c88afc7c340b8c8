// A landscape from a grid: f and ∇f at side × side nodes, and between them the bicubic surface that takes both on
// (Hermite; the mixed derivative by differences of ∇f). Its gradient is the surface's own, so a Metropolis kernel on it
// is exact for it. Outside, the surface goes on straight and a parabola is taken away, so that chains come back.
//
// A grid is {low, high, side, value, gx, gy}; node (i, j) is at index i · side + j, i along x, j along y.

/** The landscape of a grid: x -> {value, grad}. */
export function landscape(grid) {
  const { low, high, side } = grid;
  const step = [(high[0] - low[0]) / (side - 1), (high[1] - low[1]) / (side - 1)];
  const corners = { f: grid.value, fx: grid.gx, fy: grid.gy, fxy: mixed(grid, step) };
  const pull = [36 / (high[0] - low[0]) ** 2, 36 / (high[1] - low[1]) ** 2];
  const beyond = (x, i) => x - Math.min(Math.max(x, low[i]), high[i]);
  return ([x, y]) => {
    const surface = patch(corners, side, within(x, low[0], step[0], side), within(y, low[1], step[1], side), step);
    const [a, b] = [beyond(x, 0), beyond(y, 1)];
    return {
      value: surface.value - (pull[0] * a * a + pull[1] * b * b) / 2,
      grad: [surface.grad[0] - pull[0] * a, surface.grad[1] - pull[1] * b],
    };
  };
}

/** A grid of any f: {low, high, side, value, gx, gy}. */
export function gridOf(f, { low, high }, side) {
  const grid = { low, high, side, ...emptyFields(side * side) };
  for (let i = 0, k = 0; i < side; i++) {
    for (let j = 0; j < side; j++, k++) {
      const { value, grad } = f([node(grid, 0, i), node(grid, 1, j)]);
      grid.value[k] = value;
      [grid.gx[k], grid.gy[k]] = grad;
    }
  }
  return grid;
}

const emptyFields = (n) => ({ value: new Float64Array(n), gx: new Float64Array(n), gy: new Float64Array(n) });
const node = ({ low, high, side }, axis, i) => low[axis] + ((high[axis] - low[axis]) * i) / (side - 1);

/** ∂²f/∂x∂y at the nodes: the mean of the differences of ∂f/∂x along y and of ∂f/∂y along x. */
function mixed({ side, gx, gy }, step) {
  const found = new Float64Array(side * side);
  for (let i = 0; i < side; i++) {
    const [i0, i1] = [Math.max(i - 1, 0), Math.min(i + 1, side - 1)];
    for (let j = 0; j < side; j++) {
      const [j0, j1] = [Math.max(j - 1, 0), Math.min(j + 1, side - 1)];
      const alongY = (gx[i * side + j1] - gx[i * side + j0]) / ((j1 - j0) * step[1]);
      const alongX = (gy[i1 * side + j] - gy[i0 * side + j]) / ((i1 - i0) * step[0]);
      found[i * side + j] = (alongX + alongY) / 2;
    }
  }
  return found;
}

/** The cell a coordinate is in, and the Hermite basis there. A number that is no number stays one. */
function within(x, low, step, side) {
  const t = (x - low) / step;
  const cell = Math.min(Math.max(Math.floor(t), 0), side - 2) || 0;
  return basis(cell, t - cell);
}

/** Cubic Hermite: h weighs (value, value, slope, slope) at (0, 1, 0, 1), d their derivatives; straight outside [0, 1]. */
function basis(cell, t) {
  if (t < 0) return { cell, h: [1, 0, t, 0], d: [0, 0, 1, 0] };
  if (t > 1) return { cell, h: [0, 1, 0, t - 1], d: [0, 0, 0, 1] };
  const u = t - 1;
  const h = [u * u * (1 + 2 * t), t * t * (3 - 2 * t), t * u * u, t * t * u];
  return { cell, h, d: [6 * t * u, -6 * t * u, u * (3 * t - 1), t * (3 * t - 2)] };
}

/** The surface over one cell: Σ over its four corners of (f, ∂f/∂x, ∂f/∂y, ∂²f/∂x∂y) by the product of both bases. */
function patch({ f, fx, fy, fxy }, side, p, q, step) {
  const [a, b] = step;
  let [value, dx, dy] = [0, 0, 0];
  for (let i = 0; i < 2; i++) {
    for (let j = 0; j < 2; j++) {
      const k = (p.cell + i) * side + q.cell + j;
      const flat = f[k] * q.h[j] + b * fy[k] * q.h[2 + j];
      const tilted = a * fx[k] * q.h[j] + a * b * fxy[k] * q.h[2 + j];
      value += p.h[i] * flat + p.h[2 + i] * tilted;
      dx += p.d[i] * flat + p.d[2 + i] * tilted;
      dy += p.h[i] * (f[k] * q.d[j] + b * fy[k] * q.d[2 + j]);
      dy += p.h[2 + i] * (a * fx[k] * q.d[j] + a * b * fxy[k] * q.d[2 + j]);
    }
  }
  return { value, grad: [dx / a, dy / b] };
}
