"""Generate the Python stubs from `protos/`, or check that they are up to date.

    make protos                                 writes them
    python protos/generate.py --check           changes nothing, and exits with 1 when they differ

`turnout.v1` belongs to the client. The Open Inference Protocol's stubs belong to the server alone: another package that
registers the same names in one process would break either's import.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stubs:
    """Protos that become one package of stubs.

    Attributes:
        include: the folder that imports are relative to.
        protos: a glob of protos, relative to `include`.
        out: where the stubs go, as deep as the protos are under `include`.
        grpc: whether to make client stubs and servicer bases too.
    """

    include: str
    protos: str
    out: str
    grpc: bool


STUBS = (
    Stubs(include="protos", protos="turnout/v1/*.proto", out="clients/python", grpc=True),
    Stubs(include="protos/inference", protos="*.proto", out="server/turnout_server/rpc/stubs", grpc=False),
)


def main() -> int:
    """Generate or check; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the Python stubs from protos/.")
    parser.add_argument("--check", action="store_true", help="only say which stubs differ from their protos")
    check = parser.parse_args().check
    stale = False
    for stubs in STUBS:
        fresh, present = generate(stubs), existing(stubs)
        changed = sorted(path for path in fresh.keys() | present.keys() if fresh.get(path) != present.get(path))
        stale = stale or bool(changed)
        for path in changed:
            if check:
                print(f"{path.relative_to(ROOT)}: differs from its proto; run make protos", file=sys.stderr)
            elif path in fresh:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(fresh[path])
            else:
                path.unlink()
    return 1 if check and stale else 0


def generate(stubs: Stubs) -> dict[Path, bytes]:
    """Run protoc; return what each file should hold."""
    include, out = ROOT / stubs.include, ROOT / stubs.out
    protos = sorted(include.glob(stubs.protos))
    if not protos:
        return {}
    services = [proto for proto in protos if re.search(r"^service ", proto.read_text(encoding="utf-8"), re.MULTILINE)]
    with tempfile.TemporaryDirectory() as scratch:
        run(include, protos, f"--python_out={scratch}", f"--mypy_out=quiet:{scratch}")
        if stubs.grpc:
            run(include, services, f"--grpc_python_out={scratch}", f"--mypy_grpc_out=quiet:{scratch}")
        made = (path for path in Path(scratch).rglob("*_pb2*") if path.is_file())
        return {out / path.relative_to(scratch): path.read_bytes() for path in made}


def existing(stubs: Stubs) -> dict[Path, bytes]:
    """Return the stubs that are there now."""
    folder = ROOT / stubs.out / Path(stubs.protos).parent
    return {path: path.read_bytes() for path in folder.glob("*_pb2*") if path.suffix in {".py", ".pyi"}}


def run(include: Path, protos: list[Path], *outputs: str) -> None:
    """Run the protoc that grpcio-tools carries.

    Raises:
        SystemExit: protoc refused; it has said why.
    """
    well_known = resources.files("grpc_tools") / "_proto"
    tools = Path(sys.executable).parent
    plugins = [f"--plugin={name}={tools / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    command = ["protoc", f"--proto_path={include}", f"--proto_path={well_known}", *plugins, *outputs]
    if protoc.main([*command, *map(str, protos)]) != 0:
        raise SystemExit("protoc failed; see above")


if __name__ == "__main__":
    sys.exit(main())
