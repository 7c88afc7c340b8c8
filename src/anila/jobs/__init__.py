"""What a run's model is used for: `anila.apply` on a trained f, its sampler, and the files people have."""
