"""One question to a gateway, by hand: is it serving?

A container asks this every few seconds, for ever. To import gRPC takes a fourth of a second of the processor, and typer
with what commands share as much again; the question is two frames out and four in. So it is asked over a plain socket,
with nothing but the standard library. What comes up seldom is not known here and is left to a real client, at its
price: names that have to be resolved, proxies, calls that end with an error.
"""

from __future__ import annotations

import os
import socket
import sys
import time

DEFAULT_TARGET = "127.0.0.1:8001"
DEFAULT_TIMEOUT_S = 3.0
SERVING = "SERVING"
_STATUSES = {0: "UNKNOWN", 1: SERVING, 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_WHY_NUMBER = 1000
"""Of the field that `turnout_server.rpc.standard` adds."""
_MOST_BYTES = 1 << 18
"""Of a whole conversation: what is longer is no answer to this question."""
_MOST_FRAME_BYTES = 1 << 14
_LONGEST_TEXT = 126
"""Bytes of a text whose length HPACK has in one byte."""
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")

Answer = tuple[str, str]
"""A status, and why it is what it is."""


class NoAnswerError(Exception):
    """Nobody answers at the target, or not in time."""


# ---------------------------------------------------------------- asking


def ask(
    target: str, service: str = "", timeout_s: float = DEFAULT_TIMEOUT_S, *, any_name: bool = False
) -> Answer | None:
    """Return what a gateway says of its own health, or of a service's; None where a real client has to ask.

    Args:
        target: HOST:PORT.
        service: a service's full name, or `route/NAME`; empty for the whole gateway.
        timeout_s: how long that may take, in seconds.
        any_name: whether the host may be a name that has to be resolved, however long that takes.

    Raises:
        NoAnswerError: there is none, or not in time.
    """
    place = _place(target, any_name)
    if place is None:
        return None
    ends, sent = time.monotonic() + timeout_s, request(target, service, timeout_s)
    try:
        with socket.create_connection(place, timeout_s) as connection:
            connection.sendall(sent)
            return _read(connection, ends)
    except TimeoutError as error:
        raise NoAnswerError(f"{target}: no answer within {timeout_s:g} s (DEADLINE_EXCEEDED)") from error
    except OSError as error:
        raise NoAnswerError(f"{target}: {error.strerror or error} (UNAVAILABLE)") from error


def _place(target: str, any_name: bool = False) -> tuple[str, int] | None:
    """Return host and port; None where they take more than a look: a name may be anybody's, and may hang."""
    if len(target.encode()) > _LONGEST_TEXT:
        return None
    host, _, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    if host == "localhost":
        return host, int(port)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            first = socket.inet_pton(family, host)[0]
        except (OSError, ValueError):
            continue
        is_here = host == "::1" or (family == socket.AF_INET and first == 127)
        return (host, int(port)) if is_here or not _proxied() else None
    return (host, int(port)) if any_name and host and "/" not in host and not _proxied() else None


def _proxied() -> bool:
    return any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES)


def _read(connection: socket.socket, ends: float) -> Answer | None:
    received = bytearray()
    while len(received) < _MOST_BYTES:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(4096)
        if not more:
            return None
        received += more
        is_over, message = answer_in(received)
        if is_over:
            return None if message is None else _decoded(message)
    return None


# ---------------------------------------------------------------- HTTP/2


