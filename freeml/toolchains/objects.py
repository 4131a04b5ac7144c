"""Objects that this process has compiled before. A search builds many images, and most of their files are the same.

An object is taken again where the compiler, its flags, the source and everything that the source can include are the
same, byte by byte. Nothing is kept on disk, and nothing of a compiler that failed.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from freeml.toolchains.toolchain import Toolchain

KEPT_BYTES = 32 * 2**20
"""Of objects that are kept; the one that was not used for longest goes first."""

FRAMES = ".su"
"""GCC's note of the frames, beside the object."""

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
_UNSEEN = re.compile(rb'#[ \t]*include[ \t]+[^<"\s]|__has_include|__FILE__|__DATE__|__TIME__|^\s*\.inc', re.MULTILINE)
"""What lets an object depend on more than the texts that `_INCLUDE` leads to."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An object file, and what GCC says of its frames."""

    content: bytes
    frames: bytes | None

    @classmethod
    def read(cls, path: Path) -> Compiled:
        """What a compiler wrote."""
        frames = path.with_suffix(FRAMES)
        return cls(path.read_bytes(), frames.read_bytes() if frames.is_file() else None)

    def write(self, path: Path) -> None:
        """As the compiler did."""
        path.write_bytes(self.content)
        if self.frames is not None:
            path.with_suffix(FRAMES).write_bytes(self.frames)


@dataclass(slots=True)
class Objects:
    """Those that are kept, by what they were made of."""

    kept: OrderedDict[str, Compiled] = field(default_factory=OrderedDict)
    size_bytes: int = 0
    lock: Lock = field(default_factory=Lock)

    def get(self, key: str | None) -> Compiled | None:
        """The object, where there is one."""
        with self.lock:
            if key is None or key not in self.kept:
                return None
            self.kept.move_to_end(key)
            return self.kept[key]

    def put(self, key: str, found: Compiled) -> None:
        """Keep an object."""
        with self.lock:
            if key in self.kept:
                return
            self.kept[key] = found
            self.size_bytes += len(found.content)
            while self.size_bytes > KEPT_BYTES:
                self.size_bytes -= len(self.kept.popitem(last=False)[1].content)

    def clear(self) -> None:
        """Keep nothing."""
        with self.lock:
            self.kept.clear()
            self.size_bytes = 0


OBJECTS = Objects()


class _Text(NamedTuple):
    digest: str
    included: tuple[str, ...]
    unseen: bool


@dataclass(slots=True)
class Texts:
    """The files of one build, each read once."""

    toolchain: Toolchain
    include_dirs: Sequence[Path]
    flags: Sequence[str]
    read: dict[Path, _Text | None] = field(default_factory=dict)

    def key(self, source: Path) -> str | None:
        """What an object is made of; None where the texts do not tell."""
        program = Path(self.toolchain.compiler[0])
        if not program.is_file():
            return None
        state = program.stat()
        command = self.toolchain.compile_command(Path(source.name), Path("object"), (), self.flags)
        parts = [*command, str(state.st_mtime_ns), str(state.st_size)]
        waiting, seen = [source], {source}
        while waiting:
            path = waiting.pop()
            text = self._text(path)
            if text is None or text.unseen:
                return None
            parts += [path.name, text.digest]
            for name in text.included:
                # every file that the name could mean, in the order in which compilers look; none is the compiler's own
                meant = {
                    place: self._text(place) for place in (path.parent / name, *(f / name for f in self.include_dirs))
                }
                parts += [name, *(found.digest for found in meant.values() if found)]
                waiting += [place for place, found in meant.items() if found and place not in seen]
                seen.update(meant)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _text(self, path: Path) -> _Text | None:
        """What matters of a file; None where there is none."""
        if path not in self.read:
            self.read[path] = None
            if path.is_file():
                content = path.read_bytes()
                names = tuple(name.decode(errors="replace") for name in _INCLUDE.findall(content))
                self.read[path] = _Text(hashlib.sha256(content).hexdigest(), names, _UNSEEN.search(content) is not None)
        return self.read[path]
