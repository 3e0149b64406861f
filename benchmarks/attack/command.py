"""Attacks a gateway that has the demo store, by each of what `wire` knows, and looks at how its neighbour fares.

The neighbour has called before, and calls a hundred times a second while the attack begins and goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import multiprocessing.synchronize
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2

from benchmarks.attack.wire import ATTACKS, OPENING, Attack, numbered
from benchmarks.memory_group import MemoryGroup, memory_group
from turnout.v1 import pricing_service_pb2 as pricing

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0
PATIENCE_S = 2.0
STALL_S = "0.02"
"""A reactor that is later than this stands still, in seconds as its metric has it."""
WARM_UP = 50
"""Calls of the neighbour's before an attack."""
TIMES, BEYOND_MS = 5, 10.0
"""What the neighbour's p99 may grow to: so many times what it is alone, and so much more."""


class Fared(NamedTuple):
    """How the neighbour fared; latencies in milliseconds."""

    calls: int
    errors: str
    p50: float
    p99: float
    longest: float
    checks: int
    healthy: int

    def holds(self, alone: Fared) -> bool:
        """Say whether that is as well as it has to, beside how it fared *alone*."""
        return self.errors == "0" and self.healthy == self.checks and self.p99 <= TIMES * alone.p99 + BEYOND_MS


def main(arguments: Sequence[str]) -> int:
    """Attack by each of the names. What does not hold stands in the table, and is no failure of the measurement's."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks attack", description="Attack a gateway, and look at its neighbour."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all of: {', '.join(ATTACKS)}")
    parser.add_argument("--data-plane", default="engine", choices=["engine", "python"])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each; 5")
    parser.add_argument("--connections", type=int, help="for every attack, in place of its own number")
    parser.add_argument(
        "--memory-mib", type=int, help="what the gateway may take, in a cgroup of its own; as the machine"
    )
    options = parser.parse_args(arguments)
    names = options.names or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        parser.error(f"no attack is named {', '.join(sorted(unknown))}; there are: {', '.join(ATTACKS)}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        group = None
        if options.memory_mib is not None:
            group = stack.enter_context(memory_group(options.memory_mib << 20))
        gateway, address, metrics = start(options.data_plane, folder / "log", group)
        try:
            attacked_by(names, gateway, address, metrics, options.seconds, options.connections, group)
            return 0
        finally:
            gateway.terminate()
            gateway.wait(60)


def attacked_by(
    names: list[str],
    gateway: subprocess.Popen[bytes],
    address: str,
    metrics: str,
    seconds: float,
    connections: int | None,
    group: MemoryGroup | None = None,
) -> None:
    """Attack by each of the names, and print the table."""
    print(
        line(
            "attack",
            "conns",
            "sent MB",
            "cut off",
            "calls",
            "errors",
            "p50",
            "p99",
            "longest",
            "health",
            "MiB",
            "CPU s",
            "late",
            "holds",
        )
    )
    alone = shown("(nothing)", None, None, gateway, address, metrics, seconds, group)
    for name in names:
        attack = ATTACKS[name]._replace(connections=connections or ATTACKS[name].connections)
        shown(name, attack, alone, gateway, address, metrics, seconds, group)


def line(name: str, *columns: object) -> str:
    """Return a line of the table."""
    return f"{name:34}" + "".join(f"{column!s:>9}" for column in columns)


def start(data_plane: str, log: Path, group: MemoryGroup | None = None) -> tuple[subprocess.Popen[bytes], str, str]:
    """Start a gateway, in a *group* if there is one; return it with its address and that of its metrics."""
    options = {"store": str(ROOT / "model_store"), "listen": "127.0.0.1:0", "metrics": "127.0.0.1:0"}
    command = [sys.executable, "-m", "turnout_server", "serve", "--data-plane", data_plane]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    environment = {**os.environ, "TURNOUT_LOG": "json"}
    gateway = subprocess.Popen(
        command,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
        preexec_fn=None if group is None else group.enter,  # so that nothing of it is outside
    )
    ends = time.monotonic() + 120
    while time.monotonic() < ends and gateway.poll() is None:
        if found := re.search(r"turnout serves .* on (\S+)\s+metrics on http://(\S+)/metrics", log.read_text()):
            return gateway, found[1], found[2]
        time.sleep(0.2)
    gateway.kill()
    raise SystemExit(log.read_text())


def shown(
    name: str,
    attack: Attack | None,
    alone: Fared | None,
    gateway: subprocess.Popen[bytes],
    address: str,
    metrics: str,
    seconds: float,
    group: MemoryGroup | None = None,
) -> Fared:
    """Attack for so long, and print a line."""
    report: multiprocessing.Queue[tuple[str, tuple[int, int] | Fared]] = multiprocessing.Queue()
    warm = multiprocessing.Event()
    neighbour = multiprocessing.Process(target=neighbouring, args=(address, seconds, warm, report), daemon=True)
    neighbour.start()
    if not warm.wait(60):
        raise SystemExit("the neighbour cannot call")
    cpu, late = cpu_s(gateway.pid), late_looks(metrics)
    processes = [neighbour]
    if attack is not None:
        processes.append(
            multiprocessing.Process(target=attacking, args=(attack, address, seconds, report), daemon=True)
        )
        processes[-1].start()
    if group is not None:
        group.peak()
    rss, ends = 0.0, time.monotonic() + seconds
    while time.monotonic() < ends:
        rss = max(rss, rss_mib(gateway.pid))
        time.sleep(0.1)
    results = dict(report.get(timeout=60) for _ in processes)
    for one in processes:
        one.join(30)
    sent, cut = results.get("attack", (0, 0))[:2]
    fared = results["neighbour"]
    assert isinstance(fared, Fared)
    holds = "" if alone is None else "yes" if fared.holds(alone) else "NO"
    latencies = (f"{ms:.1f}" for ms in (fared.p50, fared.p99, fared.longest))
    health, used = f"{fared.healthy}/{fared.checks}", f"{cpu_s(gateway.pid) - cpu:.1f}"
    connections = attack.connections if attack else 0
    if group is not None:
        rss = group.peak() / (1 << 20)
    columns = (
        connections,
        f"{sent / 1e6:.1f}",
        cut,
        fared.calls,
        fared.errors,
        *latencies,
        health,
        f"{rss:.0f}",
        used,
        late_looks(metrics) - late,
        holds,
    )
    print(line(name, *columns), flush=True)
    time.sleep(0.5)
    return fared


def late_looks(metrics: str) -> int:
    """Return how often a reactor was late by more than `STALL_S`, as the gateway has it; 0 without the engine."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as response:
        text = response.read().decode()
    buckets = {
        le: int(count)
        for le, count in re.findall(r'^turnout_transport_lag_seconds_bucket{le="(.+)"} (\d+)', text, re.M)
    }
    return buckets["+Inf"] - buckets[STALL_S] if buckets else 0


