"""Networks of many agents at once: parameters by group, evaluation by batched products."""

MASKED = -1e9
"""Score of a forbidden action: finite, because infinities turn into NaN in softmax gradients."""
