"""What is kept of requests and of outcomes: who reads records, and the journal, where one is asked for."""

from __future__ import annotations

import contextlib

from turnout_server.config import Config, JournalConfig
from turnout_server.gateway.native import NativePlane
from turnout_server.gateway.records import Keeper, Records
from turnout_server.instruments.exposures import SuppressedExposures
from turnout_server.instruments.instruments import Instruments
from turnout_server.instruments.journal import JournalInstruments
from turnout_server.instruments.outcomes import OutcomeInstruments
from turnout_server.instruments.shadow import ShadowInstruments
from turnout_server.journal.boot import Boot
from turnout_server.rpc.turnout_v1.outcomes import Take


def recording(
    config: JournalConfig,
    boot: Boot,
    instruments: Instruments,
    stack: contextlib.AsyncExitStack,
    native: NativePlane | None = None,
) -> Records:
    """Return what makes records, with everybody who reads them; *stack* ends those."""
    shadow = ShadowInstruments()
    instruments.include(shadow)
    readers = [instruments.read, shadow.read]
    journal: Keeper | None = None
    if config.path is not None:
        # Only who keeps a journal pays for a database: a quarter of a second at the start, and some 30 MB.
        from turnout_server.journal.journal import opening

        write = native.plane.write_segment if native is not None else None
        journal = opened = stack.enter_context(opening(config, boot, write=write))
        instruments.include(JournalInstruments(opened.counts))
        if native is not None:
            opened.counted_by(native.plane.count_in)
    else:
        suppressed = SuppressedExposures()
        instruments.include(suppressed)
        readers.append(suppressed.read)
        if native is not None:
            native.count_suppressed = suppressed.include
    records = Records(readers, boot.boot, native, journal)
    if native is not None:
        native.show = records.show
        stack.callback(native.close)
    return records


def taking(
    config: Config,
    boot: Boot,
    instruments: Instruments,
    stack: contextlib.AsyncExitStack,
    native: NativePlane | None = None,
) -> Take | None:
    """Return what keeps outcomes, where there is a journal to keep them in; *stack* ends it."""
    if config.journal.path is None:
        return None
    # As above.
    from turnout_server.outcomes.intake import opening

    write = native.plane.write_segment if native is not None else None
    intake = stack.enter_context(opening(config.journal, config.outcomes, boot, write=write))
    instruments.include(OutcomeInstruments(intake.counts))
    return intake.take
