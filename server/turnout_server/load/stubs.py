"""The Open Inference Protocol's messages, which live with the server: they can be registered only once a process."""

from turnout_server.rpc.stubs import open_inference_pb2 as pb

__all__ = ["pb"]
