// All that the page shows is a function of its state, and the state is the end of its URL: a link opens in place.

export const DEFAULTS = {
  story: "steep",
  target: "rings",
  left: "langevin",
  right: "anisotropic",
  step_size: 0.3,
  threshold: 3,
  temperature: 1,
  refresh: 1,
  leapfrog_steps: 10,
  chains: 400,
  seed: 0,
  speed: 8,
  show: "landscape",
  points: "",
  objective: "denoising",
};

/** Limits of what is typed or slid; all but whole numbers slide by their logarithm. */
export const RANGES = {
  step_size: { low: 0.001, high: 4 },
  threshold: { low: 0.05, high: 50 },
  temperature: { low: 0.05, high: 10 },
  refresh: { low: 1, high: 50, whole: true },
  leapfrog_steps: { low: 1, high: 50, whole: true },
  chains: { low: 1, high: 2000, whole: true },
  speed: { low: 0.5, high: 500 },
  seed: { low: 0, high: 1e6, whole: true },
};

/** The state that a URL's end spells; what is unknown, or out of range, is as by default. */
export function parseState(hash, choices, defaults = DEFAULTS, ranges = RANGES) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const known = [...given].filter(([key, value]) => key in defaults && isValid(key, value, choices, ranges));
  return Object.fromEntries(known.map(([key, value]) => [key, key in ranges ? Number(value) : value]));
}

function isValid(key, value, choices, ranges) {
  if (key in ranges) return value !== "" && Number(value) >= ranges[key].low && Number(value) <= ranges[key].high;
  return !(key in choices) || choices[key].includes(value);
}

/** The end of the URL that spells a state. */
export const formatState = (state) =>
  "#" + new URLSearchParams(Object.entries(state).filter(([, value]) => value !== "")).toString();
