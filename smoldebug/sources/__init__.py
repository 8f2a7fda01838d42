"""One module per outside world. Only these open connections, files of the world, or processes."""
