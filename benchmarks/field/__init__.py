"""The field: the same ONNX models behind Turnout in several settings, a bare grpc.aio server, and other makes.

`studies` says what is measured beside what, and `targets` what is meant to come of it. `scenarios` makes the models and
the requests, `wire` writes them in several ways. `servers` is what all servers have in common, `turnouts`, `rivals` and
`triton` say how each is started; `environments` makes the rivals' venvs. `generators` put load on them, `own_runs` is
ONNX Runtime by itself, and `answers` checks who is right. `comparison` does it all in rounds, `results` does the
arithmetic, `report` and `plots` show it, and `command` is the command line. `programs` is what runs inside the servers'
own processes.
"""
