// Effective sample size of a mean: the independent draws that would estimate it as well as these chains.
//
//     ESS = chains · draws / τ,   τ = −1 + 2 Σ ρ(t) over the initial positive, monotone sequence (Geyer 1992)
//     ρ(t) = 1 − (W − mean autocovariance at t) / var⁺       of chains split in halves (Vehtari et al. 2021, eq. 10)

/** ESS of chains, each an array of as many numbers; null for fewer than 8 draws. */
export function ess(chains) {
  const half = Math.floor(chains[0].length / 2);
  if (half < 4) return null;
  const split = chains.flatMap((x) => [x.slice(0, half), x.slice(-half)]).map(centred);
  const covariance = (lag) => mean(split.map(({ z }) => lagged(z, lag)));
  const within = (covariance(0) * half) / (half - 1);
  const middle = mean(split.map(({ centre }) => centre));
  const between = split.reduce((sum, { centre }) => sum + (centre - middle) ** 2, 0) / (split.length - 1);
  const above = covariance(0) + between;
  if (!(above > 0)) return null;
  const pairs = monotone((t) => 1 - (within - covariance(t)) / above, half);
  const tau = -1 + 2 * pairs.flat().reduce((sum, rho) => sum + rho, 0);
  const draws = split.length * half;
  return draws / Math.max(tau, 1 / Math.log10(draws));
}

/** Pairs ρ(2k), ρ(2k + 1) while their sum is positive, none larger than the one before. */
function monotone(rho, draws) {
  const found = [[1, rho(1)]];
  for (let t = 2; t + 1 < draws - 2; t += 2) {
    const next = [rho(t), rho(t + 1)];
    const [before, now] = [sum(found[found.length - 1]), sum(next)];
    if (!(now > 0)) break;
    found.push(now > before ? [before / 2, before / 2] : next);
  }
  return found;
}

function centred(x) {
  const centre = mean(x);
  return { centre, z: x.map((v) => v - centre) };
}

function lagged(z, lag) {
  let total = 0;
  for (let k = lag; k < z.length; k++) total += z[k] * z[k - lag];
  return total / z.length;
}

const sum = ([a, b]) => a + b;
const mean = (x) => x.reduce((a, b) => a + b, 0) / x.length;
