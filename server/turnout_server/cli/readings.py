"""What a gateway's metrics port says, as values: one scrape is one `Reading`."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from turnout_server.config import parse_address
from turnout_server.vocabulary.errors import ConfigurationError

_TIMEOUT_S = 3.0
_MOST = 256 * 1024 * 1024
"""No gateway's metrics are longer, in bytes."""

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


class UnreadableError(Exception):
    """There are no metrics to be had; the message says why."""


class Served(NamedTuple):
    """Who answers."""

    route: str
    """Empty for requests that name a model."""
    target: str
    model: str
    version: str


class Version(NamedTuple):
    """One version of a model."""

    model: str
    version: str


Buckets = tuple[tuple[float, float], ...]
"""Upper bounds in seconds, ascending, and how many observations there were up to each."""


class Reading(msgspec.Struct, frozen=True):
    """One look at a gateway. Everything but the gauges counts from the start of its process."""

    at: float
    """When, in seconds of a monotonic clock."""
    started: float = 0.0
    """When the process started, in seconds since 1970; another one is another process."""
    release: str = ""
    cpu_s: float = 0.0
    memory: float = 0.0
    """Bytes."""
    in_flight: float = 0.0
    requests: Mapping[Served, Mapping[str, float]] = {}
    """By code. Without a target are those that were refused."""
    durations: Mapping[Served, Buckets] = {}
    waits: Mapping[Version, Buckets] = {}
    queue_rows: Mapping[Version, float] = {}
    states: Mapping[Version, str] = {}
    loads: Mapping[tuple[str, str], float] = {}
    """Loads that ended, by model and outcome."""


def parse(text: str, at: float) -> Reading:
    """Return what Prometheus *text* says that was read at *at*; what it does not say is empty."""
    requests: dict[Served, dict[str, float]] = {}
    durations: dict[Served, dict[float, float]] = {}
    waits: dict[Version, dict[float, float]] = {}
    rows: dict[Version, float] = {}
    states: dict[Version, str] = {}
    loads: dict[tuple[str, str], float] = {}
    numbers: dict[str, float] = {}
    release = ""
    for name, labels, value in _samples(text):
        served = Served(*(labels.get(field, "") for field in Served._fields))
        version = Version(served.model, served.version)
        match name:
            case "turnout_requests_total":
                codes = requests.setdefault(served, {})
                code = labels.get("code", "")
                codes[code] = codes.get(code, 0.0) + value  # of all reasons
            case "turnout_request_duration_seconds_bucket":
                durations.setdefault(served, {})[float(labels["le"])] = value
            case "turnout_queue_duration_seconds_bucket":
                waits.setdefault(version, {})[float(labels["le"])] = value
            case "turnout_queue_rows":
                rows[version] = value
            case "turnout_model_state":
                states[version] = labels.get("state", "")
            case "turnout_model_loads_total":
                loads[served.model, labels.get("outcome", "")] = value
            case "turnout_build_info":
                release = labels.get("version", "")
            case _:
                numbers[name] = value
    return Reading(
        at=at,
        started=numbers.get("process_start_time_seconds", 0.0),
        release=release,
        cpu_s=numbers.get("process_cpu_seconds_total", 0.0),
        memory=numbers.get("process_resident_memory_bytes", 0.0),
        in_flight=numbers.get("turnout_requests_in_flight", 0.0),
        requests=requests,
        durations={key: tuple(sorted(found.items())) for key, found in durations.items()},
        waits={key: tuple(sorted(found.items())) for key, found in waits.items()},
        queue_rows=rows,
        states=states,
        loads=loads,
    )


_WANTED = (
    "turnout_requests_",
    "turnout_request_duration_seconds_bucket",
    "turnout_queue_",
    "turnout_model_",
    "turnout_build_info",
    "process_",
)


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if not line.startswith(_WANTED) or (found := _SAMPLE.match(line)) is None:
            continue
        name, labels, value = found.groups()
        try:
            yield name, {key: _unescaped(quoted) for key, quoted in _LABEL.findall(labels or "")}, float(value)
        except ValueError:
            continue


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text) if "\\" in text else text


def address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or of `http://HOST:PORT/metrics`.

    Raises:
        ConfigurationError: it is neither.
    """
    if "://" in text:
        parts = urllib.parse.urlsplit(text)
        if parts.scheme != "http":
            raise ConfigurationError(f"metrics: found {text!r}; the metrics port speaks plain http")
        text = parts.netloc
    return parse_address(text, "metrics")


def fetch(host: str, port: int, timeout_s: float = _TIMEOUT_S) -> str:
    """Return the text of a gateway's metrics port.

    Raises:
        UnreadableError: nothing answers there, or something else than a gateway.
    """
    place = f"http://{host}:{port}/metrics"
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        if answer.status != 200:
            raise UnreadableError(f"{place} answers {answer.status} {answer.reason}")
        body = answer.read(_MOST + 1)
    except TimeoutError:
        raise UnreadableError(f"{place} does not answer within {timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise UnreadableError(f"cannot read {place}: {why}") from error
    finally:
        connection.close()
    if len(body) > _MOST:
        raise UnreadableError(f"{place} answers with more than a gateway's metrics")
    text = body.decode(errors="replace")
    if "turnout_build_info" not in text:
        raise UnreadableError(f"{place} is no gateway's metrics")
    return text
