"""Log-densities: what f is, how it is differentiated, known targets, networks."""
