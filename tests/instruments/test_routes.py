"""What routes are shows, so that gateways can be compared."""

from __future__ import annotations

from turnout_server.instruments.routes import RouteInstruments, Standing


def test_there_is_one_digest_of_the_table_and_one_epoch_of_each_route_at_a_time() -> None:
    standing = Standing("", "", {})
    instruments = RouteInstruments(lambda: standing)
    assert [list(each.points) for each in instruments.families()] == [[], []]
    for digest, epoch in (("d1", "e1"), ("d2", "e2")):
        standing = Standing(digest, f"{digest}+", {"price": epoch, "rank": "e"})
        table, route = instruments.families()
        assert dict(table.points) == {(digest, f"{digest}+"): 1}
        assert dict(route.points) == {("price", epoch): 1, ("rank", "e"): 1}
