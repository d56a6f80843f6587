"""Many pieces of work, each by one of several processes, and states that are written whole or not at all. Knows no
work."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

log = logging.getLogger(__name__)


def in_processes(
    name: str, work: Callable, pieces: Iterable[tuple[object, Path]], count: int, begin: Callable, *begin_with,
    first: Callable = lambda: None,
) -> None:  # fmt: skip
    """work(what, file) for every (what, file) whose file is not there yet; before, where there is any, first() here, and
    begin(*begin_with) once in each of `count` processes. What work raises ends it."""
    pieces = [(what, file) for what, file in pieces if not file.exists()]
    if not pieces:
        return
    first()
    for folder in {file.parent for _, file in pieces}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(min(count, len(pieces)), get_context("spawn"), quiet, (begin, begin_with)) as workers:
        running = [workers.submit(work, *piece) for piece in pieces]
        try:
            for done, future in enumerate(as_completed(running), 1):
                future.result()
                if done % 8 == 0 or done == len(pieces):
                    log.info("%s: %d of %d", name, done, len(pieces))
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


def quiet(begin: Callable, begin_with: tuple) -> None:
    """One thread: the processes share the cores."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.set_grad_enabled(False)
    begin(*begin_with)


def write(file: Path, content) -> None:
    """Atomically, so that work that is cut off can be taken up."""
    part = file.with_suffix(f".{os.getpid()}.part")
    torch.save(content, part)
    part.replace(file)
