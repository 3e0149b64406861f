"""What comes from outside means itself on a page, and a page asks nobody for anything."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.experiments import markup

EVIL = "<script>alert(1)</script>\"'&<b>"


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


@given(texts)
def test_text_comes_back_as_it_was(text: str) -> None:
    reader = read(f"<p title={markup.quoted(text)}>{markup.escaped(text)}</p>")
    assert reader.words == text
    assert reader.tags == [("p", {"title": text})]


@given(st.text(st.characters(codec=None)))
def test_every_text_can_be_written(text: str) -> None:
    written = markup.escaped(text) + markup.quoted(text)
    assert "\x00" not in written
    written.encode()


def test_nothing_opens_a_tag_of_its_own() -> None:
    page = markup.document(
        EVIL,
        [
            markup.section(EVIL, markup.text(EVIL), markup.verbatim(EVIL), markup.folded(EVIL, "")),
            markup.beside([markup.figure("", EVIL)], markup.table(EVIL, (EVIL, EVIL), [(EVIL, EVIL)], words=(EVIL,))),
        ],
    )
    assert not {"script", "b"} & {tag for tag, _ in read(page).tags}


def test_a_page_may_ask_nobody_and_run_nothing() -> None:
    tags = dict(read(markup.document("title", [])).tags[:3])
    assert tags["meta"]["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_style_asks_for_nothing_from_elsewhere() -> None:
    page = markup.document("title", [])
    assert "url(" not in page
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_a_cell_that_is_none_belongs_to_the_one_above_it() -> None:
    page = markup.table("of", ("metric", "arm"), [("a", "x"), (None, "y"), (None, "z"), ("b", "x")])
    spans = [(tag, attributes.get("rowspan")) for tag, attributes in read(page).tags if tag in ("th", "td")]
    assert spans[2:] == [("th", "3"), ("td", None), ("td", None), ("td", None), ("th", None), ("td", None)]


def test_a_table_says_what_it_is_of_to_those_who_cannot_see_it() -> None:
    [table] = [attributes for tag, attributes in read(markup.table("Units", ("day",), [("1",)])).tags if tag == "table"]
    assert table["aria-label"] == "Units"
