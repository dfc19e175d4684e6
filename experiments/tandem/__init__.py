"""The studies of the tandem paper: its figures redone on traces from measured workloads."""