def rss_mib(pid: int) -> float:
    """Return a process's resident memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def cpu_s(pid: int) -> float:
    """Return what a process has computed, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def attacking(attack: Attack, address: str, seconds: float, report: multiprocessing.Queue[object]) -> None:
    """Be the attacker."""
    os.nice(5)
    report.put(("attack", asyncio.run(attacked(attack, address, seconds))))


async def attacked(attack: Attack, address: str, seconds: float) -> tuple[int, int]:
    """Attack; return how many bytes were sent, and how many connections were ended by the gateway."""
    ends = time.monotonic() + seconds
    sent = cut = 0

    async def one() -> None:
        nonlocal sent, cut
        host, port = address.split(":")
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 5)
        except (OSError, TimeoutError):
            cut += 1
            return
        draining = asyncio.ensure_future(drained(reader))
        stream = 2 * 256 + 1
        try:
            writer.write(OPENING + attack.once)
            sent += len(attack.once)
            await writer.drain()
            while time.monotonic() < ends and not attack.brief:
                if draining.done():
                    cut += 1
                    return
                if not attack.again:
                    await asyncio.sleep(0.1)
                    continue
                raw, stream = numbered(attack.again, stream) if attack.anew else (attack.again, stream)
                writer.write(raw)
                sent += len(raw)
                await asyncio.wait_for(writer.drain(), max(ends - time.monotonic(), 0.01))
                await asyncio.sleep(attack.every_s)
        except (OSError, TimeoutError) as error:
            cut += not isinstance(error, TimeoutError)
        finally:
            draining.cancel()
            writer.transport.abort()

    async def again_and_again() -> None:
        while time.monotonic() < ends:
            await one()
            await asyncio.sleep(0.0 if attack.brief else 0.05)

    await asyncio.gather(*(again_and_again() for _ in range(attack.connections)))
    return sent, cut


async def drained(reader: asyncio.StreamReader) -> None:
    """Read until the end."""
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


def neighbouring(
    address: str, seconds: float, warm: multiprocessing.synchronize.Event, report: multiprocessing.Queue[object]
) -> None:
    """Be the neighbour."""
    report.put(("neighbour", asyncio.run(neighboured(address, seconds, warm))))


async def neighboured(address: str, seconds: float, warm: multiprocessing.synchronize.Event) -> Fared:
    """Call a hundred times a second, when that many calls have gone well."""
    codes: dict[str, int] = {}
    took: list[float] = []
    healthy = checks = 0
    async with grpc.aio.insecure_channel(address) as channel:
        price = channel.unary_unary("/turnout.v1.PricingService/PredictPrice")
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        asked = request()
        expected = await price(asked, timeout=30)
        for _ in range(WARM_UP):
            await price(asked, timeout=30)
        warm.set()

        async def call() -> None:
            begun = time.perf_counter()
            try:
                answer = await price(asked, timeout=PATIENCE_S)
                code = "" if priced(answer) == priced(expected) else "WRONG"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            took.append((time.perf_counter() - begun) * 1e3)
            if code:
                codes[code] = codes.get(code, 0) + 1

        async def ask() -> None:
            nonlocal healthy, checks
            checks += 1
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=PATIENCE_S))
                healthy += answer.status == health_pb2.HealthCheckResponse.SERVING

        start, tasks = time.monotonic(), []
        for number in range(int(seconds * 100)):
            await asyncio.sleep(max(start + number / 100 - time.monotonic(), 0))
            tasks.append(asyncio.ensure_future(call()))
            if number % 20 == 0:
                tasks.append(asyncio.ensure_future(ask()))
        await asyncio.gather(*tasks)
    took.sort()
    errors = ",".join(f"{count}{name[:4]}" for name, count in codes.items()) or "0"
    return Fared(len(took), errors, took[len(took) // 2], took[int(len(took) * 0.99)], took[-1], checks, healthy)


def priced(answer: bytes) -> float:
    """Return the price in an answer."""
    return float(pricing.PredictPriceResponse.FromString(answer).prices[0].price)


def request() -> bytes:
    """Return a request that the demo store's `price` route answers."""
    asked = pricing.PredictPriceRequest()
    asked.selector.name = "price"
    asked.selector.unit = "neighbour"
    asked.features.add(name="carat", floats={"values": [0.7]})
    return bytes(asked.SerializeToString())
