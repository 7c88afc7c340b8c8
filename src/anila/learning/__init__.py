"""Learning moves f towards data: one update of θ, where its chains start, several processes."""
