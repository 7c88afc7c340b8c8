"""The folder of a run: what it holds, its checkpoints, logs and lock."""
