// The step γ of each coordinate as a function of the gradient there: constant, or shrinking where it is steep.

import { pair } from "./kernel.js";

/** γ = step_size. */
export const constant = (step_size) => () => [step_size, step_size];

/** γ = step_size · b / max(b, |∂f|). */
export const clipped = (b, step_size) => (grad) => pair((i) => (step_size * b) / Math.max(b, Math.abs(grad[i])));
