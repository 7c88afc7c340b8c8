// Layers on images, each with the way back by hand. An image is side × side pixels of some channels, channel by channel
// within a pixel, in a Float64Array. Backwards a layer takes ∂f/∂(what it gave) to ∂f/∂(what it took).

/** y = W x + b, for one vector. W is (out, in). */
export function linear(weight, bias) {
  const [W, b] = [weight.data, bias.data];
  return (x) => b.map((sum, o) => x.reduce((s, v, k) => s + W[o * x.length + k] * v, sum));
}

/** A convolution of 3 × 3 that keeps the size, from C to O channels: {there, back}. W is (O, 3, 3, C), O and C multiples of 4. */
export function conv3(weight, bias, side) {
  const [O, , , C] = weight.shape;
  const [W, b] = [weight.data, bias.data];
  const room = new Float64Array((side + 2) ** 2 * Math.max(O, C));
  const [turned, none] = [turn(W, O, C), new Float64Array(C)];
  const there = (x) => slide(padded(x, C, side, room), C, side, W, O, b);
  const back = (g) => slide(padded(g, O, side, room), O, side, turned, C, none);
  return { there, back };
}

/** The kernel of the way back: turned by half a turn, with channels swapped. */
function turn(W, O, C) {
  const found = new Float64Array(W.length);
  for (let o = 0; o < O; o++) {
    for (let t = 0; t < 9; t++) {
      for (let c = 0; c < C; c++) found[(c * 9 + 8 - t) * O + o] = W[(o * 9 + t) * C + c];
    }
  }
  return found;
}

/** The image with a rim of zeros. */
function padded(x, C, side, room) {
  room.fill(0, 0, (side + 2) ** 2 * C);
  for (let i = 0; i < side; i++) room.set(x.subarray(i * side * C, (i + 1) * side * C), ((i + 1) * (side + 2) + 1) * C);
  return room;
}

/** The sums of a convolution. All the time goes here: two pixels by four channels at once, in eight local numbers. */
function slide(x, C, side, W, O, b) {
  const y = new Float64Array(side * side * O);
  const [row, wide, K] = [(side + 2) * C, 3 * C, 9 * C];
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j += 2) {
      const from = i * row + j * C;
      const to = (i * side + j) * O;
      for (let o = 0; o < O; o += 4) {
        let a0 = b[o], a1 = b[o + 1], a2 = b[o + 2], a3 = b[o + 3];
        let c0 = a0, c1 = a1, c2 = a2, c3 = a3;
        for (let r = 0, k = o * K; r < 3; r++) {
          for (let p = from + r * row, end = p + wide; p < end; p++, k++) {
            const u = x[p], v = x[p + C];
            const w0 = W[k], w1 = W[k + K], w2 = W[k + 2 * K], w3 = W[k + 3 * K];
            a0 += u * w0; a1 += u * w1; a2 += u * w2; a3 += u * w3;
            c0 += v * w0; c1 += v * w1; c2 += v * w2; c3 += v * w3;
          }
        }
        y[to + o] = a0; y[to + o + 1] = a1; y[to + o + 2] = a2; y[to + o + 3] = a3;
        y[to + O + o] = c0; y[to + O + o + 1] = c1; y[to + O + o + 2] = c2; y[to + O + o + 3] = c3;
      }
    }
  }
  return y;
}

/** Squares of 2 × 2 pixels become one pixel of four times the channels, in the order (row, column, channel). */
export function folded(x, side, C) {
  const found = new Float64Array(x.length);
  eachSquare(side, C, (flat, at) => (found[flat] = x[at]));
  return found;
}

/** The other way: `side` is that of the larger image, C its channels. */
export function unfolded(y, side, C) {
  const found = new Float64Array(y.length);
  eachSquare(side, C, (flat, at) => (found[at] = y[flat]));
  return found;
}

function eachSquare(side, C, visit) {
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      const flat = (((i >> 1) * (side >> 1) + (j >> 1)) * 4 + (i & 1) * 2 + (j & 1)) * C;
      for (let c = 0; c < C; c++) visit(flat + c, (i * side + j) * C + c);
    }
  }
}

/** Every pixel by itself through y = W x + b: {there, back}. W is (O, C). */
export function pixelwise(weight, bias) {
  const [O, C] = weight.shape;
  const [W, b] = [weight.data, bias.data];
  const there = (x) => {
    const y = new Float64Array((x.length / C) * O);
    for (let r = 0; r < x.length / C; r++) {
      for (let o = 0; o < O; o++) {
        let sum = b[o % b.length];
        for (let c = 0; c < C; c++) sum += W[o * C + c] * x[r * C + c];
        y[r * O + o] = sum;
      }
    }
    return y;
  };
  const back = (g) => {
    const y = new Float64Array((g.length / O) * C);
    for (let r = 0; r < g.length / O; r++) {
      for (let o = 0; o < O; o++) {
        const v = g[r * O + o];
        for (let c = 0; c < C; c++) y[r * C + c] += W[o * C + c] * v;
      }
    }
    return y;
  };
  return { there, back };
}

export const silu = (t) => t / (1 + Math.exp(-t));

export const dSilu = (t) => {
  const s = 1 / (1 + Math.exp(-t));
  return s * (1 + t * (1 - s));
};

/** x + y, in x. */
export function add(x, y) {
  for (let k = 0; k < x.length; k++) x[k] += y[k];
  return x;
}
