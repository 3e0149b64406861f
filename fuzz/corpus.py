r"""The corpus: a few inputs for each target, as text that people can read.

`corpus/TARGET.txt` has an input a line, as Python writes bytes (`\x08\x01price`); lines that begin with `#` say what
comes. `corpus/TARGET/` has files that are inputs as they are. What a fuzzer finds beyond is kept in build/fuzz/, and
not in the repository.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def inputs(target: str) -> list[bytes]:
    """Return the inputs for *target*: where there are none, one that is long enough to make something of."""
    found = []
    lines = FOLDER / f"{target}.txt"
    if lines.exists():
        written = lines.read_text("utf-8").splitlines()
        found += [_bytes(line) for line in written if line and not line.startswith("#")]
    found += [file.read_bytes() for file in sorted((FOLDER / target).glob("*"))]
    return found or [b"".join(hashlib.sha512(bytes([number])).digest() for number in range(8))]


def _bytes(line: str) -> bytes:
    quoted = line.replace("'", "\\'")
    value: bytes = ast.literal_eval(f"b'{quoted}'")
    return value


def lay_out(target: str, folder: Path) -> None:
    """Put the inputs into *folder*, one file each, beside what a fuzzer has found before."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in inputs(target):
        (folder / hashlib.sha1(one, usedforsecurity=False).hexdigest()).write_bytes(one)
