"""The O2O-DRL study: ``edge-marl reproduce o2o-drl``."""
