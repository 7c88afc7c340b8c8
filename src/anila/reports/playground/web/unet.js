// The U-Net of anila/density/networks/unet.py: U(u, s) and the means of its features, and the way back to u.
//
//     e = MLP([sin(k ln s), cos(k ln s)])
//     h ← h + conv₂(σ((1 + scale(e)) conv₁(σ(h)) + shift(e)))          each block

import { add, conv3, dSilu, folded, linear, pixelwise, silu, unfolded } from "./layers.js";

/** A net from its tensors by torch's names. `side` and `channels` are those of the images. */
export function unet(tensors, side, channels) {
  const pair = (name) => [tensors[`${name}.weight`], tensors[`${name}.bias`]];
  const levelOf = level(tensors["level.frequencies"].data, linear(...pair("level.net.0")), linear(...pair("level.net.2")));
  const depth = Object.keys(tensors).filter((name) => /^down\.\d+\.conv1\.weight$/.test(name)).length;
  const sideAt = (k) => side >> (k + 1);
  const widthAt = (k) => tensors[`down.${k}.conv1.bias`].shape[0];
  const stem = conv3(...pair("stem"), sideAt(0));
  const head = conv3(...pair("head"), sideAt(0));
  const down = Array.from({ length: depth }, (_, k) => block(pair, `down.${k}`, sideAt(k)));
  const halve = Array.from({ length: depth - 1 }, (_, k) => pixelwise(...pair(`halve.${k}`)));
  const enlarge = Array.from({ length: depth - 1 }, (_, k) => pixelwise(...pair(`enlarge.${k}`)));
  const up = Array.from({ length: depth - 1 }, (_, k) => block(pair, `up.${k}`, sideAt(depth - 2 - k)));

  /** U(u, s), the features, and `back`: (∂f/∂U, ∂f/∂features) -> ∂f/∂u by way of the net. */
  function through(u, s) {
    const e = levelOf(s);
    const way = [down[0](stem.there(folded(u, side, channels)), e)];
    for (let k = 1; k < depth; k++) way.push(down[k](halve[k - 1].there(folded(way[k - 1].out, sideAt(k - 1), widthAt(k - 1))), e));
    let h = way[depth - 1].out;
    const rise = up.map((climb, k) => {
      const at = depth - 2 - k;
      const step = climb(add(unfolded(enlarge[k].there(h), sideAt(at), widthAt(at)), way[at].out), e);
      h = step.out;
      return step;
    });
    const points = unfolded(head.there(h.map(silu)), side, channels);
    const features = way.flatMap(({ out }, k) => means(out, widthAt(k)));

    function back(gPoints, gFeatures) {
      let g = times(head.back(folded(gPoints, side, channels)), h);
      const beside = Array(depth);
      for (let k = depth - 2; k >= 0; k--) {
        const at = depth - 2 - k;
        beside[at] = g = rise[k].back(g);
        g = enlarge[k].back(folded(g, sideAt(at), widthAt(at)));
      }
      let seen = gFeatures.length;
      for (let k = depth - 1; k >= 0; k--) {
        if (beside[k]) add(g, beside[k]);
        seen -= widthAt(k);
        addMeans(g, way[k].out, gFeatures.slice(seen, seen + widthAt(k)));
        g = way[k].back(g);
        if (k) g = unfolded(halve[k - 1].back(g), sideAt(k - 1), widthAt(k - 1));
      }
      return unfolded(stem.back(g), side, channels);
    }
    return { points, features, back };
  }
  return through;
}

/** s -> e, remembered: chains of a level share it. */
function level(frequencies, first, second) {
  const known = new Map();
  return (s) => {
    if (!known.has(s)) {
      const phase = [...frequencies].map((k) => k * Math.log(s));
      known.set(s, second(first(Float64Array.from([...phase.map(Math.sin), ...phase.map(Math.cos)])).map(silu)).map(silu));
    }
    return known.get(s);
  };
}

/** (h, e) -> {out, back}. */
function block(pair, name, side) {
  const [conv1, conv2] = [conv3(...pair(`${name}.conv1`), side), conv3(...pair(`${name}.conv2`), side)];
  const modulate = linear(...pair(`${name}.modulate`));
  return (h, e) => {
    const both = modulate(e);
    const width = both.length / 2;
    const inner = conv1.there(h.map(silu));
    for (let k = 0; k < inner.length; k++) inner[k] = (1 + both[k % width]) * inner[k] + both[width + (k % width)];
    const out = add(conv2.there(inner.map(silu)), h);
    const back = (g) => {
      const gInner = times(conv2.back(g), inner);
      for (let k = 0; k < gInner.length; k++) gInner[k] *= 1 + both[k % width];
      return add(times(conv1.back(gInner), h), g);
    };
    return { out, back };
  };
}

/** g σ'(h), in g. */
function times(g, h) {
  for (let k = 0; k < g.length; k++) g[k] *= dSilu(h[k]);
  return g;
}

/** The mean over pixels of σ(h), for each channel. */
function means(h, width) {
  const sums = Array(width).fill(0);
  h.forEach((v, k) => (sums[k % width] += silu(v)));
  return sums.map((sum) => (sum * width) / h.length);
}

function addMeans(g, h, weights) {
  const share = weights.length / h.length;
  for (let k = 0; k < g.length; k++) g[k] += share * weights[k % weights.length] * dSilu(h[k]);
}
