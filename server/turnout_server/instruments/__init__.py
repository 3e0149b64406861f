"""What is counted, in plain Python numbers; telemetry turns it into others' forms."""
