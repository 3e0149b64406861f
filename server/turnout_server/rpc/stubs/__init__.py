"""Generated from protos/inference; not to be edited."""
