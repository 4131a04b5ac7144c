"""The executors: the integer reference and the emitted C, and the trace that they must agree on."""
