"""Models: the built-in expert, scripts for tests, and any smolagents model, by one name."""
