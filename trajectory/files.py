"""Whole files in and out: read within a limit, written so that nothing half-written is ever seen. Knows no format."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from .arrays import MAX_BYTES
from .tracks import TracksError


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; TracksError naming it where it is missing, unreadable or larger than a track file can
    be."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise TracksError(f"{path} is a folder; a track file is needed.")
        if size > MAX_BYTES:
            raise TracksError(f"{path}: {size:,} bytes is no track file; at most {MAX_BYTES:,} are read.")
        return path.read_bytes()
    except FileNotFoundError:
        raise TracksError(f"{path}: no such track file.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, TracksError):
            raise
        raise TracksError(f"{path}: cannot be read ({error}).") from None


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write each file beside its place first and move all there at the end; nothing is left behind on failure."""
    temporary = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary[path], "xb") as file:
                file.write(content)
        for path in contents:
            os.replace(temporary[path], path)
    except OSError as error:
        raise TracksError(f"{path}: cannot be written ({error.strerror or error}).") from None
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)
