"""Reproduce the O2O-DRL paper: ``edge-marl reproduce o2o-drl``."""
