"""So many connections at most, and who goes when one more comes."""

from __future__ import annotations

from turnout_server.transport.native.connections import Connections


class Client:
    """A connection that says of itself what it is told to."""

    def __init__(self, begun: bool = True, idle: bool = True) -> None:
        self.begun = begun
        self.idle = idle
        self.ends = 0

    def end(self) -> None:
        self.ends += 1


def full_of(*clients: Client) -> Connections[Client]:
    connections: Connections[Client] = Connections(len(clients))
    assert all(connections.add(client) for client in clients)
    return connections


def test_below_the_limit_everybody_stays() -> None:
    connections: Connections[Client] = Connections(3)
    clients = [Client(begun=False), Client(), Client(idle=False)]
    assert all(connections.add(client) for client in clients)
    assert list(connections) == clients
    assert not any(client.ends for client in clients)


def test_one_that_never_began_goes_first() -> None:
    idle, silent, busy, newcomer = Client(), Client(begun=False), Client(idle=False), Client()
    connections = full_of(idle, silent, busy)
    assert connections.add(newcomer)
    assert list(connections) == [idle, busy, newcomer]
    assert silent.ends == 1


def test_then_the_oldest_that_is_idle_goes() -> None:
    busy, idle, younger, newcomer = Client(idle=False), Client(), Client(), Client()
    connections = full_of(busy, idle, younger)
    assert connections.add(newcomer)
    assert list(connections) == [busy, younger, newcomer]
    assert (idle.ends, younger.ends) == (1, 0)


def test_where_all_are_busy_the_newcomer_has_to_go_elsewhere() -> None:
    busy = [Client(idle=False), Client(idle=False)]
    connections = full_of(*busy)
    assert not connections.add(Client())
    assert list(connections) == busy
    assert not any(client.ends for client in busy)


def test_who_has_gone_leaves_room() -> None:
    first, second, newcomer = Client(idle=False), Client(idle=False), Client()
    connections = full_of(first, second)
    connections.discard(first)
    connections.discard(first)
    assert len(connections) == 1
    assert connections.add(newcomer)


def test_connections_may_end_while_one_looks_at_all_of_them() -> None:
    connections = full_of(Client(), Client())
    for client in connections:
        connections.discard(client)
    assert not connections
