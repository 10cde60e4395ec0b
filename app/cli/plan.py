"""Plan which photo goes into which file, and what of a folder is left out. Knows no pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.files import left_out
from app.files.names import fitting
from app.files.results import MADE, Results
from app.files.walk import walk

Job = tuple[Path, Path]
"""A photo, and the file to write."""


class Plan:
    """Which photo goes into which file below `out_dir`; folders keep their inner structure there.

    No two photos share a file and none is written over: where `a.png` is taken, `a.jpg` becomes `a.jpg.png`, then
    `a.jpg-2.png` and so on. Files and folders whose name begins with a dot are no photos, unless named themselves.
    Results of earlier runs are no photos either; one that is named itself is, unless it lies in `out_dir`.
    `left_out`: what the last look has passed by, and why.
    """

    def __init__(
        self, paths: Sequence[Path], out_dir: Path, suffix: str = ".png", *, recursive: bool = True
    ) -> None:
        self._paths = paths
        self._out_dir = out_dir
        self._suffix = suffix
        self._recursive = recursive
        self._results = Results()
        self._targets: dict[str, Path] = {}
        self._real: dict[str, Path] = {}
        self._taken: set[str] = set()
        self._written: set[str] = set()
        self.left_out: dict[Path, str] = {}

    def look(self) -> list[Job]:
        """All photos that are there now. Each keeps the file that an earlier look gave it."""
        self._results.refresh()
        self.left_out = {}
        found: dict[str, tuple[Path, Path]] = {}
        for source, folder in self._sources():
            found.setdefault(_name(source), (source, folder))
        written = self._written.copy()
        self._taken.update(_key(self._resolved(name)) for name in found)
        among = {self._resolved(name).parent for name in found}
        jobs = []
        for name, (source, folder) in found.items():
            if name not in self._targets:
                if _key(self._resolved(name)) in written:
                    continue
                self._targets[name] = self._free(folder, source, among)
            jobs.append((source, self._targets[name]))
        return jobs

    def _sources(self) -> Iterator[tuple[Path, Path]]:
        """Each photo, and the folder that its result goes to."""
        out_dir = self._out_dir.resolve()
        for path in self._paths:
            if path.is_dir():
                for source, why in sorted(walk(path, recursive=self._recursive, exclude=out_dir)):
                    if source.name in left_out.OWN:
                        continue
                    if why := why or self._why_not(source):
                        self.left_out[source] = why
                    else:
                        yield source, self._out_dir / source.parent.relative_to(path)
            elif self._results.contains(Path(_name(path)), below=out_dir):
                self.left_out[path] = MADE
            else:
                yield path, self._out_dir

    def _why_not(self, source: Path) -> str:
        why = left_out.foreign(source.name)
        return why or (MADE if self._results.contains(Path(_name(source))) else "")

    def _resolved(self, name: str) -> Path:
        if name not in self._real:
            self._real[name] = Path(name).resolve()
        return self._real[name]

    def _free(self, folder: Path, source: Path, among: set[Path]) -> Path:
        """A file for the result. `among`: where photos are; there, what no run has made is not written over."""
        number = 1
        target = folder / fitting(source.stem, self._suffix)
        while (key := _key(target.resolve())) in self._taken or self._is_others(target, among):
            name = source.name if number == 1 else f"{source.name}-{number}"
            target = folder / fitting(name, self._suffix)
            number += 1
        self._taken.add(key)
        self._written.add(key)
        return target

    def _is_others(self, target: Path, among: set[Path]) -> bool:
        there = self._resolved(_name(target.parent)) in among and target.exists()
        return there and not self._results.contains(Path(_name(target)))


def _name(path: Path) -> str:
    """One for all spellings of it. A link has a name of its own, and so a result."""
    return os.path.abspath(path)  # noqa: PTH100 - `resolve` follows links


def _key(real: Path) -> str:
    return str(real).casefold()  # Some file systems take "A.png" and "a.png" for one.
