"""Passes over the float graph: pure `Graph -> Graph` functions held by small frozen dataclasses."""
