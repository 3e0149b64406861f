"""The removal of a version, as others see it while it is under way: one blob for each version, changed by its tag only.

```
nothing, or staying --begin--> removing --settle--> gone --end--> nothing
                               removing --keep----> staying
```

Who removes a version begins, looks then at what names it, and settles. Who names one announces that first, in the
audit, where those who remove look; keeps the version; and only then writes the name. So of the two at least one sees
the other. Only one of `keep` and `settle` can follow on `begin`, whoever else joins in, and nothing leads back from
gone. Before that nothing of the version is touched, after it anybody may remove the files. Who dies holds nobody up.
"""

from __future__ import annotations

import re

from turnout_server.store.blobs import Blob, Blobs, Reading
from turnout_server.store.layout import check_version, removals_folder, version_number
from turnout_server.vocabulary.errors import StaleWriteError, StoreError

_ATTEMPTS = 1000
_STAYING = b"staying\n"
_REMOVING, _GONE = "removing", "gone"
_MARK = re.compile(r"(removing|gone) (\S{1,300})\n")


def begin(blobs: Blobs, model: str, version: int, announced: str) -> str | None:
    """Say that the version is to go; return what `settle` takes, None where it is gone already.

    Args:
        blobs: the store's.
        model: whose version.
        version: which.
        announced: what the audit calls this removal. No other one is called so, and so `settle` takes no later removal
            for its own. Who finds one under way joins it.
    """
    key, content = _key(model, version), f"{_REMOVING} {announced}\n".encode()
    for _ in range(_ATTEMPTS):
        blob = blobs.get(key)
        if blob is None:
            blobs.put_if_absent(key, content)
        elif blob.content == _STAYING:
            blobs.put_if_match(key, content, blob.tag)
        else:
            return blob.tag if _mark(key, blob)[0] == _REMOVING else None
    raise _overtaken(key)


def settle(blobs: Blobs, model: str, version: int, tag: str, announced: str) -> bool:
    """Decide that a removal which is under way as *tag* takes place, and is the one that was *announced* so.

    Returns:
        Whether that is decided now; False where somebody else has decided something.
    """
    key = _key(model, version)
    blob = blobs.get(key)
    if blob is None or blob.tag != tag:
        return False
    return blobs.put_if_match(key, f"{_GONE} {announced}\n".encode(), tag)


def keep(blobs: Blobs, model: str, version: int) -> bool:
    """Stop what removes the version; return False where it is too late for that.

    That there is such a version is to be looked at afterwards: a removal that has ended leaves no trace here.
    """
    key = _key(model, version)
    for _ in range(_ATTEMPTS):
        blob = blobs.get(key)
        if blob is None or blob.content == _STAYING:
            return True
        if _mark(key, blob)[0] == _GONE:
            return False
        if blobs.put_if_match(key, _STAYING, blob.tag):
            return True
    raise _overtaken(key)


def end(blobs: Blobs, model: str, version: int) -> None:
    """Forget a removal whose files are gone."""
    blobs.delete(_key(model, version))


def under_way(blobs: Reading, model: str) -> dict[int, str]:
    """Return what the audit calls each removal of *model*'s versions that has begun and not ended, or has been stopped.

    Of one that was stopped that is empty.
    """
    found = {}
    for entry in blobs.list(removals_folder(model)) or ():
        number = version_number(entry.name)
        blob = blobs.get(_key(model, number)) if number is not None else None
        if number is not None and blob is not None:
            found[number] = "" if blob.content == _STAYING else _mark(_key(model, number), blob)[1]
    return found


def _mark(key: str, blob: Blob) -> tuple[str, str]:
    """Return how far a removal is, and what the audit calls it."""
    match = _MARK.fullmatch(blob.content.decode(errors="replace"))
    if match is None:
        raise StoreError(f"{key} cannot be read: found {blob.content[:40]!r}; expected what Turnout wrote there")
    return match[1], match[2]


def _key(model: str, version: int) -> str:
    return f"{removals_folder(model)}/{check_version(version)}"


def _overtaken(key: str) -> StaleWriteError:
    return StaleWriteError(f"{key} was changed by somebody else {_ATTEMPTS} times meanwhile; try again later")
