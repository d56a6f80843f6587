"""Bad input to a node: the error names the input, says what is wrong and what would do."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.inputs import InputError
from safetensors.torch import load_file, save_file

from ..tiny import FILES


def fails(name: str, *inputs, match: str, **named) -> str:
    cls = nodes[name]
    with pytest.raises(InputError, match=match) as failure:
        getattr(cls(), cls.FUNCTION)(*inputs, **named)
    return str(failure.value)


@pytest.mark.parametrize(
    "text", ["", "   ", "[", "[[1, 2], [3]]", '[{"x": 1}]', "[[1, NaN]]", "[[1, 1e99]]", "[]", "[[]]", "7", '"x"']
)
def test_coordinates_that_are_no_tracks(text):
    fails("TrajectoryFromCoordinates", text, match="^coordinates: ")


def test_gigantic_coordinates_end_at_once():
    fails("TrajectoryFromCoordinates", "[" * 100_000, match="^coordinates: ")
    fails("TrajectoryFromCoordinates", "[[1, 2]]" + " " * 2**26, match="^coordinates: .*at most")


def test_half_a_canvas():
    fails("TrajectoryFromCoordinates", "[[1, 2]]", 100, 0, match="^canvas_width, canvas_height: 100x0")


def test_a_value_that_is_no_tracks():
    fails("TrajectoryPreview", {"track_path": torch.zeros(0, 3, 2)}, match="^tracks: ")
    fails("TrajectoryPreview", "tracks", match="^tracks: ")
    fails(
        "TrajectoryMerge", {"track_path": torch.zeros(2, 3, 2)}, {"track_path": torch.zeros(2, 3)}, match="^tracks_2: "
    )


def test_tracks_without_a_canvas_cannot_be_scaled_about_its_middle():
    (tracks,) = nodes["TrajectoryFromCoordinates"]().read("[[1, 2]]")
    fails("TrajectoryTransform", tracks, scale=2.0, match="^scale: ")


def test_a_camera_that_shrinks_the_picture_to_nothing():
    fails("TrajectoryCameraMotion", zoom=-10.0, unit="pixels", match="^pan_x, .*zoom")


def test_a_track_file_that_is_missing(plain_host):
    message = fails("TrajectoryLoadTracks", "gone.json", match="^file: ")
    assert "gone.json" in message and nodes["TrajectoryLoadTracks"].VALIDATE_INPUTS("gone.json") == message


def test_a_track_file_that_contains_code(plain_host, tmp_path):
    (tmp_path / "input").mkdir()

    class Code:
        def __reduce__(self):
            return (print, ("run",))

    torch.save(Code(), tmp_path / "input" / "evil.pth")
    fails("TrajectoryLoadTracks", "evil.pth", match="^file: .*evil.pth")


def test_one_point_and_points_off_the_canvas_are_valid(tiny):
    for text in ("[[20, 20]]", "[[-50, 10], [900, 400]]"):
        (tracks,) = nodes["TrajectoryFromCoordinates"]().read(text, 384, 384)
        motion, *_ = nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, tracks=tracks, start_image=tiny.image)
        assert motion.inputs["y"].isfinite().all()


@pytest.mark.parametrize("frames", [1, 3, 200])
def test_tracks_of_any_length_drive_the_whole_clip(tiny, frames):
    points = [[100 + 200 * i / max(1, frames - 1), 100] for i in range(frames)]
    (tracks,) = nodes["TrajectoryFromCoordinates"]().read(json.dumps(points), 384, 384)
    motion, *_ = nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, tracks=tracks, start_image=tiny.image)
    assert motion.frames == 5 and motion.inputs["y"].shape[2] == 2


@pytest.mark.parametrize(
    "size, nearest", [((40, 32, 5), "32x32"), ((32, 32, 7), "nearest is 9"), ((8, 32, 5), "16x32")]
)
def test_a_size_that_the_model_cannot_take(tiny, size, nearest):
    width, height, frames = size
    fails("TrajectoryEncode", tiny.model, tiny.vae, width, height, frames, match=f"^width, height, frames: .*{nearest}")


def test_an_image_to_video_model_without_a_start_image(tiny):
    fails("TrajectoryEncode", tiny.model, tiny.vae, tracks=tiny.tracks, match="start_image.*start image is needed")


def test_both_kinds_of_image_encoder_at_once(tiny):
    output = tiny.image_encoder.encode_image(tiny.image)
    fails(
        "TrajectoryEncode", tiny.model, tiny.vae, start_image=tiny.image, image_encoder=tiny.image_encoder,
        clip_vision_output=output, match="^image_encoder, clip_vision_output: ",
    )  # fmt: skip


def test_text_of_another_system(tiny):
    motion, *_ = nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, tracks=tiny.tracks, start_image=tiny.image)
    (foreign,) = nodes["TrajectoryTextFromConditioning"]().convert([[torch.zeros(1, 77, 768), {}]])
    fails("TrajectorySampler", tiny.model, foreign, motion, cfg=1.0, match=r"^text.*\[1, 77, 768\]")


def test_conditionings_that_do_not_stand_for_one_prompt():
    pair = [torch.zeros(1, 5, 16), {}]
    fails("TrajectoryTextFromConditioning", [pair, pair], match="^positive: 2 conditionings")
    fails("TrajectoryTextFromConditioning", [pair], [], match="^negative: ")


def test_latents_of_a_picture_or_of_another_system(tiny):
    fails("TrajectoryDecode", tiny.vae, {"samples": torch.zeros(1, 4, 8, 8)}, match="^latent: ")
    fails("TrajectoryDecode", tiny.vae, {"samples": torch.zeros(1, 4, 2, 8, 8)}, match="^latent: ")
    motion, *_ = nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, tracks=tiny.tracks, start_image=tiny.image)
    (text,) = nodes["TrajectoryTextEncode"]().encode(tiny.text_encoder, "a dog")
    fails("TrajectorySampler", tiny.model, text, motion, denoise=0.5, match="^denoise, latent: .*Connect")
    for shape in ((1, 4, 8, 8), (1, 16, 9, 4, 4)):
        fails(
            "TrajectorySampler", tiny.model, text, motion, denoise=0.5, latent={"samples": torch.zeros(shape)},
            match="latent",
        )  # fmt: skip


def test_a_model_file_that_is_missing(plain_host):
    message = fails("TrajectoryModelLoader", "gone.safetensors", match="^model_name: 'gone.safetensors'")
    assert "diffusion_models" in message
    assert nodes["TrajectoryModelLoader"].VALIDATE_INPUTS("gone.safetensors") == message


def test_a_file_of_another_kind(plain_host, tiny_folder):
    vae = str(tiny_folder / "vae" / FILES["vae"])
    fails("TrajectoryModelLoader", vae, match="^model_name: .*VAE.*models/vae")
    model = str(tiny_folder / "diffusion_models" / FILES["diffusion_models"])
    fails("TrajectoryVAELoader", model, match="^vae_name: ")
    fails("TrajectoryTextEncoderLoader", vae, match="^text_encoder_name: ")
    fails("TrajectoryImageEncoderLoader", vae, match="^image_encoder_name: ")


@pytest.mark.parametrize("damage", ["truncated", "lacking", "extra", "nan", "unknown"])
def test_a_damaged_checkpoint(plain_host, tiny_folder, tmp_path, damage):
    source = tiny_folder / "diffusion_models" / FILES["diffusion_models"]
    target = tmp_path / "damaged_ati.safetensors"
    weights = load_file(source)
    if damage == "lacking":
        del weights["blocks.1.ffn.0.weight"]
    elif damage == "extra":
        weights["blocks.0.surprise.weight"] = torch.zeros(2)
    elif damage == "nan":
        weights["blocks.0.ffn.0.weight"][0, 0] = float("nan")
    elif damage == "unknown":
        weights = {"some.weight": torch.zeros(3)}
    save_file(weights, target)
    if damage == "truncated":
        target.write_bytes(source.read_bytes()[:-1000])
    fails("TrajectoryModelLoader", str(target), match=r"^model_name: .*damaged_ati\.safetensors")
