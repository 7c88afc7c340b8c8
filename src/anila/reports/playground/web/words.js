// What the page says: the stories that open it, and the one sentence under each picture.

import { SAMPLERS } from "./samplers.js";

/** Each story is a state to start from, a title and what there is to see. */
export const STORIES = {
  steep: {
    title: "Survive steep walls",
    text:
      "Both sides have the same start and the same noise. On the left every step has the same size. " +
      "On a steep wall it overshoots, lands where the wall is steeper still, and the chain flies off. " +
      "On the right steps shrink on steep walls, and every chain stays.",
    state: { target: "rings", left: "langevin", right: "anisotropic", step_size: 0.3, threshold: 3, speed: 8, show: "landscape" },
  },
  bias: {
    title: "See the bias",
    text:
      "Shrinking steps have a price: a chain that takes short steps on a slope stays there longer. " +
      "So the chains on the left crowd on the slopes and leave the top, although the top is likeliest. " +
      "On the right each step can be rejected, by a rule that makes the chains follow the exact law.",
    state: { target: "gaussian", left: "anisotropic", right: "anisotropic_mala", step_size: 0.5, threshold: 0.4, speed: 60, show: "law" },
  },
  neck: {
    title: "Enter a narrow neck",
    text:
      "The funnel is wide at the top and thin as a needle at the bottom. Steps that suit the top are rejected in the neck. " +
      "Steps that shrink on steep walls reach further down with the same settings.",
    state: { target: "funnel", left: "mala", right: "anisotropic_mala", step_size: 1, threshold: 1.5, speed: 60, show: "landscape" },
  },
  hills: {
    title: "Cross a valley",
    text:
      "There are eight hills with deep valleys between them. Click a picture: all chains start there, and few ever cross. " +
      "Raise the temperature and more of them cross, but then they follow a different law.",
    state: { target: "mixture", left: "anisotropic_mala", right: "hmc", step_size: 0.02, threshold: 8, speed: 60, show: "landscape" },
  },
  yours: {
    title: "Draw your own law",
    text:
      "Drag over a picture to scatter points. They become a landscape at once, and chains move on it. " +
      "Then train a small network on your points and slide through its training.",
    state: { target: "yours", left: "langevin", right: "anisotropic_mala", step_size: 0.05, threshold: 4, speed: 30, show: "landscape" },
  },
};

const FREE = "Both sides have the same start and the same noise. Change one thing at a time and watch both pictures.";

/** What the page was made for. */
const OWN = {
  run: "The landscape is what the run has learned. Small grey dots are its data.",
  density: "The landscape is your own log-density.",
  points: "Each of your points, a small grey dot, gets a bump. The density is the sum of the bumps.",
};

/** The story that a state still tells: none once its law or a kernel is another. */
export function toldBy(state) {
  const { target, left, right } = STORIES[state.story].state;
  return target === state.target && left === state.left && right === state.right ? state.story : null;
}

/** What there is to see in a state. `kind` is what the page was made for, if anything. */
export const textOf = (state, kind) =>
  toldBy(state) ? STORIES[state.story].text : state.target === "own" ? `${OWN[kind]} ${FREE}` : FREE;

/** A run, a density or points, as the page's subject has them. */
export const kindOf = ({ grid, points }) => (!grid ? "points" : points ? "run" : "density");

const MOVES = {
  langevin: "Every step has the same size. It follows the slope and adds noise. Watch the steep places.",
  anisotropic: "Steps shrink on steep ground, so no chain is thrown out. But the chains crowd on the slopes, more than the law allows.",
  mala: "A step that lands badly is rejected, which keeps the law exact. On steep ground most steps are rejected, and chains stand still.",
  anisotropic_mala: "Steps shrink on steep ground, and a rejection now and then removes the bias: the chains follow the exact law.",
  barker: "The noise leans uphill, but a step is never longer than its noise, however steep the ground. Rejections keep the law exact.",
  hmc: "Each chain rolls over the landscape for some leapfrog steps, then the move is accepted or rejected. Watch how far one move goes.",
};

const held = (steps) =>
  `Each chain computes its step size only every ${steps} steps. In between, the size belongs to an earlier place, so not even rejections make the law exact.`;

/** The sentence under a picture of chains. */
export function whatToSee({ chains, refresh, ...state }, side, gone) {
  if (!gone) return refresh > 1 && SAMPLERS[state[side]].clips ? held(refresh) : MOVES[state[side]];
  const who = gone === chains ? "All chains flew off" : `${gone} of ${chains} chains flew off`;
  return `${who}: one step overshoots, and the next overshoots further. Reduce the step size and restart.`;
}

/** The numbers under a picture. */
export const NUMBERS = {
  accepted: "the share of proposed steps that are accepted. A sampler that rejects nothing takes them all",
  clipped: "the share of slopes that are steeper than the threshold b, so that steps along them shrink",
  ESS: "effective sample size: how many independent draws would tell as much as the last 300 steps of all chains",
  "KL, nats": "how far the histogram of the chains is from the exact law: 0 if they are the same, 0.01 is hardly visible, 1 is a different law",
  "flown off": "how many chains are far outside the picture",
};

/** Settings, as sliders name them. */
export const SETTINGS = {
  "step size γ": "how far a step goes: its noise has variance γ, and its drift is γ / 2 times the slope",
  "threshold b": "slopes steeper than this make the steps of an anisotropic sampler shrink",
  "temperature T": "above 1 chains also visit less likely places, below 1 they stay near the tops",
  "refresh γ": "for how many steps an anisotropic chain keeps its step size before it computes it again",
  "leapfrog steps": "how many small steps make up one move of the Hamiltonian sampler",
};

/** Backgrounds. */
export const SHOWS = {
  landscape: "landscape −f",
  exact: "exact law",
  law: "law of each kernel",
  visited: "where chains were",
};
