"""Drive peers in benchmarks that are run from a checkout; the wheel leaves this package out."""
