"""How good samples, chains, training and likelihoods are, and pictures of them."""
