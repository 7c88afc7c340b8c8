// What the numbers and settings of an image page mean.

export const WORDS = {
  "noise s": "how much noise the chains still have. They go down to the last level, where images are nearly clean",
  "mean f": "how likely the network finds the images at this noise level, as a logarithm up to a constant. Compare it only within one level",
  "noise levels": "how many levels there are from pure noise to images",
  "steps at each level": "how many steps of the sampler chains take before they go down to the next level. More steps take longer and repair mistakes",
  "steps at the last level": "the same, when nearly all noise is gone",
  "steps per level, filling in": "the same, while a hidden part is filled in",
  "step size γ": "how far one of these steps goes",
  "threshold b": "slopes steeper than this make the steps of the anisotropic sampler shrink",
  "temperature T": "above 1 images vary more, below 1 less",
  "guidance w": "how strongly chains are pulled towards images that clearly belong to their class. 0 is the network's own law",
};
