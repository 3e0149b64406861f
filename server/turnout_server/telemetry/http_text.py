"""What is said in HTTP/1.1, as the server of metrics reads and writes it: requests without bodies, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Request(NamedTuple):
    """What somebody asks for."""

    path: str
    query: str
    headers: Mapping[str, str]
    """By lower-case names."""


class Answer(NamedTuple):
    """What they get."""

    status: str
    """Such as `200 OK`."""
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Asked(NamedTuple):
    """A request's head, as it was read."""

    request: Request | None
    """None for what is no request."""
    is_last: bool
    """Whether its sender wants no other."""
    method: str


NOTHING = Asked(None, True, "")
"""What is no request."""


def plain(status: str) -> Answer:
    """Return an answer that says no more than its status."""
    return Answer(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{status}\n".encode())


def parsed(head: bytes) -> Asked:
    """Read a request's *head*."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return NOTHING
    method, target, version = words
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    path, _, query = target.partition("?")
    wish = headers.get("connection", "").lower()
    is_last = wish == "close" or (version == "HTTP/1.0" and wish != "keep-alive")
    return Asked(Request(path, query, headers), is_last, method)


def text_of(answer: Answer, *, is_last: bool, head_only: bool) -> bytes:
    """Return *answer* as it is sent.

    Args:
        answer: what is said.
        is_last: whether the connection is closed then.
        head_only: whether the body is left out, as where only the head was asked for.
    """
    fields = [*answer.headers, ("Content-Length", str(len(answer.body)))]
    if is_last:
        fields.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status}", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + answer.body
