"""What a run's model is used for: `anila.applications` on a trained f, its sampler, and the files people have."""