def request(target: str, service: str, timeout_s: float) -> bytes:
    """Return all that is sent: the preface, settings without a header table, and the call's headers and message."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    headers = b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http; what follows is never indexed, and never packed
            b"\x04" + _text("/grpc.health.v1.Health/Check"),
            b"\x01" + _text(target),
            b"\x0f\x10" + _text("application/grpc"),
            b"\x00" + _text("te") + _text("trailers"),
            b"\x00" + _text("grpc-timeout") + _text(f"{max(1, min(99_999_999, round(timeout_s * 1000)))}m"),
        )
    )
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b"\x00\x01\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00"),
            _frame(_SETTINGS, _ACK, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, headers),
            _frame(_DATA, _END_STREAM, 1, b"\x00" + len(message).to_bytes(4, "big") + message),
        )
    )


def answer_in(received: bytes | bytearray) -> tuple[bool, bytes | None]:
    """Look for the call's end in all that was received.

    Returns:
        Whether nothing more is worth waiting for, and the answer's message; None where there is none.
    """
    data, start = b"", 0
    while len(received) >= start + 9:
        size, kind, flags = int.from_bytes(received[start : start + 3], "big"), received[start + 3], received[start + 4]
        stream = int.from_bytes(received[start + 5 : start + 9], "big") & 0x7FFFFFFF
        start += 9
        if size > _MOST_FRAME_BYTES or kind in (_RST_STREAM, _GOAWAY):
            return True, None
        if len(received) < start + size:
            break
        if stream == 1 and kind in (_DATA, _HEADERS):
            if kind == _DATA:
                if flags & _PADDED:
                    return True, None
                data += received[start : start + size]
            if flags & _END_STREAM:
                is_whole = len(data) >= 5 and data[0] == 0 and int.from_bytes(data[1:5], "big") == len(data) - 5
                return True, data[5:] if is_whole else None
        start += size
    return False, None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    """Return a string as HPACK has it, whose length fits seven bits, as all of ours do."""
    return bytes((len(text),)) + text.encode()


# ---------------------------------------------------------------- protobuf


def _decoded(message: bytes) -> Answer | None:
    """Read a HealthCheckResponse; None for what is none."""
    status, why, start = 0, "", 0
    try:
        while start < len(message):
            tag, start = _number(message, start)
            value, start = _number(message, start)
            if tag == 1 << 3:
                status = value
            elif tag & 7 == 2:
                if tag >> 3 == _WHY_NUMBER:
                    why = message[start : start + value].decode(errors="replace")
                start += value
            elif tag & 7:
                return None
    except IndexError:
        return None
    return _STATUSES.get(status, str(status)), why


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _number(message: bytes, start: int) -> tuple[int, int]:
    """Read a varint; return it, and where it ends."""
    number = shift = 0
    while True:
        byte = message[start]
        start += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, start
        shift += 7


# ---------------------------------------------------------------- the command


def told(answer: Answer) -> str:
    """Return an answer as a line for people, without what moves a terminal's cursor."""
    status, why = answer
    text = f"{status}: {why}" if why else status
    return "".join(character if character.isprintable() else " " for character in text)


def quickly(arguments: list[str]) -> int | None:
    """Run `turnout health` with these arguments, and return its exit code.

    None, where nothing was printed: the command line itself has to look, for help, mistakes, and what is unusual.
    """
    values = {"--target": os.environ.get("TURNOUT_TARGET") or DEFAULT_TARGET, "--service": "", "--timeout": ""}
    as_json, rest = False, list(arguments)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        option = "--target" if option == "-t" and not equals else option
        if option == "--json" and not equals:
            as_json = True
        elif option in values and (equals or rest):
            values[option] = value if equals else rest.pop(0)
        else:
            return None
    try:
        timeout_s = float(values["--timeout"] or DEFAULT_TIMEOUT_S)
        if not 0.001 <= timeout_s < 1e6:
            return None
        answer = ask(values["--target"], values["--service"], timeout_s)
    except ValueError:  # no number, or no UTF-8
        return None
    except NoAnswerError as error:
        print(f"turnout: error: {error}", file=sys.stderr)
        return 1
    if answer is None:
        return None
    if as_json:
        import json

        status, why = answer
        document = {"target": values["--target"], "service": values["--service"], "status": status, "why": why}
        print(json.dumps(document, indent=2))
    else:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(told(answer))
    return 0 if answer[0] == SERVING else 1
