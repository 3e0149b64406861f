"""How pages are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.snippets import Step, agrees, blocks, steps

PAGE = """\
# A page

```console run
$ echo one \\
    two
one two
$ cat > f <<'END'
$ not a command
END
$ echo 'a
b'
a
b
```

```yaml
a: 1
```
"""


def test_commands_end_where_their_quotes_and_documents_do(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    console, yaml = blocks(page)
    assert (console.place, console.language, console.does) == ("page.md:3", "console", "run")
    assert (yaml.language, yaml.does) == ("yaml", "")
    assert list(steps(console.text)) == [
        Step("echo one \\\n    two", "one two"),
        Step("cat > f <<'END'\n$ not a command\nEND", ""),
        Step("echo 'a\nb'", "a\nb"),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  b", "a b\n", True),
        ("took 1.2345 s", "took 1.2346 s", True),
        ("took 1.2345 s", "took 1.3 s", False),
        ("version 2", "version 3", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("id ... end", "id 7.5 end", True),
        ("a", "a\nb", False),
        ("[1.0]", "(1.0)", False),
    ],
)
def test_an_output_agrees_but_for_a_numbers_last_digits(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same


def test_an_output_without_a_command_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="without a command"):
        list(steps("what is this\n"))
