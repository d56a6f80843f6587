"""Cancel in the middle of a node's work: it ends between two blocks or chunks, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes


class Cancelled(Exception):
    pass


@pytest.fixture
def work(tiny):
    """What each node does with the tiny model, 9 frames of it."""
    encode = nodes["TrajectoryEncode"]()
    given = {"width": 32, "height": 32, "frames": 9, "tracks": tiny.tracks, "start_image": tiny.image}
    motion, *_ = encode.encode(tiny.model, tiny.vae, **given)
    (text,) = nodes["TrajectoryTextEncode"]().encode(tiny.text_encoder, "a dog")
    (latent,) = nodes["TrajectorySampler"]().sample(tiny.model, text, motion, steps=1, cfg=1.0)
    return {
        "encode": lambda: encode.encode(tiny.model, tiny.vae, **given)[0].inputs["y"],
        "sample": lambda: nodes["TrajectorySampler"]().sample(tiny.model, text, motion, steps=1, cfg=1.0)[0]["samples"],
        "decode": lambda: nodes["TrajectoryDecode"]().decode(tiny.vae, latent)[0],
        "decode in tiles": lambda: nodes["TrajectoryDecode"]().decode(tiny.vae, latent, tile=32)[0],
    }


def looks(work, host, monkeypatch, most=None) -> int:
    """How often the work asks whether it was cancelled; it is, from the time after `most` on."""
    asked = 0

    def check_cancelled():
        nonlocal asked
        asked += 1
        if most is not None and asked > most:
            raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(host, "check_cancelled", check_cancelled)
        work()
    return asked


@pytest.mark.parametrize("node", ["encode", "sample", "decode", "decode in tiles"])
def test_cancel_ends_the_work_between_any_two_parts_and_the_next_run_is_as_before(
    node, work, tiny, plain_host, monkeypatch
):
    expected = work[node]()
    parts = looks(work[node], plain_host, monkeypatch)
    assert parts >= 3, "9 frames are three chunks, the tiny model has two blocks"
    for done in range(parts):
        with pytest.raises(Cancelled):
            looks(work[node], plain_host, monkeypatch, most=done)
    assert not any(part._forward_pre_hooks for part in (*tiny.model.module.modules(), *tiny.vae.module.modules()))
    assert torch.equal(work[node](), expected)
