"""The model of a run: loaded, exported, described and shared."""
