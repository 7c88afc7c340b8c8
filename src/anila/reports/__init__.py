"""What a person reads: scores, diagnoses, comparisons, and the papers' experiments."""
