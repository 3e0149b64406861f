"""A program that keeps a child for its gateway: runs it, and ends all that it has started when either of them ends.

A child's graph may start processes of its own, which hold its socket open, and which a kill of the child alone would
leave behind. All of them are in this process's group. It runs no graph, and imports next to nothing, so that a child
costs little more with it than without.

The *pulse* is a socket between gateway and keeper, and nobody else has either end: whichever of the two ends, however
that happens, the other one knows at once. All that is ever said on it is how the child has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

PULSE = 0
"""The descriptor of the keeper's end."""


def main() -> None:
    """Run a command: the arguments after the first, which is the descriptor of what becomes its standard input."""
    line, *command = sys.argv[1:]
    os.set_inheritable(int(line), False)
    given = [(os.POSIX_SPAWN_DUP2, int(line), 0)]  # in the pulse's place
    child = os.posix_spawn(command[0], [*command, str(os.getpid())], os.environ, file_actions=given)
    os.close(int(line))
    threading.Thread(target=_end_with_gateway, args=[child], daemon=True).start()
    _, status = os.waitpid(child, 0)
    try:
        os.write(PULSE, str(os.waitstatus_to_exitcode(status)).encode())
    except OSError:
        pass  # nobody is there to be told
    finally:
        os.killpg(0, signal.SIGKILL)  # this process too


def _end_with_gateway(child: int) -> None:
    try:
        os.read(PULSE, 1)
    finally:
        # Not the group: where nobody else does, as in a container whose first process is the gateway, this process has
        # to see to it that nothing is left of the child.
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
