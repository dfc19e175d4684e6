"""The study of SCALE: placing workflows on clusters of any size."""
