"""The field: the same ONNX models behind Turnout, a bare grpc.aio server, MLServer and KServe, side by side.

`scenarios` makes the models and the requests, `environments` the rivals' venvs, `servers` starts and watches the
servers, `generator` puts load on them, `results` does the arithmetic, `report` and `plots` show it, and `command` ties
them together. `programs` is what runs inside the servers' own processes.
"""
