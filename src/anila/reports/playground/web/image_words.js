// What the numbers and settings of an image page mean.

export const WORDS = {
  "noise s": "how much noise there still is in the chains. They come down to the last level, where images are nearly clean",
  "mean f": "how likely the network finds the images at this level of noise, as a logarithm up to a constant. Compare it at one level only",
  "levels of noise": "how many steps down there are from pure noise to images",
  "steps at each level": "how many steps of the sampler chains take before they go down. More of them cost time and mend mistakes",
  "steps at the last level": "the same, once nearly all noise is gone",
  "steps a level, filling in": "the same, while a hidden part is drawn",
  "step size γ": "how far one of these steps goes",
  "threshold b": "a slope steeper than this makes the step of the anisotropic sampler shrink",
  "temperature T": "above 1 images vary more, below 1 less",
  "guidance w": "how strongly chains are pulled to what is surely of their class. 0 is the network's own law",
};
