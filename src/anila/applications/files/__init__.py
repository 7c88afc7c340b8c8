"""Applications on people's files: what comes in, what goes out."""
