"""Evaluate networks of many agents at once: parameters by group, batched matrix products."""

MASKED = -1e9
"""Score of a forbidden action: finite, because infinities turn into NaN in softmax gradients."""
