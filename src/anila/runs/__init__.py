"""Runs: settings become a run, training fills its folder, and a model comes back out of it."""
