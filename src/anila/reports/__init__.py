"""What a person reads: scores, diagnoses, long runs, comparisons, the papers' experiments."""
