"""One engine for all studies: units that are computed once, one frame of rows, tables, figures."""
