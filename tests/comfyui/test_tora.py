"""Tora through a real ComfyUI's queue: the graph of ATI with other files, from a track to a saved video."""

from __future__ import annotations

import av
import pytest
from comfyui.graphs import tracks_to_video, without
from comfyui.test_queue import failure, pixels
from tiny_tora import BARE_TEXT_FILE, I2V, T2V, TEXT_FILE, VAE_FILE

FILES = {"model__model_name": T2V, "vae__vae_name": VAE_FILE, "words__text_encoder_name": TEXT_FILE,
         "encode__frames": 9, "sampler__scheduler": "auto", "sampler__shift": 0.0}  # fmt: skip


def tora(**changes) -> dict:
    graph = tracks_to_video(**{**FILES, **changes})
    graph["shown"] = {"class_type": "SaveImage", "inputs": {"images": ["encode", 1], "filename_prefix": "shown"}}
    return graph


@pytest.mark.parametrize("file", [T2V, I2V])
def test_a_track_becomes_a_saved_video_and_the_flow_is_shown(host, file):
    entry = host.run(tora(model__model_name=file))
    assert len(pixels(host, entry)) == 9 + 9
    (video,) = [file for file in host.saved(entry) if file.suffix == ".mp4"]
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(container.streams.video[0])) == 9


def test_text_to_video_needs_neither_picture_nor_image_encoder(host):
    graph = without(tora(), "picture", "eye")
    for name in ("start_image", "image_encoder"):
        del graph["encode"]["inputs"][name]
    assert len(pixels(host, host.run(graph))) == 18


def test_a_text_encoder_without_a_tokenizer_is_given_comfyuis_own(host):
    one, other = (
        pixels(host, host.run(tora(words__text_encoder_name=BARE_TEXT_FILE, text__positive=prompt)))
        for prompt in ("a red car", "the deep blue sea at night")
    )
    assert one != other


def test_a_frame_count_that_the_vae_cannot_take_is_told_on_the_node(host):
    error = failure(host.run(tora(encode__frames=13)))
    assert error["node_id"] == "encode" and "8n + 1" in error["exception_message"]
