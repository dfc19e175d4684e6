"""Reproduce the FAuNO paper's main tables, and go beyond them."""
