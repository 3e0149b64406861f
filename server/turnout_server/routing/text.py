"""The route table as people write it: YAML in, a table or a placed error out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from turnout_server.routing.table import RouteTable, convert, digest_of
from turnout_server.vocabulary.errors import InvalidRouteTableError, TurnoutError

MAX_CHARACTERS = 512 * 1024
LARGEST_NUMBER = 2**63 - 1
"""No version, and no number that means something here, is larger."""


def parse(text: str) -> RouteTable:
    """Read a route table.

    Raises:
        InvalidRouteTableError: the text is not YAML, or not a route table; the error names the place.
    """
    return convert(document(text, InvalidRouteTableError), digest_of(text))


def document(text: str, error_at: Callable[[str, str], TurnoutError]) -> Any:
    """Return what YAML says that people wrote.

    Aliases are refused, because a few lines of them can stand for gigabytes; so are doubled keys, of which YAML would
    silently keep the last.

    Args:
        text: of at most `MAX_CHARACTERS`.
        error_at: makes the error to raise, of a place and a problem.
    """
    if len(text) > MAX_CHARACTERS:
        raise error_at("$", f"found {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "$"
        raise error_at(place, error.problem or "not YAML") from error
    except (yaml.YAMLError, ArithmeticError, ValueError) as error:  # the last two for "\UFFFFFFFF" and its like
        raise error_at("$", f"not YAML: {error}") from error
    except RecursionError as error:
        raise error_at("$", "nested too deeply") from error


def compose(text: str) -> yaml.Node | None:
    """Return the nodes of a text that `parse` has read, with their places in it."""
    found: yaml.Node | None = yaml.compose(text, Loader=_StrictLoader)
    return found


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # What makes values of texts does not look first: for `!!bool x` or 2026-13-45 it raises what it hits.
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"this is no {kind}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "expected a mapping", node.start_mark)
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            if key in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        # YAML 1.1 reads 1:59:59 as a number of any size, and Python cannot write one of more than 4300 digits.
        try:
            number: int = super().construct_yaml_int(node)
        except ValueError:
            number = LARGEST_NUMBER + 1
        if abs(number) > LARGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too large", node.start_mark)
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
