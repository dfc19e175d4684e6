"""Evaluate checkpoints: ``edge-marl evaluate``."""
