"""Which release of Turnout this is."""

from importlib import metadata


def release() -> str:
    """Return the installed distribution's version; `0+unknown` when it runs from a tree that is not installed."""
    try:
        return metadata.version("turnout")
    except metadata.PackageNotFoundError:
        return "0+unknown"
