"""Runs a host library in a process of its own, so that nothing the emitted C does can harm the caller.

Called as `python host_process.py LIBRARY run|trace < samples > results`. Standard library only, to start fast.
"""

from __future__ import annotations

import ctypes
import sys


def main(library: str, mode: str) -> None:
    """Feed all of standard input to the library, write its results to standard output."""
    model = ctypes.CDLL(library)
    model.fm_host_input_bytes.restype = ctypes.c_size_t
    model.fm_host_result_bytes.restype = ctypes.c_size_t
    model.fm_host_batch.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    trace = int(mode == "trace")
    data = sys.stdin.buffer.read()
    samples = len(data) // model.fm_host_input_bytes()
    results = ctypes.create_string_buffer(samples * model.fm_host_result_bytes(trace))
    model.fm_host_batch(data, results, samples, trace)
    sys.stdout.buffer.write(results.raw)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
