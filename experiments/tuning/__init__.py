"""Search for good options of an algorithm, as ``edge-marl tune`` does."""
