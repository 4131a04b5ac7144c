"""The other end of `worker.py`: asks, waits no longer than allowed, and starts the worker anew when it died."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 60.0
LIMIT_SECONDS = 30.0


@dataclass(slots=True)
class Client:
    """Hands models to a worker process, in the folder `folder`."""

    folder: Path
    limit_seconds: float = LIMIT_SECONDS
    process: subprocess.Popen[str] | None = field(default=None)
    outcomes: dict[str, int] = field(default_factory=dict)

    def outcome(self, model: bytes, *, build: bool = False, precision: str = "int8") -> dict[str, str]:
        """What becomes of a model: the worker's answer, or a fault when it died or took too long."""
        path = self.folder / "model.onnx"
        path.write_bytes(model)
        request = json.dumps({"path": str(path), "build": build, "precision": precision})
        found: dict[str, str]
        try:
            line = self._ask(request)
            found = json.loads(line) if line else {"outcome": "fault", "detail": self._end("died")}
        except BrokenPipeError:
            found = {"outcome": "fault", "detail": self._end("died")}
        except TimeoutError:
            found = {"outcome": "fault", "detail": self._end(f"took over {self.limit_seconds} s")}
        key = found.get("kind", found["outcome"])
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        return found

    def _ask(self, request: str) -> str:
        """The answer as text, empty when the process ended instead. Raises TimeoutError."""
        limit_seconds = self.limit_seconds
        if self.process is None:
            limit_seconds += START_SECONDS
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(limit_seconds):
                raise TimeoutError
        return self.process.stdout.readline()

    def close(self) -> None:
        """End the worker."""
        if self.process is not None:
            self._end("closed")

    def _end(self, why: str) -> str:
        assert self.process is not None
        process, self.process = self.process, None
        if why != "died":
            process.kill()
        status = process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                continue
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"the process {why} ({name})"
