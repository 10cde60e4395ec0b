"""List, read and write files below a local path or a URI. Knows no photos.

pyarrow handles `s3://`, `gs://`, `abfs://`, `hdfs://` and `file://`; fsspec handles any other scheme, if its package
is installed. These libraries look for credentials themselves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
import pyarrow as pa
from pyarrow import fs

from app.files.walk import walk

PARTIAL: Final = ".part"
_LOCAL: Final = "local"
_OBJECT_STORES: Final = frozenset({"s3", "gcs", "abfs"})


class StorageError(Exception):
    """A path or URI that cannot be used. The message says which, and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its name below the root, the time of its last change in ns, if known, and its size in bytes.

    `why`: the reason why it is unavailable, "" if it is available.
    """

    name: str
    changed_ns: int | None
    size: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder of files. Can be sent to other processes, which see the same files if the folder is shared.

    All methods raise OSError.
    """

    files: Any
    root: str

    def path(self, name: str) -> str:
        """The file's path in its file system."""
        return f"{self.root}/{name}" if name else self.root

    def entries(self) -> list[Entry]:
        """All available files below, also in subfolders; none if the folder does not exist."""
        return [entry for entry in self.scan() if not entry.why]

    def scan(self) -> list[Entry]:
        """`entries`, and what is unavailable."""
        found = self._walk() if self.folder is not None else self._select()
        return sorted(found, key=lambda each: each.name)

    @property
    def folder(self) -> Path | None:
        """The root, if it is in a file system of this host."""
        return Path(self.root) if self.files.type_name == _LOCAL else None

    def _select(self) -> Iterator[Entry]:
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        for info in self.files.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield Entry(info.path[len(self.root) + 1 :], info.mtime_ns, info.size)

    def _walk(self) -> Iterator[Entry]:
        """List local files, following links: for a link to a folder above itself pyarrow would list forty levels."""
        root = Path(self.root)
        for path, why in walk(root, hidden=True) if root.is_dir() else ():
            name = path.relative_to(root).as_posix()
            try:
                stat = path.stat() if not why else None
            except OSError:
                continue  # deleted since the scan
            yield Entry(name, stat.st_mtime_ns, stat.st_size) if stat else Entry(name, None, why=why)

    def info(self, name: str = "") -> Any:
        """The `pyarrow.fs.FileInfo` of this name, or of the root."""
        return self.files.get_file_info(self.path(name))

    def existing(self, names: list[str]) -> set[str]:
        """Those of `names` that are files."""
        infos = self.files.get_file_info([self.path(name) for name in names])
        found = zip(names, infos, strict=True)
        return {name for name, info in found if info.type == fs.FileType.File}

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        with self.files.open_input_stream(self.path(name)) as stream:
            data: bytes = stream.read()
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all: object stores show only complete files, other systems rename a
        partial one."""
        path = self.path(name)
        if self.files.type_name in _OBJECT_STORES:
            self._write(path, data)
            return
        folder = PurePosixPath(path).parent
        self.files.create_dir(str(folder), recursive=True)
        # Two workers may write the same file, if one was declared dead too soon.
        partial = str(folder / f".{uuid.uuid4().hex}{PARTIAL}")
        self._write(partial, data)
        self.files.move(partial, path)

    def delete(self, name: str) -> None:
        """Delete a file."""
        self.files.delete_file(self.path(name))

    def _write(self, path: str, data: bytes) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(data)


def is_partial(name: str) -> bool:
    """Whether a file is a partial one, left by a crash."""
    return name.endswith(PARTIAL) and PurePosixPath(name).name[0] == "."


def open_storage(uri: str) -> Storage:
    """The folder or file that a path or URI names; it need not exist. Raises StorageError."""
    if "://" not in uri:
        return Storage(fs.LocalFileSystem(), str(Path(uri).resolve()))
    try:
        files, path = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid:
        files, path = _by_fsspec(uri)
    except OSError as error:
        raise StorageError(f"{uri}: {error}") from None
    if files.type_name == _LOCAL:
        path = str(Path(path).resolve())  # so that two spellings of one folder are equal
    return Storage(files, path.rstrip("/"))


def _by_fsspec(uri: str) -> tuple[Any, str]:
    try:
        files, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: {error}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(files)), str(path)
