// A kernel moves one chain: (point, noise) -> {next, proposed, prob}. A point is {x, value, grad}: all that is remembered.

/** [g(0), g(1)]: a formula for both coordinates. */
export const pair = (g) => [g(0), g(1)];

/** The point at x, with f and ∇f there. */
export const at = (f, x) => ({ x, ...f(x) });

export const isFinite2 = ([a, b]) => Number.isFinite(a) && Number.isFinite(b);

/** The step of a kernel that always moves. */
export const move = (proposed) => ({ next: proposed, proposed, prob: 1 });

/** Metropolis: take the proposal with probability min(1, exp logRatio); what is not finite is a rejection. */
export function accept(z, proposed, logRatio, uniform) {
  const finite = Number.isFinite(logRatio) && isFinite2(proposed.grad);
  const prob = finite ? Math.exp(Math.min(0, logRatio)) : 0;
  return { next: uniform < prob ? proposed : z, proposed, prob };
}
