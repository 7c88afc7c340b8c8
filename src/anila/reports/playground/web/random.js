// Randomness from a seed: the same seed gives the same chains.

/** Uniforms in [0, 1): sfc32 (Doty-Humphrey 2010), seeded by a number. */
export function uniforms(seed) {
  let [a, b, c, d] = [seed | 0, 0x9e3779b9, 0x243f6a88, 1];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  for (let k = 0; k < 16; k++) next();
  return next;
}

/** Two independent standard normals (Box & Muller 1958). */
export function normals(random) {
  const r = Math.sqrt(-2 * Math.log(1 - random()));
  const angle = 2 * Math.PI * random();
  return [r * Math.cos(angle), r * Math.sin(angle)];
}

/** Everything random about one step of one chain, whatever its kernel. */
export const drawNoise = (random) => ({
  normal: normals(random),
  uniform: random(),
  sign: [random(), random()],
  jitter: random(),
});
