"""Report photos that failed: a table for people, a list for scripts. Knows no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from app.cli.files import PathsError
from app.cli.processors import ProcessingStopped
from app.files.names import PHOTOS, shown, suffix_of
from app.files.results import failure_line


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` for programs, the service's own where it has one; `detail` for people."""

    code: str
    detail: str


class Note(Protocol):
    """Notes a failure in the list. Raises ProcessingStopped."""

    def __call__(self, photo: Path, failure: Failure, /) -> None: ...


@contextmanager
def listing(path: Path | None) -> Iterator[Note]:
    """What writes the list, each failure as it comes; it is empty where nothing fails. Raises PathsError, OSError."""
    if path is None:
        yield lambda _photo, _failure: None
        return
    if suffix_of(path.name) in PHOTOS:
        raise PathsError(f"{path} is a photo's name; --failures writes a list, such as failures.jsonl")
    if path.is_dir():
        raise PathsError(f"{path} is a folder; --failures writes a list, such as {path / 'failures.jsonl'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:

        def note(photo: Path, failure: Failure) -> None:
            try:
                file.write(failure_line(str(photo), failure.code, failure.detail).encode())
            except OSError as error:
                raise ProcessingStopped(f"{path}: {error.strerror}") from None

        yield note


def tell(console: Console, title: str, failures: Mapping[Path, str], *, more: Sequence[str] = ()) -> None:
    """A table on a terminal; else a line for each, so that logs and programs get every name whole. `more`: lines that
    follow."""
    if console.is_terminal:
        table = Table(Column("file", overflow="fold"), Column("problem", overflow="fold"), title=title)
        for path, problem in failures.items():
            table.add_row(Text(shown(path)), Text(problem))
        console.print(table)
    else:
        console.print(Text(f"{title}:"), soft_wrap=True)
        for path, problem in failures.items():
            console.print(Text(f"{shown(path)}: {problem}"), soft_wrap=True)
    for each in more:
        console.print(Text(each), soft_wrap=True)
