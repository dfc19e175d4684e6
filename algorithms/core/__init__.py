"""This package holds what all algorithms share: configuration, module, learner, algorithm."""
