"""Training an experiment: the loop, and what watches over it."""
