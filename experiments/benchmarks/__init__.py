"""Measure speed and memory in one run, as ratios where the machine would affect the numbers."""
