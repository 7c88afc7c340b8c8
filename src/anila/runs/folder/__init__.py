"""The folder of a run: what it holds, checkpoints, logs and the lock."""
