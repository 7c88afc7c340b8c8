// The thread in which a net's chains walk, so that the page stays awake. It is told the net, then to begin walks, then whose turn it is;
// each turn it answers with where that chain stands now.

import { filled, sampled } from "./descent.js";
import { opened } from "./halves.js";
import { noisy } from "./noisy.js";
import { uniforms } from "./random.js";

let f = null;
let steps = [];

const tasks = {
  net: (net) => (f = noisy({ ...net, tensors: opened(net.tensors) })),
  walk: ({ state, y, picture, hidden }) => {
    const make = (random) => (picture ? filled(f, state, y, picture, hidden, random) : sampled(f, state, y, random));
    steps = Array.from({ length: state.chains }, (_, k) => make(uniforms(1000 * state.seed + k)));
  },
  turn: ({ walk, k }) => postMessage({ walk, k, ...steps[k].next() }),
};

addEventListener("message", ({ data: { task, given } }) => tasks[task](given));
