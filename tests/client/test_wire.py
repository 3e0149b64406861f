"""The private messages are those of the public protos."""

from __future__ import annotations

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from turnout import _wire


def test_details_of_an_error_are_read_as_google_writes_them() -> None:
    info = error_details_pb2.ErrorInfo(reason="R", domain="d", metadata={"k": "v"})
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1_500)
    status = status_pb2.Status(details=[any_pb2.Any(type_url="t", value=info.SerializeToString())])
    (detail,) = _wire.Status.FromString(status.SerializeToString()).details
    read = _wire.ErrorInfo.FromString(detail.value)
    assert (detail.type_url, read.reason, read.domain) == ("t", "R", "d")
    assert [(entry.key, entry.value) for entry in read.metadata] == [("k", "v")]
    delay = _wire.RetryInfo.FromString(retry.SerializeToString()).retry_delay
    assert (delay.seconds, delay.nanos) == (1, 500_000_000)


def test_health_is_asked_and_told_as_the_standard_has_it() -> None:
    asked = health_pb2.HealthCheckRequest.FromString(_wire.HealthCheckRequest(service="s").SerializeToString())
    assert asked.service == "s"
    states = health_pb2.HealthCheckResponse.ServingStatus
    assert {number: name for name, number in states.items()} == _wire.HEALTH_STATES
