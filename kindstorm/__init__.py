"""The public face: what the author of a scenario imports, the pytest plugin and the command line."""
