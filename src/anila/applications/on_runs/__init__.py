"""Applications with a run's f and its sampler: filled-in images and tables, outliers, classes."""
