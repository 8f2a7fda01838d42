"""A loaded machine is no failing test: property-based tests measure no time."""

from hypothesis import settings

settings.register_profile("smoldebug", deadline=None)
settings.load_profile("smoldebug")
