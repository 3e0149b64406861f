"""`python -m tests.conformance` writes `docs/conformance.md` from the cases.

| module | what it is |
|---|---|
| `case` | what a case is: what is sent, what the rule has |
| `framing`, `exchange`, `compression`, `grpc_calls` | the cases, by document |
| `otherwise` | what each data plane answers otherwise |
| `visit` | how a case is tried: one server a plane, and connections of its own |
| `page` | the page |
"""

from __future__ import annotations

from tests.conformance.page import PAGE, written

if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
