// What an image page shows is a function of this state and of a brush. It is the end of the page's URL.

export const DEFAULTS = {
  label: "any",
  sampler: "langevin",
  chains: 6,
  levels: 24,
  level_steps: 1,
  steps: 10,
  step_size: 0.003,
  threshold: 1,
  temperature: 1,
  guidance: 1,
  fill_steps: 16,
  brush: 3,
  speed: 12,
  show: "mean",
  film: "0",
  seed: 0,
};

export const RANGES = {
  chains: { low: 1, high: 12, whole: true },
  levels: { low: 2, high: 60, whole: true },
  level_steps: { low: 0, high: 10, whole: true },
  steps: { low: 0, high: 100, whole: true },
  step_size: { low: 0.0001, high: 0.1 },
  threshold: { low: 0.01, high: 100 },
  temperature: { low: 0.05, high: 10 },
  guidance: { low: 0, high: 10, grain: 0.1 },
  fill_steps: { low: 0, high: 40, whole: true },
  brush: { low: 1, high: 8, whole: true },
  speed: { low: 1, high: 40, whole: true },
  seed: { low: 0, high: 1e6, whole: true },
};
