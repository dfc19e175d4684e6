"""A system of another package: jobs are sent to the server that is done with them first."""
