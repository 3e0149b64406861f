"""An address is what gRPC goes to, and a URL is made one or refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from turnout.target import resolve


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:8001", "127.0.0.1:8001"),
        ("dns:///gateway:8001", "dns:///gateway:8001"),
        ("dns://8.8.8.8/gateway:8001", "dns://8.8.8.8/gateway:8001"),
        ("unix:///run/turnout.sock", "unix:///run/turnout.sock"),
        ("ipv4:10.0.0.1:8001,10.0.0.2:8001", "ipv4:10.0.0.1:8001,10.0.0.2:8001"),
        ("http://gateway:8001", "gateway:8001"),
        ("HTTP://gateway:8001/", "gateway:8001"),
        ("grpc://gateway:8001", "gateway:8001"),
        ("tcp://[::1]:8001", "[::1]:8001"),
    ],
)
def test_a_url_in_plain_text_is_its_host_and_port(given: str, address: str) -> None:
    assert resolve(given, secure=False) == address


@pytest.mark.parametrize("given", ["https://gateway:8001", "grpcs://gateway:8001", "grpc://gateway:8001"])
def test_with_credentials_a_url_of_tls_is_too(given: str) -> None:
    assert resolve(given, secure=True) == "gateway:8001"


@pytest.mark.parametrize(
    ("given", "secure", "error", "says"),
    [
        (
            "https://gateway:8001",
            False,
            ValueError,
            "Client('gateway:8001', credentials=grpc.ssl_channel_credentials())",
        ),
        ("http://gateway:8001", True, ValueError, "asks for plain text, and credentials for TLS"),
        ("http://gateway", False, ValueError, "has no host and port"),
        ("http://gateway:99999", False, ValueError, "has no host and port"),
        ("http://:8001", False, ValueError, "has no host and port"),
        ("http://gateway:8001/v1", False, ValueError, "more than a host and a port; expected gateway:8001"),
        ("http://me:secret@gateway:8001", False, ValueError, "more than a host and a port; expected gateway:8001"),
        ("http://gateway:8001?x=1", False, ValueError, "more than a host and a port"),
        ("", False, ValueError, "target is empty"),
        (" ", False, ValueError, "target is empty"),
        (8001, False, TypeError, "target must be an address"),
    ],
)
def test_what_grpc_cannot_go_to_is_refused(given: Any, secure: bool, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=re.escape(says)) as caught:
        resolve(given, secure=secure)
    assert "secret" not in str(caught.value)
