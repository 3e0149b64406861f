"""What holds for every test."""

from hypothesis import settings

# Time limits on examples fail on a busy machine, and prove nothing.
settings.register_profile("turnout", deadline=None)
settings.load_profile("turnout")
