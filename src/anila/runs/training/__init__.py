"""Training an experiment: the loop, the checks before it, and the guard that watches it."""
