"""A practice forge: shaped like GitHub Enterprise, over real bare repositories, loopback only."""
