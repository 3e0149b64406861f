"""Rules about the files at the repository's root: packaging, locks, deployment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import hcl2
import pytest
import typer
from packaging.requirements import Requirement

from turnout_server.cli.health import health
from turnout_server.cli.serve import serve
from turnout_server.ends import LEAVING_S

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
RIVALS = sorted((ROOT / "benchmarks/field/requirements").glob("*.txt"))
"""Locks of what Turnout is compared with, which agree with nobody's."""


def lines_of(lock: Path) -> list[str]:
    """Return a lock's requirements, each on one line with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


def pins_of(lock: Path) -> dict[str, set[str]]:
    """Return each package's locked versions; there are several where they depend on the platform."""
    pins: dict[str, set[str]] = {}
    for line in lines_of(lock):
        name, version = line.split()[0].split("==")
        pins.setdefault(name, set()).add(version)
    return pins


def options(command: Any, arguments: list[str]) -> dict[str, Any]:
    """Return what a command of `turnout` makes of *arguments*, without running it."""
    application = typer.Typer()
    application.command()(command)
    return typer.main.get_command(application).make_context("turnout", arguments).params


@pytest.mark.parametrize("lock", LOCKS + RIVALS, ids=lambda lock: lock.name)
def test_everything_locked_has_a_version_and_hashes(lock: Path) -> None:
    assert lines_of(lock)
    for line in lines_of(lock):
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("lock", LOCKS + RIVALS, ids=lambda lock: lock.name)
def test_no_lock_names_a_place_to_install_from(lock: Path) -> None:
    assert not re.search(r"://|^\s*-", "\n".join(line.split("--hash")[0] for line in lines_of(lock)), re.MULTILINE)


def test_locks_agree_with_each_other() -> None:
    locked: dict[str, set[str]] = {}
    for lock in LOCKS:
        if not lock.name.startswith("torch"):
            for name, versions in pins_of(lock).items():
                assert locked.setdefault(name, versions) == versions, f"{name} in {lock.name}"


@pytest.mark.parametrize(
    ("extra", "lock"), [("server", "server.txt"), ("server", "dev.txt"), ("pipelines", "pipelines.txt")]
)
def test_locks_hold_what_the_project_asks_for(extra: str, lock: str) -> None:
    pins = pins_of(ROOT / "requirements" / lock)
    if extra == "pipelines":
        pins |= pins_of(ROOT / "requirements" / "torch.txt")
    wanted = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]]
    for requirement in wanted:
        if requirement.name != PROJECT["name"]:
            assert all(requirement.specifier.contains(version) for version in pins[requirement.name]), requirement


