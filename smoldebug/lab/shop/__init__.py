"""The shop: small programs that run as pods of the lab. Standard library only."""
