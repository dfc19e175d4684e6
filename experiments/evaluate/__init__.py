"""Evaluation of checkpoints: ``edge-marl evaluate``."""
