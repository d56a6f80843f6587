"""Tora through the same nodes as ATI, with tiny models: what it makes of tracks, and what it refuses."""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.commands.run import run_workflow
from comfyui_trajectory.models import embedded
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes import coding
from comfyui_trajectory.nodes.host import host
from comfyui_trajectory.nodes.inputs import InputError
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.trajectory.flow import flow_colours, flow_of_tracks
from safetensors.torch import load_file, save_file

from ..commands.test_run import EMBEDDED, save
from ..tiny_tora import I2V, PLAIN, T2V, TEXT_FILE, VAE_FILE, write_tiny_tora


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_tora(tmp_path_factory.mktemp("models"))


@pytest.fixture
def tora(folder, plain_host, monkeypatch):
    """The parts, a picture and a track. `model(file)` loads one."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(folder))
    load = nodes["TrajectoryModelLoader"]().load
    (text_encoder,) = nodes["TrajectoryTextEncoderLoader"]().load(TEXT_FILE)
    return SimpleNamespace(
        model=cache(lambda file: load(file)[0]), folder=folder,
        vae=nodes["TrajectoryVAELoader"]().load(VAE_FILE)[0],
        text=nodes["TrajectoryTextEncode"]().encode(text_encoder, "a dog runs", "the sea")[0],
        image=torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(0)),
        tracks=nodes["TrajectoryFromCoordinates"]().read("[[4, 16], [28.5, 20.25]]", 32, 32)[0],
    )  # fmt: skip


def encode(tora, file=T2V, **inputs):
    inputs = {"tracks": tora.tracks, "start_image": tora.image if file == I2V else None, **inputs}
    return nodes["TrajectoryEncode"]().encode(tora.model(file), tora.vae, **inputs)


def latents(tora, file=T2V, sampling={}, **inputs):
    motion, *_ = encode(tora, file, **inputs)
    return nodes["TrajectorySampler"]().sample(tora.model(file), tora.text, motion, **sampling)[0]["samples"]


def refused(tora, match, file=T2V, **inputs):
    with pytest.raises(InputError, match=match):
        encode(tora, file, **inputs)


@pytest.mark.parametrize("file", [T2V, I2V])
def test_a_generation_gives_frames_of_the_models_own_size(tora, file):
    samples = latents(tora, file)
    (frames,) = nodes["TrajectoryDecode"]().decode(tora.vae, {"samples": samples})
    assert samples.shape == (1, 16, 3, 4, 4) and samples.isfinite().all()
    assert frames.shape == (9, 32, 32, 3) and frames.std() > 0


@pytest.mark.parametrize("file", [T2V, I2V])
def test_tracks_change_the_video_and_strength_0_takes_that_back(tora, file):
    with_tracks, half, without, off, none = (
        latents(tora, file, **inputs)
        for inputs in ({}, {"strength": 0.5}, {"tracks": None}, {"strength": 0.0}, {"method": "none"})
    )
    assert not torch.allclose(with_tracks, without, atol=1e-3) and not torch.allclose(with_tracks, half, atol=1e-3)
    assert torch.equal(off, without) and torch.equal(none, without)


def test_without_tracks_tora_is_the_cogvideox_that_it_was_made_from(tora, tmp_path):
    state = load_file(tora.folder / "diffusion_models" / T2V)
    state = {name: value for name, value in state.items() if not name.startswith(("fuser.", "traj_extractor."))}
    config = {"sample_width": 4, "sample_height": 4, "sample_frames": 9, "max_text_seq_length": 12,
              "defaults": {"frames": 9, "steps": 2, "cfg": 2.0}}  # fmt: skip
    save_file(state, tmp_path / "base.safetensors", metadata={"config": json.dumps(config)})
    base = latents(tora, str(tmp_path / "base.safetensors"), tracks=None)
    torch.testing.assert_close(latents(tora, tracks=None), base)


def test_the_share_of_the_steps_in_which_tracks_act(tora):
    whole, early, late, none = (
        latents(tora, start_percent=start, end_percent=end, sampling={"steps": 4})
        for start, end in ((0, 1), (0, 0.5), (0.5, 1), (0, 0))
    )
    for one, other in ((whole, early), (whole, late), (early, late), (early, none)):
        assert not torch.allclose(one, other, atol=1e-4)
    assert torch.equal(none, latents(tora, tracks=None, sampling={"steps": 4}))


def test_image_to_video_runs_over_many_steps_with_guidance(tora):
    assert latents(tora, I2V, sampling={"steps": 12, "cfg": 6.0}).isfinite().all()


def test_encode_shows_the_flow_video_which_does_instead_of_tracks(tora):
    motion, shown, on_video = encode(tora)
    field = flow_of_tracks(Tracks.from_comfy(on_video), 32, 32)
    assert torch.allclose(shown, flow_colours(field).movedim(1, -1).float() / 255, atol=1.01 / 255)
    again, same, _ = encode(tora, tracks=None, control_video=shown)
    assert torch.allclose(again.inputs["flow"], motion.inputs["flow"], atol=1e-4) and torch.allclose(
        same, shown, atol=1e-6
    )
    larger, *_ = encode(
        tora, tracks=None, control_video=shown.repeat_interleave(2, 1).repeat_interleave(2, 2), width=32, height=32
    )
    assert torch.allclose(larger.inputs["flow"], motion.inputs["flow"], atol=1e-2)


def test_a_reference_video_gives_its_flow(tora):
    picture = torch.nn.functional.interpolate(tora.image.movedim(-1, 1), size=(32, 32), mode="bicubic")[0]
    video = torch.stack([picture.roll(2 * i, 2) for i in range(13)]).movedim(1, -1).clamp(0, 1)
    (flow,) = nodes["TrajectoryFlowFromVideo"]().flow(video)
    assert flow.shape == video.shape and (flow[0] == 1).all() and (flow[1:] < 1).any()
    motion, shown, _ = encode(tora, tracks=None, control_video=flow)
    assert motion.frames == 9, "the most frames of the video that the model can make and was made for"
    assert torch.allclose(shown, flow[:9], atol=1e-6)


@pytest.mark.parametrize(
    "coordinates", ["[[16, 16]]", "[[-9, 5], [40, 50]]", "[[32, 32], [0, 0]]", str([[i % 32, 9] for i in range(80)])]
)
def test_one_point_points_off_the_frame_and_more_points_than_frames(tora, coordinates):
    (tracks,) = nodes["TrajectoryFromCoordinates"]().read(coordinates, 32, 32)
    motion, shown, _ = encode(tora, tracks=tracks)
    assert motion.inputs["flow"].isfinite().all() and shown.shape == (9, 32, 32, 3)


def test_other_sizes_and_the_other_solver(tora):
    assert latents(tora, width=64, height=48, frames=17, sampling={"scheduler": "ddim"}).shape == (1, 16, 5, 6, 8)
    assert latents(tora, frames=1).shape == (1, 16, 1, 4, 4)
    start = latents(tora)
    near = latents(tora, sampling={"seed": 2, "denoise": 0.1, "steps": 1, "latent": {"samples": start}})
    assert (near - start).norm() < 0.5 * (latents(tora, sampling={"seed": 2}) - start).norm()


def test_a_seed_means_the_noise_of_every_step(tora):
    first, again, other = (latents(tora, sampling={"seed": seed}) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)


def test_what_tora_cannot_make_or_take_is_refused(tora):
    refused(tora, r"^width, height, frames: 5 frames.*8n \+ 1.*nearest is", frames=5)
    refused(tora, "^width, height, frames: 40x32.*multiples of 16", width=40, height=32)
    refused(tora, "^width, height, frames: 64x48.*learned for 32x32", I2V, width=64, height=48)
    refused(tora, "start image is needed", I2V, start_image=None)
    refused(tora, "plain CogVideoX and cannot follow tracks", PLAIN)
    refused(tora, "method is 'tora', but there are no tracks", method="tora", tracks=None)
    refused(tora, "method is 'ati': .* auto, tora, none", method="ati")
    refused(tora, "Tracks and a control video are both given", control_video=torch.zeros(9, 32, 32, 3))
    refused(tora, "control video has 1 frames", tracks=None, control_video=torch.zeros(1, 32, 32, 3), frames=9)
    refused(tora, "^topk: tiny_tora_t2v", topk=2)
    with pytest.raises(InputError, match="is run with dpm_sde or ddim"):
        latents(tora, sampling={"scheduler": "unipc"})


def test_parts_that_belong_to_other_models_are_refused(tora):
    motion, *_ = encode(tora, I2V)
    sample = nodes["TrajectorySampler"]().sample
    with pytest.raises(InputError, match="another variant of CogVideoX than tiny_tora_t2v"):
        sample(tora.model(T2V), tora.text, motion)
    with pytest.raises(InputError, match="has no Tora parts"):
        sample(tora.model(PLAIN), tora.text, encode(tora)[0])
    wan_vae = nodes["TrajectoryVAELoader"]().load(str(embedded("vae")))[0]
    with pytest.raises(InputError, match="is not a VAE for tiny_tora_t2v"):
        nodes["TrajectoryEncode"]().encode(tora.model(T2V), wan_vae, tracks=tora.tracks)
    wan = nodes["TrajectoryModelLoader"]().load(str(embedded("model")))[0]
    with pytest.raises(InputError, match="encoded for tiny_tora_t2v.safetensors .cogvideox."):
        sample(wan, tora.text, encode(tora)[0])


def conditioning(tokens, mask=None):
    return [[tokens, {"pooled_output": None} if mask is None else {"attention_mask": mask}]]


def test_comfyuis_conditioning_gives_the_text_it_holds(tora):
    (taken,) = nodes["TrajectoryTextFromConditioning"]().convert(
        conditioning(tora.text.positive, torch.ones(1, 12)), conditioning(tora.text.negative)
    )
    motion, *_ = encode(tora)
    samples = nodes["TrajectorySampler"]().sample(tora.model(T2V), taken, motion)[0]["samples"]
    assert torch.equal(samples, latents(tora))


@pytest.mark.parametrize("rows, mask, told", [
    (11, None, "positive text has 11 tokens"),
    (13, None, "positive text has 13 tokens.* must be shortened"),
    (12, [1] * 4 + [0] * 8, "positive text was encoded with its padding masked"),
])  # fmt: skip
def test_comfyuis_conditioning_that_is_not_padded_as_in_training_is_refused(tora, rows, mask, told):
    mask = None if mask is None else torch.tensor([mask])
    (text,) = nodes["TrajectoryTextFromConditioning"]().convert(conditioning(torch.zeros(1, rows, 16), mask))
    with pytest.raises(InputError, match=f"^text.*{told}.*"):
        nodes["TrajectorySampler"]().sample(tora.model(T2V), text, encode(tora)[0], cfg=1.0)


def test_split_parts_are_chosen_in_the_loader(tora, tmp_path):
    state = load_file(tora.folder / "diffusion_models" / T2V)
    for name in ("fuser", "traj_extractor"):
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        save_file(part, tmp_path / f"{name}.safetensors")
    load = nodes["TrajectoryModelLoader"]().load
    (model,) = load(PLAIN, motion_name=str(tmp_path / "fuser.safetensors"))
    motion, *_ = nodes["TrajectoryEncode"]().encode(model, tora.vae, tracks=tora.tracks)
    assert "flow" in motion.inputs
    with pytest.raises(InputError, match="^model_name: .*takes no file of motion parts"):
        load(str(embedded("model")), motion_name=str(tmp_path / "fuser.safetensors"))
    check = nodes["TrajectoryModelLoader"].VALIDATE_INPUTS
    assert check(PLAIN) is True and "motion_name: 'gone'" in check(PLAIN, "gone")


@pytest.mark.parametrize("file", [T2V, I2V])
def test_swapping_the_loader_files_of_the_embedded_ati_workflow_is_all_it_takes(tora, tmp_path, file, monkeypatch):
    monkeypatch.setattr(host, "output_folder", tmp_path / "output")
    graph = json.loads(EMBEDDED.read_text("utf-8"))
    files = {"TrajectoryModelLoader": file, "TrajectoryVAELoader": VAE_FILE, "TrajectoryTextEncoderLoader": TEXT_FILE}
    for node in graph["nodes"]:
        if node["type"] in files:
            node["widgets_values"][0] = files[node["type"]]
    run_workflow(save(tmp_path / "graph.json", graph))
    (video,) = (tmp_path / "output").rglob("*.mp4")
    assert video.stat().st_size > 0


def test_encoding_and_decoding_fall_back_to_tiles_when_memory_is_short(tora, monkeypatch):
    asked = []

    def short_of_memory(real):
        def work(x, tiling=None):
            asked.append(tiling)
            if tiling is None:
                raise torch.OutOfMemoryError("too much")
            return real(x, tiling)

        return work

    whole, *_ = encode(tora, width=144, height=112)
    monkeypatch.setattr(coding, "FALLBACK_TILE", 100)
    for name in ("moments", "decode"):
        monkeypatch.setattr(tora.vae.module, name, short_of_memory(getattr(tora.vae.module, name)))
    motion, *_ = encode(tora, width=144, height=112)
    (frames,) = nodes["TrajectoryDecode"]().decode(tora.vae, {"samples": motion.inputs["flow"] / 0.7})
    assert frames.shape == (9, 112, 144, 3) and [tiling is None for tiling in asked] == [True, False, True, False]
    assert (motion.inputs["flow"] - whole.inputs["flow"]).abs().mean() < 0.3 * whole.inputs["flow"].std()
