"""`python -m fuzz.guided TARGET [libFuzzer's options]`: atheris tries a target in Python, and sees what it reaches."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["turnout_server", "yaml"], enable_loader_override=False):
    from fuzz import targets


def main(arguments: list[str]) -> None:
    """Hand over to libFuzzer, which ends the process."""
    target = targets.TARGETS[arguments[1]]
    atheris.Setup([arguments[0], *arguments[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
