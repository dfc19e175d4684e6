"""Reproduce the figures of the tandem paper on traces from measured workloads."""
