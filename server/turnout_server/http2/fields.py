"""Header fields: decompression (RFC 7541), and which fields are well-formed (RFC 9113, section 8.2.1).

`hpack` has the tables. The decoding is done here, because it is a large part of what a small call costs: a block that
was seen before is not decoded again, and a field in the table is checked and turned into text once, when it comes in.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, NoReturn, TypeVar

from hpack.table import HeaderTable

from turnout_server.http2 import huffman
from turnout_server.http2.codes import ConnectionFailure, ErrorCode

Made = TypeVar("Made")

TABLE_SIZE = 4096
"""What we let a peer use of our memory for its table, in bytes, as RFC 7541 counts them (section 4.1)."""
_OVERHEAD = 32
_MEMO = 64
"""Blocks remembered at most."""
_MEMO_BLOCK = 1024
"""Bytes of the longest block that is remembered."""
_LONGEST_INTEGER = 5
"""Bytes; what is longer than a 32-bit number needs is a try to waste our time."""

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")


class Field(NamedTuple):
    """One field, as text. A malformed one has no name; which it was does not matter."""

    name: str
    value: str


MALFORMED = Field("", "")


def field_of(name: bytes, value: bytes) -> Field:
    """Return a field as text, or `MALFORMED`. Values that are not UTF-8 are read as Latin-1."""
    if _NAME.fullmatch(name) is None or _BAD_VALUE.search(value) is not None:
        return MALFORMED
    try:
        return Field(name.decode("ascii"), value.decode())
    except UnicodeDecodeError:
        return Field(name.decode("ascii"), value.decode("latin-1"))


class _Entry(NamedTuple):
    """A field in a table."""

    field: Field
    raw_name: bytes
    size: int


def _entry(name: bytes, value: bytes) -> _Entry:
    return _Entry(field_of(name, value), name, len(name) + len(value) + _OVERHEAD)


_STATIC = tuple(_entry(name, value) for name, value in HeaderTable.STATIC_TABLE)


class FieldDecoder(Generic[Made]):
    """Decodes the blocks of one connection, in the order in which they come."""

    __slots__ = ("_build", "_changed", "_dynamic", "_limit", "_maxsize", "_memo", "_size")

    def __init__(self, build: Callable[[list[Field]], Made], limit: int) -> None:
        """Make a decoder with an empty table.

        Args:
            build: makes of a block's fields what is wanted of them; what it returns may be shared by equal blocks.
            limit: how large a list of fields may be, in bytes, as SETTINGS_MAX_HEADER_LIST_SIZE counts them.
        """
        self._build = build
        self._limit = limit
        self._dynamic: deque[_Entry] = deque()
        self._size = 0
        self._maxsize = TABLE_SIZE
        self._memo: dict[bytes, Made] = {}
        self._changed = False

    def decode(self, block: bytes) -> Made | None:
        """Return what *block* was made into; None when it has more fields than is allowed.

        Raises:
            ConnectionFailure: the block is not valid, and the table can no longer be trusted; or it is a bomb.
            Exception: what the builder raised; the table is in order.
        """
        made = self._memo.get(block)
        if made is not None:
            return made
        fields = self.fields(block)
        if fields is None:
            return None
        made = self._build(fields)
        if not self._changed and len(block) <= _MEMO_BLOCK:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            self._memo[block] = made
        return made

    def fields(self, block: bytes) -> list[Field] | None:
        """Return the fields of *block*; None when it has more than is allowed.

        A block that nobody wants is to be decoded too, for what it does to the table.

        Raises:
            ConnectionFailure: as for `decode`.
        """
        self._changed = False
        fields = self._fields(block)
        if self._changed:
            self._memo.clear()  # the same bytes mean something else now
        return fields

    def _fields(self, block: bytes) -> list[Field] | None:
        fields: list[Field] = []
        size = at = 0
        end = len(block)
        static, dynamic = _STATIC, self._dynamic
        try:
            while at < end:
                first = block[at]
                if first >= 0x80:  # an indexed field (section 6.1)
                    if first < 0xFF:
                        index, at = first & 0x7F, at + 1
                    else:
                        index, at = _integer(block, at, 0x7F)
                    entry = static[index - 1] if 0 < index <= 61 else dynamic[index - 62] if index else _no_entry()
                elif first & 0xE0 == 0x20:  # a new size for the table (section 6.3)
                    if size:
                        _broken("a table size after a field")
                    new_size, at = _integer(block, at, 0x1F)
                    self._resize(new_size)
                    continue
                else:  # a literal, to be put into the table or not (section 6.2)
                    entry, at = self._literal(block, at, 0x3F if first & 0x40 else 0x0F)
                    if first & 0x40:
                        self._insert(entry)
                size += entry.size
                if size <= self._limit:
                    fields.append(entry.field)
                elif size > 8 * self._limit:
                    raise ConnectionFailure(ErrorCode.ENHANCE_YOUR_CALM, "a bomb of header fields")
        except IndexError:
            _broken("it ends too early, or names an entry that is not there")
        return fields if size <= self._limit else None

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[_Entry, int]:
        index = block[at] & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        else:
            at += 1
        if index:
            entry = _STATIC[index - 1] if index <= 61 else self._dynamic[index - 62]
            name = entry.raw_name
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return _entry(name, value), at

    # ------------------------------------------------------------ the table (section 4)

    def _insert(self, entry: _Entry) -> None:
        self._changed = True
        self._dynamic.appendleft(entry)
        self._size += entry.size
        self._evict()

    def _resize(self, size: int) -> None:
        if size > TABLE_SIZE:
            _broken(f"a table of {size} bytes; {TABLE_SIZE} are allowed")
        self._changed = True
        self._maxsize = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._maxsize:
            self._size -= self._dynamic.pop().size


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Return the integer at *at*, whose first byte has the bits of *mask* for it (section 5.1), and where it ends."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 7 * _LONGEST_INTEGER, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return _broken("an integer that is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return the string at *at* (section 5.2), and where it ends."""
    first = block[at]
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    else:
        at += 1
    end = at + length
    text = block[at:end]
    if len(text) != length:
        _broken("a string that is cut off")
    if first >= 0x80:
        decoded = huffman.decode(text)
        if decoded is None:
            _broken("a string that is not Huffman code")
        return decoded, end
    return text, end


def _no_entry() -> NoReturn:
    raise IndexError


def _broken(problem: str) -> NoReturn:
    raise ConnectionFailure(ErrorCode.COMPRESSION_ERROR, f"header block: {problem}")
