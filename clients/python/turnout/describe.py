"""Which version of a route or model says what goes in and what comes out, found in as few calls as it takes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from turnout import answers, calls, errors, route_table
from turnout.calls import Call

Steps = Generator[Call[Any], Any, answers.Version]
"""Yields calls and is sent their answers, or thrown their errors; returns the version."""


def steps(name: str, version: int | str | None) -> Steps:
    """Return the calls that find the version which answers for *name*: of a route, that of its heaviest target.

    Raises:
        NotFoundError: there is no such route or model, or version of it.
    """
    pinned = "" if version is None else str(version)
    try:
        route: route_table.Route = yield calls.route(name)
    except errors.NotFoundError as error:
        try:
            model: answers.Model = yield calls.model(name)
        except errors.NotFoundError:
            raise error from None
        return _version_of(model, pinned)
    target = max(route.targets, key=lambda one: (one.serving_version is not None, one.weight))
    model = yield calls.model(target.model)
    return _version_of(model, pinned or str(target.serving_version or target.version))


def _version_of(model: answers.Model, pinned: str) -> answers.Version:
    """Return the version that *pinned*, a number or a label, names; for none the champion, else the newest available.

    Raises:
        NotFoundError: there is none.
    """
    wanted = str(model.labels.get(pinned or "champion", pinned))
    by_number = {str(one.version): one for one in model.versions}
    if wanted in by_number:
        return by_number[wanted]
    if pinned or not model.versions:
        is_label = bool(pinned) and not pinned.isdecimal()
        what = f"{'label' if is_label else 'version'}{pinned and f' {pinned!r}'}"
        reason = "LABEL_NOT_FOUND" if is_label else "VERSION_NOT_FOUND"
        raise errors.NotFoundError(f"model {model.name!r} has no {what}", code="NOT_FOUND", reason=reason)
    return next((one for one in model.versions if one.state == "AVAILABLE"), model.versions[0])
