"""From a picture and a track to frames through the node classes as plain Python, with the tiny model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.models.common.memory import measure_coding
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes import coding
from comfyui_trajectory.nodes.encode import video_size
from comfyui_trajectory.nodes.inputs import InputError


def encode(tiny, **inputs):
    inputs = {"tracks": tiny.tracks, "start_image": tiny.image, "image_encoder": tiny.image_encoder, **inputs}
    return nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, **inputs)


def text(tiny, negative=""):
    return nodes["TrajectoryTextEncode"]().encode(tiny.text_encoder, "a red dog", negative)[0]


def sample(tiny, motion, **inputs):
    return nodes["TrajectorySampler"]().sample(tiny.model, inputs.pop("text", None) or text(tiny), motion, **inputs)[0]


def test_a_generation_gives_frames_of_the_models_own_size(tiny):
    motion, shown, _ = encode(tiny)
    latent = sample(tiny, motion)
    (frames,) = nodes["TrajectoryDecode"]().decode(tiny.vae, latent)
    assert latent["samples"].shape == (1, 16, 2, 4, 4)
    assert frames.shape == (5, 32, 32, 3) and frames.dtype == torch.float32
    assert 0 <= frames.min() and frames.max() <= 1
    assert shown.shape[1:] == (32, 32, 3)


def test_the_same_seed_gives_the_same_latents_and_another_does_not(tiny):
    motion, *_ = encode(tiny)
    first, again, other = (sample(tiny, motion, seed=seed)["samples"] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)


def test_tracks_change_the_video_and_strength_0_takes_that_back(tiny):
    with_tracks, without, off = (
        sample(tiny, encode(tiny, **inputs)[0])["samples"] for inputs in ({}, {"tracks": None}, {"strength": 0.0})
    )
    assert not torch.allclose(with_tracks, without, atol=1e-4)
    assert torch.allclose(off, without, atol=1e-6)


def test_cfg_1_leaves_the_negative_prompt_out(tiny):
    motion, *_ = encode(tiny)
    positive = text(tiny)
    alone = type(positive)(positive.positive, None)
    assert torch.equal(
        sample(tiny, motion, text=alone, cfg=1.0)["samples"],
        sample(tiny, motion, text=text(tiny, "the sea"), cfg=1.0)["samples"],
    )
    with pytest.raises(InputError, match="negative"):
        sample(tiny, motion, text=alone, cfg=3.0)


def test_low_denoise_stays_near_the_given_latent(tiny):
    motion, *_ = encode(tiny)
    start = sample(tiny, motion, seed=1)
    near = sample(tiny, motion, seed=2, latent=start, denoise=0.1, steps=1)["samples"]
    far = sample(tiny, motion, seed=2)["samples"]
    assert (near - start["samples"]).norm() < 0.5 * (far - start["samples"]).norm()


def test_expanded_points_act_as_if_they_had_been_drawn(tiny):
    from comfyui_trajectory.trajectory import Tracks
    from comfyui_trajectory.trajectory.spread import spread

    drawn = spread(Tracks.from_comfy(tiny.tracks), 5, 384 * 0.12).to_comfy()
    by_hand, *_ = encode(tiny, tracks=drawn)
    by_option, *_ = encode(tiny, expand_points=5, expand_radius=12.0)
    assert torch.equal(by_hand.inputs["y"], by_option.inputs["y"])
    assert not torch.equal(by_hand.inputs["y"], encode(tiny)[0].inputs["y"])


def test_comfyuis_own_clip_vision_is_accepted_as_model_and_as_output(tiny):
    tokens = tiny.image_encoder.encode_image(tiny.image, crop=False)
    assert tokens["penultimate_hidden_states"] is tokens.penultimate_hidden_states
    core_output = SimpleNamespace(penultimate_hidden_states=tokens.penultimate_hidden_states)
    core_model = SimpleNamespace(encode_image=lambda image, crop: core_output)
    ours, *_ = encode(tiny)
    as_output, *_ = encode(tiny, image_encoder=None, clip_vision_output=core_output)
    as_model, *_ = encode(tiny, image_encoder=core_model)
    assert torch.equal(ours.inputs["clip_fea"], as_output.inputs["clip_fea"])
    assert torch.equal(ours.inputs["clip_fea"], as_model.inputs["clip_fea"])


def test_comfyuis_conditioning_gives_the_text_it_holds(tiny):
    ours = text(tiny)
    padded = torch.nn.functional.pad(ours.positive, (0, 0, 0, 512 - ours.positive.shape[1]))
    (taken,) = nodes["TrajectoryTextFromConditioning"]().convert([[padded, {}]], [[ours.negative, {}]])
    motion, *_ = encode(tiny)
    assert torch.allclose(
        sample(tiny, motion, text=taken)["samples"], sample(tiny, motion, text=ours)["samples"], atol=1e-5
    )


def test_tiles_give_nearly_the_whole_frame(tiny):
    latent = {"samples": torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(0))}
    decode = nodes["TrajectoryDecode"]().decode
    assert decode(tiny.vae, latent, 32)[0].shape == decode(tiny.vae, latent)[0].shape == (5, 64, 64, 3)


def test_decoding_falls_back_to_tiles_when_memory_is_short(tiny, monkeypatch):
    asked = []
    decode = tiny.vae.decode

    def short_of_memory(latents, tile=None):
        asked.append(tile)
        if tile is None:
            raise torch.OutOfMemoryError("too much")
        return decode(latents, tile=tile)

    monkeypatch.setattr(tiny.vae, "decode", short_of_memory)
    latent = {"samples": torch.zeros(1, 16, 1, 4, 4)}
    assert nodes["TrajectoryDecode"]().decode(tiny.vae, latent)[0].shape == (1, 32, 32, 3)
    assert asked == [None, 256]


def test_tiles_are_taken_at_once_where_whole_frames_would_not_fit(tiny, monkeypatch, caplog):
    asked, ready = [], []
    vae, decode = tiny.vae, tiny.vae.decode
    latent = {"samples": torch.zeros(2, 16, 1, 60, 80)}
    whole, tiled = (measure_coding(vae, "decode", 640, 480, 1, tile) for tile in (None, 384))

    def spied(latents, tile=None):
        asked.append((len(latents), tile))
        return decode(latents, tile=tile)

    monkeypatch.setattr(vae, "decode", spied)
    monkeypatch.setattr(coding.host, "free_memory", lambda model: free)
    monkeypatch.setattr(coding.host, "ready", lambda model, working_bytes, doing: ready.append(working_bytes))
    free = whole
    assert nodes["TrajectoryDecode"]().decode(vae, latent)[0].shape == (2, 480, 640, 3)
    assert asked == [(1, None), (1, None)] and ready == [whole, whole] and not caplog.messages
    asked.clear(), ready.clear()
    free = tiled
    assert nodes["TrajectoryDecode"]().decode(vae, latent)[0].shape == (2, 480, 640, 3)
    assert asked == [(1, 384), (1, 384)] and ready == [whole, tiled] * 2
    assert "Decoding 640x480 in tiles of 384 pixels: whole frames take about" in caplog.text
    asked.clear()
    free = 0
    nodes["TrajectoryDecode"]().decode(vae, latent, 512)  # what was asked for is done
    nodes["TrajectoryDecode"]().decode(vae, latent)
    assert [tile for _, tile in asked] == [512, 512, 256, 256]


def test_progress_and_a_preview_come_with_every_step_and_cancel_ends_the_next(tiny, plain_host, monkeypatch):
    seen = []

    class Cancelled(Exception):
        pass

    class Bar:
        shows = True

        def update(self, done, picture=None):
            seen.append((done, picture.shape))

        def __enter__(self):
            return self

        def __exit__(self, *failure):
            seen.append("closed")

    def check_cancelled():
        if len(seen) == 2:
            raise Cancelled

    motion, *_ = encode(tiny)
    words = text(tiny)
    monkeypatch.setattr(plain_host, "progress", lambda total, label: Bar())
    monkeypatch.setattr(plain_host, "check_cancelled", check_cancelled)
    with pytest.raises(Cancelled):
        sample(tiny, motion, text=words, steps=9)
    assert seen == [(1, (4, 4, 3)), (2, (4, 4, 3)), "closed"]
    monkeypatch.undo()
    assert sample(tiny, motion, text=words)["samples"].isfinite().all()


@pytest.mark.parametrize(
    "own, picture, given, expected",
    [
        ((832, 480), (832, 480), (0, 0), (832, 480)),
        ((832, 480), (480, 832), (0, 0), (480, 832)),
        ((832, 480), None, (0, 0), (832, 480)),
        ((832, 480), (1000, 1000), (0, 0), (624, 624)),
        ((832, 480), (1000, 500), (640, 0), (640, 320)),
        ((832, 480), (1000, 500), (0, 320), (640, 320)),
        ((832, 480), (1000, 500), (100, 40), (100, 40)),
    ],
)
def test_a_size_left_at_0_follows_the_picture_at_the_models_area(own, picture, given, expected):
    image = None if picture is None else torch.zeros(1, picture[1], picture[0], 3)
    model = SimpleNamespace(defaults={"width": own[0], "height": own[1]}, size_for=lambda *size: None)
    assert video_size(model, image, *given) == expected


@pytest.mark.parametrize(
    "picture, expected", [((500, 500), (96, 96)), ((1000, 500), (112, 80)), ((500, 900), (80, 112))]
)
def test_a_model_trained_on_a_few_sizes_is_given_the_one_of_the_nearest_shape(picture, expected):
    defaults = {"width": 96, "height": 96, "sizes": [[96, 96], [112, 80], [80, 112]]}
    image = torch.zeros(1, picture[1], picture[0], 3)
    model = SimpleNamespace(defaults=defaults, size_for=lambda *size: None)
    assert video_size(model, image, 0, 0) == expected
    assert video_size(model, image, 48, 64) == (48, 64)
