"""Reproduce the SCALE paper: placing workflows on clusters of any size."""
