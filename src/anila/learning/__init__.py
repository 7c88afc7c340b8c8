"""Learning moves f towards data."""
