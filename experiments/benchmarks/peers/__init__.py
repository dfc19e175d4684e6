"""Drivers of peers, for benchmarks that are run from a checkout: no part of the wheel."""
