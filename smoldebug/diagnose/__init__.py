"""Diagnosis without a model: rules over typed evidence, and the expert that drives them."""
