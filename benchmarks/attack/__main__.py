"""`python -m benchmarks.attack [NAME ...]`: attack a gateway with the demo store, and print how its neighbour fared."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from benchmarks.attack.wire import ATTACKS, OPENING, Attack, numbered
from turnout.v1 import pricing_service_pb2 as pricing

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0
PATIENCE_S = 2.0


def main() -> None:
    """Attack by each of the names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(ATTACKS))
    parser.add_argument("--data-plane", default="engine")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--connections", type=int, help="for every attack, in place of its own number")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    gateway, address = start(arguments.data_plane)
    try:
        print(
            f"{'attack':38}{'sent MB':>9}{'cut off':>8}{'calls':>7}{'errors':>7}{'p50 ms':>8}{'p99 ms':>8}"
            f"{'health':>8}{'RSS MiB':>9}{'CPU s':>7}"
        )
        shown("(nothing)", None, gateway, address, arguments.seconds)
        for name in arguments.names:
            attack = ATTACKS[name]._replace(connections=arguments.connections or ATTACKS[name].connections)
            shown(name, attack, gateway, address, arguments.seconds)
    finally:
        gateway.terminate()
        gateway.wait(60)


def start(data_plane: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a gateway; return it with its address."""
    log = Path(f"/tmp/attack-{os.getpid()}.log")
    command = [
        sys.executable,
        "-m",
        "turnout_server",
        "serve",
        "--store",
        str(ROOT / "model_store"),
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--data-plane",
        data_plane,
    ]
    gateway = subprocess.Popen(
        command, stdout=log.open("wb"), stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "TURNOUT_LOG": "json"}
    )
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        found = re.search(r"turnout serves .* on (127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return gateway, found[1]
        time.sleep(0.2)
    raise SystemExit(log.read_text())


def shown(name: str, attack: Attack | None, gateway: subprocess.Popen[bytes], address: str, seconds: float) -> None:
    """Attack for so long, and print a line."""
    cpu = cpu_s(gateway.pid)
    report: multiprocessing.Queue[tuple[int, int]] = multiprocessing.Queue()
    attacker = multiprocessing.Process(target=attacking, args=(attack, address, seconds, report), daemon=True)
    neighbour = multiprocessing.Process(target=neighbouring, args=(address, seconds, report), daemon=True)
    if attack is not None:
        attacker.start()
        time.sleep(1.0)
    neighbour.start()
    rss, ends = 0.0, time.monotonic() + seconds
    while time.monotonic() < ends:
        rss = max(rss, rss_mib(gateway.pid))
        time.sleep(0.1)
    results = [report.get() for _ in range(1 if attack is None else 2)]
    neighbour.join(30)
    if attack is not None:
        attacker.join(30)
    sent, cut = next((one[1:] for one in results if one[0] == "attack"), (0, 0))
    calls, errors, p50, p99, health = next(one[1:] for one in results if one[0] == "neighbour")
    print(
        f"{name:38}{sent / 1e6:9.1f}{cut:8}{calls:7}{errors:>7}{p50:8.1f}{p99:8.1f}{health:>8}{rss:9.0f}"
        f"{cpu_s(gateway.pid) - cpu:7.1f}",
        flush=True,
    )
    time.sleep(0.5)


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
    report.put(("attack", *asyncio.run(attacked(attack, address, seconds))))


async def attacked(attack: Attack, address: str, seconds: float) -> tuple[int, int]:
    """Attack; return how many bytes were sent, and how many connections were ended by the gateway."""
    ends = time.monotonic() + seconds + 1.5
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
            while time.monotonic() < ends:
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
            await asyncio.sleep(0.05)

    await asyncio.gather(*(again_and_again() for _ in range(attack.connections)))
    return sent, cut


async def drained(reader: asyncio.StreamReader) -> None:
    """Read until the end."""
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


def neighbouring(address: str, seconds: float, report: multiprocessing.Queue[object]) -> None:
    """Be the neighbour."""
    report.put(("neighbour", *asyncio.run(neighboured(address, seconds))))


async def neighboured(address: str, seconds: float) -> tuple[int, str, float, float, str]:
    """Call a hundred times a second; return how many calls there were, errors, percentiles and health's answers."""
    codes: dict[str, int] = {}
    took: list[float] = []
    checks = [0, 0]
    async with grpc.aio.insecure_channel(address) as channel:
        price = channel.unary_unary("/turnout.v1.PricingService/PredictPrice")
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        asked = request()

        async def call() -> None:
            begun = time.perf_counter()
            try:
                await price(asked, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] = codes.get(error.code().name, 0) + 1
            took.append((time.perf_counter() - begun) * 1e3)

        async def ask() -> None:
            checks[1] += 1
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=PATIENCE_S))
                checks[0] += answer.status == 1

        start, tasks = time.monotonic(), []
        for number in range(int(seconds * 100)):
            await asyncio.sleep(max(start + number / 100 - time.monotonic(), 0))
            tasks.append(asyncio.ensure_future(call()))
            if number % 20 == 0:
                tasks.append(asyncio.ensure_future(ask()))
        await asyncio.gather(*tasks)
    took.sort()
    errors = ",".join(f"{count}{name[:4]}" for name, count in codes.items()) or "0"
    return len(took), errors, took[len(took) // 2], took[int(len(took) * 0.99)], f"{checks[0]}/{checks[1]}"


def request() -> bytes:
    """Return a request that the demo store's `price` route answers."""
    asked = pricing.PredictPriceRequest()
    asked.selector.name = "price"
    asked.selector.unit = "neighbour"
    asked.features.add(name="carat", floats={"values": [0.7]})
    return bytes(asked.SerializeToString())


if __name__ == "__main__":
    main()