def test_the_locked_maturin_is_one_that_the_engine_asks_for() -> None:
    build = tomllib.loads((ROOT / "engine/pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    (requirement,) = map(Requirement, build["requires"])
    (locked,) = pins_of(ROOT / "requirements/engine.txt")[requirement.name]
    assert requirement.specifier.contains(locked)


def test_both_locks_of_torch_hold_the_same_release() -> None:
    (cpu,), (registry,) = (pins_of(ROOT / "requirements" / name)["torch"] for name in ("torch-cpu.txt", "torch.txt"))
    assert cpu == f"{registry}+cpu"


def test_the_client_asks_for_grpcio_and_protobuf_alone() -> None:
    assert [Requirement(text).name for text in PROJECT["dependencies"]] == ["grpcio", "protobuf"]


def test_the_server_image_gets_nothing_that_only_developers_need() -> None:
    server = pins_of(ROOT / "requirements" / "server.txt")
    assert not server.keys() & {"pytest", "ruff", "mypy", "uv", "grpcio-tools", "setuptools", "torch"}


WITHOUT_THE_REST = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"turnout", "grpc", "google", "typing_extensions", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import turnout, turnout.aio, turnout.v1.ranking_service_pb2_grpc
turnout.Client("127.0.0.1:1").close()
assert "turnout_server" not in sys.modules
"""


def test_the_client_works_where_nothing_else_is_installed() -> None:
    paths = os.pathsep.join([str(ROOT / "clients/python"), str(ROOT / "server")])
    command = [sys.executable, "-c", WITHOUT_THE_REST]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- Dockerfile


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and what follows them."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined if line)]


def last(instruction: str) -> str:
    """Return what follows the last such instruction."""
    return [rest for word, rest in instructions() if word == instruction][-1]


def test_the_image_serves_the_ports_that_it_exposes_from_the_volume_that_it_declares() -> None:
    command = json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))
    assert command[:2] == ["turnout", "serve"]
    served = options(serve, command[2:])
    assert [served["store"]] == json.loads(last("VOLUME"))
    assert [served["listen"], served["metrics"]] == [f"0.0.0.0:{port}" for port in last("EXPOSE").split()]


def test_the_images_health_check_asks_the_port_that_it_serves() -> None:
    flags, _, text = last("HEALTHCHECK").partition("CMD ")
    command = json.loads(text)
    assert command[:2] == ["turnout", "health"]
    port = last("EXPOSE").split()[0]
    assert options(health, command[2:])["target"] == f"127.0.0.1:{port}"
    assert options(health, command[2:])["timeout"] < float(re.search(r"--timeout=(\d+)s", flags)[1])  # type: ignore[index]


def test_the_image_does_not_run_as_root() -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last("USER"))


def test_the_image_says_the_version_of_the_project() -> None:
    assert ("ARG", f"VERSION={PROJECT['version']}") in instructions()


def test_the_images_rust_can_build_the_engine() -> None:
    package = tomllib.loads((ROOT / "engine/Cargo.toml").read_text(encoding="utf-8"))["package"]
    (rust,) = (rest.split("=")[1] for word, rest in instructions() if word == "ARG" and rest.startswith("RUST="))
    found, oldest = (tuple(map(int, text.split("-")[0].split("."))) for text in (rust, package["rust-version"]))
    assert found >= oldest
    assert rust.partition("-")[2] == "slim-bookworm", "the same Debian as Python's image, and so the same C library"


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = {
        path
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for path in rest.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / path).exists() for path in copied)


# ---------------------------------------------------------------- nomad.hcl


@pytest.fixture(scope="module")
def job() -> Any:
    """Return the Nomad job as plain data."""
    with (ROOT / "nomad.hcl").open(encoding="utf-8") as file:
        (named,) = plain(hcl2.load(file))["job"]
    return named["turnout"]


@pytest.fixture(scope="module")
def group(job: Any) -> Any:
    """Return the job's one group."""
    (named,) = job["group"]
    return named["gateway"]


@pytest.fixture(scope="module")
def task(group: Any) -> Any:
    """Return the group's one task."""
    (named,) = group["task"]
    return named["turnout"]


def plain(value: Any) -> Any:
    """Take the quotes off that python-hcl2 leaves around strings and labels."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return json.loads(value)
    return value


def seconds(text: str) -> float:
    """Return a duration such as `30s` or `2m` in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def test_the_job_serves_its_ports_from_its_volume(group: Any, task: Any) -> None:
    (config,), (mount,), (network,) = task["config"], task["volume_mount"], group["network"]
    assert config["args"][0] == "serve"
    served = options(serve, config["args"][1:])
    ports = {name: port["to"] for named in network["port"] for name, port in named.items()}
    assert served["listen"] == f"0.0.0.0:{ports['grpc']}"
    assert served["metrics"] == f"0.0.0.0:{ports['metrics']}"
    assert served["store"] == mount["destination"]
    assert mount["read_only"] is True
    assert sorted(config["ports"]) == sorted(ports)


def test_the_jobs_route_table_is_the_one_that_its_template_writes(task: Any) -> None:
    (config,), (template,) = task["config"], task["template"]
    assert options(serve, config["args"][1:])["routes"] == f"/{template['destination']}"
    assert template["change_mode"] == "noop"


def test_the_job_gives_calls_their_grace_period(task: Any) -> None:
    (config,) = task["config"]
    assert options(serve, config["args"][1:])["grace"] + LEAVING_S <= seconds(task["kill_timeout"])
    assert seconds(task["kill_timeout"]) <= 30, "Nomad's clients allow no more by default"


def test_a_failed_deployment_goes_back(job: Any) -> None:
    (update,) = job["update"]
    assert update["auto_revert"] is True
    assert update["canary"] >= 1
    assert (
        seconds(update["min_healthy_time"]) < seconds(update["healthy_deadline"]) < seconds(update["progress_deadline"])
    )


def test_the_job_asks_health_over_grpc(group: Any) -> None:
    (check,) = next(service for service in group["service"] if service["port"] == "grpc")["check"]
    assert check["type"] == "grpc"
    assert seconds(check["timeout"]) < seconds(check["interval"])


def test_the_proposed_artifact_has_its_bucket_where_nomad_looks_for_it() -> None:
    """Of a host that is not AWS's, the path's first part is the bucket, and the rest the object's name."""
    source = re.search(r'#   source +=.*"s3::https://([^/"]+)/([^/"]+)/([^"]+)"', (ROOT / "nomad.hcl").read_text())
    assert source is not None
    assert not source[1].endswith("amazonaws.com")
    assert (source[2], source[3]) == ("BUCKET", "turnout/store-42.tar.gz")


# ---------------------------------------------------------------- Makefile and docs


def test_every_request_that_the_readme_gives_grpcurl_is_json() -> None:
    requests = re.findall(r"grpcurl [^\n]*-d '([^']*)'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert requests
    for request in requests:
        assert json.loads(request)


def test_make_help_lists_every_target_that_is_for_people() -> None:
    targets = set(re.findall(r"^\.PHONY: ([a-z-]+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wanted = {target for target in targets if not target.startswith("setup")}
    assert wanted == set(re.findall(r"^  make ([a-z-]+) ", listed, re.MULTILINE))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
