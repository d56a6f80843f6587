"""EasyAnimate's models through the same nodes as ATI's: what each variant makes, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.models.common.sampling import rescaled
from comfyui_trajectory.models.easyanimate.control import heat_video
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.inputs import InputError
from comfyui_trajectory.trajectory import Tracks

from ..tiny_easyanimate import TEXT_DIM, TEXT_FILE, VAE_FILE, transformer_file, write_tiny

STILL = {"width": 48, "height": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models"))


@pytest.fixture
def ea(folder, plain_host, monkeypatch):
    """The tiny models' parts, pictures, a video and tracks. `model(variant)` loads one."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(folder))
    torch.manual_seed(0)
    load = nodes["TrajectoryModelLoader"]().load
    return SimpleNamespace(
        model=lambda variant: load(transformer_file(variant))[0],
        vae=nodes["TrajectoryVAELoader"]().load(VAE_FILE)[0],
        text_encoder=nodes["TrajectoryTextEncoderLoader"]().load(TEXT_FILE)[0],
        image=torch.rand(1, 40, 50, 3), end=torch.rand(1, 36, 60, 3), video=torch.rand(9, 32, 48, 3),
        tracks=nodes["TrajectoryFromCoordinates"]().read("[[10, 10], [30.5, 20.25]]", 48, 32)[0],
    )  # fmt: skip


def encode(ea, variant, **inputs):
    return nodes["TrajectoryEncode"]().encode(ea.model(variant), ea.vae, **inputs)


def made(ea, variant, motion, **inputs):
    text = nodes["TrajectoryTextEncode"]().encode(ea.text_encoder, "a dog runs", "ugly")[0]
    return nodes["TrajectorySampler"]().sample(ea.model(variant), text, motion, **inputs)[0]


def latents(ea, variant, given=None, **sampling):
    motion, *_ = encode(ea, variant, **{**STILL, **(given or {})})
    return made(ea, variant, motion, **sampling)["samples"]


def poses(*moves, **inputs):
    inputs |= {f"move_{i}": move for i, move in enumerate(moves, 1)}
    return nodes["TrajectoryCameraPoses"]().make(**inputs)


def refused(ea, variant, match, **inputs):
    with pytest.raises(InputError, match=match):
        encode(ea, variant, **{**STILL, **inputs})


def test_each_variant_makes_a_video(ea):
    for variant, given in {
        "t2v": {}, "inp": {"start_image": ea.image, "end_image": ea.end}, "control": {"tracks": ea.tracks},
        "camera": {"camera_poses": poses("Pan Left")[0]},
    }.items():  # fmt: skip
        motion, shown, _ = encode(ea, variant, **STILL, **given)
        latent = made(ea, variant, motion)
        (frames,) = nodes["TrajectoryDecode"]().decode(ea.vae, latent)
        assert latent["samples"].shape == (1, 16, 2, 4, 6), variant
        assert frames.shape == (5, 32, 48, 3) and 0 <= frames.min() < frames.max() <= 1
        assert shown.shape[1] == 32 and 0 <= shown.min() <= shown.max() <= 1


@pytest.mark.parametrize(
    "variant, first, second",
    [
        ("inp", {}, {"start_image"}), ("inp", {"start_image"}, {"start_image", "end_image"}),
        ("inp", {}, {"end_image"}),
        ("control", {}, {"tracks"}), ("control", {"tracks"}, {"tracks", "start_image"}),
        ("control", {"tracks"}, {"tracks", "control_video"}),
        ("camera", {"camera_poses"}, {"camera_poses", "start_image"}),
    ],
)  # fmt: skip
def test_whatever_is_connected_changes_the_video(ea, variant, first, second):
    given = {"start_image": ea.image, "end_image": ea.end, "tracks": ea.tracks, "control_video": ea.video,
             "camera_poses": poses("Zoom In", frames=5)[0]}  # fmt: skip
    one, other = (latents(ea, variant, {name: given[name] for name in names}) for names in (first, second))
    assert (one - other).abs().max() > 1e-3


def test_the_camera_moves_the_video_and_poses_of_any_length_fit_the_clip(ea):
    still, pan, longer = (
        latents(ea, "camera", {"camera_poses": poses(move, frames=frames)[0]})
        for move, frames in (("Static", 5), ("Pan Left", 5), ("Pan Left", 49))
    )
    assert (still - pan).abs().max() > 1e-3
    assert (longer - pan).abs().max() < (still - pan).abs().max()


def test_strength_and_the_share_of_steps_let_go_of_the_tracks(ea):
    given = {"start_image": ea.image, "tracks": ea.tracks}
    full, off, none = (latents(ea, "control", {**given, **more}) for more in ({}, {"strength": 0.0}, {"tracks": None}))
    half = latents(ea, "control", {**given, "end_percent": 0.4})
    assert torch.allclose(off, none, atol=1e-6)
    assert (full - none).abs().max() > 1e-3 and (half - full).abs().max() > 1e-4 and (half - none).abs().max() > 1e-4


def test_a_video_is_kept_the_more_the_lower_denoise_is(ea):
    for variant in ("t2v", "inp"):
        motion, *_ = encode(ea, variant, **STILL, video=ea.video)
        kept = motion.latents / 0.7125
        away = [(made(ea, variant, motion, denoise=d, steps=4)["samples"] - kept).abs().mean() for d in (0.1, 0.5, 1.0)]
        assert away[0] < away[1] < away[2]


def test_a_mask_says_what_of_a_video_is_made_anew(ea):
    mask = torch.zeros(1, 32, 48)
    mask[:, :, 24:] = 1
    motion, shown, _ = encode(ea, "inp", **STILL, video=ea.video, mask=mask)
    assert (shown[:, :, :24] - ea.video[:5, :, :24]).abs().max() < 1 / 255 + 1e-6 and (shown[:, :, 24:] == 0.5).all()
    y = motion.inputs["y"]
    assert y.shape == (1, 17, 2, 4, 6)
    assert torch.allclose(y[:, 0, :, :, :3], torch.tensor(0.7125)) and (y[:, 0, :, :, 3:] == 0).all()
    no_mask, *_ = encode(ea, "inp", **STILL, video=ea.video)
    assert (no_mask.inputs["y"] == 0).all()
    flicker = torch.stack([torch.full((32, 48), float(i % 2)) for i in range(5)])
    assert encode(ea, "inp", **STILL, video=ea.video, mask=flicker)[0].inputs["y"][0, 0].std() > 0.01


def test_several_start_images_are_the_first_frames(ea):
    many = torch.rand(3, 32, 48, 3)
    _, shown, _ = encode(ea, "inp", **STILL, start_image=many)
    assert (shown[:3] - many).abs().max() < 1 / 255 + 1e-6 and (shown[3:] == 0.5).all()
    refused(ea, "inp", "6 start and end images are more than the clip's 5", start_image=torch.rand(6, 32, 48, 3))


def test_the_little_noise_on_the_pictures_has_a_seed(ea):
    given = {"start_image": ea.image}
    first, again, other = (
        encode(ea, "inp", **STILL, **given, image_noise_seed=seed)[0].inputs["y"] for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and 1e-5 < (first - other).abs().max() < 1


def test_the_clip_takes_length_and_shape_from_its_video(ea):
    motion, *_ = encode(ea, "control", control_video=ea.video[:4])
    assert motion.frames == 1
    tall = torch.rand(6, 100, 50, 3)
    motion, *_ = encode(ea, "control", control_video=tall)
    assert (motion.width, motion.height, motion.frames) == (32, 80, 5), "the bucket of that shape at 64 pixels"


def test_one_frame_takes_the_reference_too(ea):
    given = {"control_video": ea.video[:1], "frames": 1}
    without, with_reference = (latents(ea, "control", {**given, **more}) for more in ({}, {"start_image": ea.image}))
    assert (without - with_reference).abs().max() > 1e-3


def test_any_number_of_tracks_of_any_length_with_fractions_are_drawn(ea):
    text = str(
        [
            [[4.25, 5], [20, 9.75]],
            [[[30, 20]], [[1, 1], [2, 2], [3, 3.5]]],
            *([[i, i], [i + 1.5, 2]] for i in range(12)),
        ]
    )
    (tracks,) = nodes["TrajectoryFromCoordinates"]().read(text, 192, 128)
    assert tracks["track_path"].shape[1] == 15
    _, shown, _ = encode(ea, "control", width=192, height=128, tracks=tracks)
    assert shown.shape == (5, 128, 192, 3) and shown.flatten(1).max(1).values.min() > 0.9


def test_a_spot_moves_with_its_point_by_parts_of_a_pixel_and_hides_with_it():
    path = torch.tensor([[[40.0, 30.0]], [[40.25, 30.0]], [[40.5, 30.75]], [[41.0, 31.0]], [[40.0, 30.0]]])
    visible = torch.tensor([[True]] * 4 + [[False]])
    video = heat_video(Tracks(path, visible, (160, 96)), 160, 96).double()
    rows, columns = torch.arange(96.0).double(), torch.arange(160.0).double()
    weight = video.sum((1, 2))
    centre = torch.stack([(video.sum(1) * columns).sum(1) / weight, (video.sum(2) * rows).sum(1) / weight], -1)[:4]
    assert torch.allclose(centre - centre[0], (path[:4, 0] - path[0, 0]).double(), atol=0.02)
    assert weight[4] == 0


def test_the_step_cache_leaves_steps_out_and_a_small_threshold_does_not(ea):
    exact, cautious, bold = (latents(ea, "t2v", steps=6, step_cache=share) for share in (0.0, 1e-6, 1.0))
    assert torch.equal(exact, cautious) and (exact - bold).abs().max() > 1e-4


def test_rescaled_guidance_changes_the_contrast(ea):
    plain, changed = (latents(ea, "t2v", cfg=6.0, cfg_rescale=share) for share in (0.0, 0.7))
    assert (plain - changed).abs().max() > 1e-4
    guided, prompted = 3 * torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    assert torch.allclose(rescaled(guided, prompted, 1.0).std((1, 2)), prompted.std((1, 2)))


@pytest.mark.parametrize(
    "variant, given, match",
    [
        ("t2v", {"start_image"}, "needs the InP model"),
        ("t2v", {"video", "mask"}, "mask needs the InP model.*is the t2v one"),
        ("t2v", {"tracks"}, "Tracks need the Control model"),
        ("inp", {"tracks", "start_image"}, "Tracks need the Control model.*is the inp one"),
        ("inp", {"control_video"}, "control video needs the Control model"),
        ("inp", {"video", "start_image"}, "both given"),
        ("inp", {"start_image", "mask"}, "connect the video too"),
        ("control", {"end_image"}, "end image needs the InP model"),
        ("control", {"camera_poses"}, "need the Control-Camera model"),
        ("camera", set(), "needs camera poses: connect Trajectory Camera Poses"),
        ("camera", {"tracks", "camera_poses"}, "Tracks need the Control model"),
    ],
)
def test_what_a_variant_has_no_place_for_is_refused_with_the_name_of_the_one_that_has(ea, variant, given, match):
    inputs = {"start_image": ea.image, "end_image": ea.end, "tracks": ea.tracks, "control_video": ea.video,
    "video": ea.video,
              "mask": torch.ones(1, 32, 48), "camera_poses": poses("Pan Up")[0]}  # fmt: skip
    refused(ea, variant, match, **{name: inputs[name] for name in given})


@pytest.mark.parametrize(
    "variant, inputs, match",
    [
        ("control", {"control_video": torch.rand(3, 8, 8, 3), "frames": 5},
        r"control video has 3 frames, the clip 5.*frames 1"),
        ("t2v", {"video": torch.rand(2, 8, 8, 3), "frames": 5}, "video has 2 frames, the clip 5"),
        ("inp", {"end_image": torch.rand(2, 8, 8, 3)}, "2 end images: a clip has one last frame"),
        ("inp", {"video": torch.rand(5, 8, 8, 3), "mask": torch.ones(2, 8, 8)}, "mask is .2, 8, 8.*5 frames"),
        ("camera", {"camera_poses": "Pan Left"}, "^camera_poses: these are no camera poses"),
        ("control", {"control_video": torch.rand(5, 8, 8)}, "^control_video: an IMAGE"),
        ("control", {"topk": 2}, "^topk: .* takes none"),
        ("control", {"frames": 6}, "4n . 1. The nearest is 5"),
        ("control", {"method": "ati"}, "method is 'ati': EasyAnimate knows auto and none"),
    ],
)  # fmt: skip
def test_bad_input_names_what_is_wrong_and_what_would_do(ea, variant, inputs, match):
    refused(ea, variant, match, **inputs)


def test_a_motion_of_another_variant_and_words_of_another_system_are_refused(tiny, ea):
    motion, *_ = encode(ea, "control", **STILL, tracks=ea.tracks)
    with pytest.raises(InputError, match="another variant of EasyAnimate"):
        made(ea, "inp", motion)
    words = nodes["TrajectoryTextEncode"]().encode(tiny.text_encoder, "a dog", "")[0]
    with pytest.raises(InputError, match="tiny_easyanimate_control.* the model is tiny_transformer"):
        nodes["TrajectorySampler"]().sample(tiny.model, words, motion)
    with pytest.raises(InputError, match="tiny_text_encoder.*another system. EasyAnimate V5.1 needs Qwen2-VL-7B"):
        nodes["TrajectorySampler"]().sample(ea.model("control"), words, motion)
    with pytest.raises(InputError, match="is not a VAE for"):
        nodes["TrajectoryEncode"]().encode(ea.model("control"), tiny.vae, **STILL, tracks=ea.tracks)


def test_ati_refuses_what_only_easyanimate_takes(tiny, ea):
    for name, value in {"end_image": ea.end, "control_video": ea.video, "camera_poses": poses("Pan Up")[0],
                        "image_noise_seed": 3}.items():  # fmt: skip
        with pytest.raises(InputError, match=f"^{name}: .* takes none"):
            nodes["TrajectoryEncode"]().encode(tiny.model, tiny.vae, start_image=tiny.image, **{name: value})


def test_a_camera_move_drives_ati_through_its_tracks(tiny):
    _, tracks, _, _ = poses("Pan Left", width=32, height=32, frames=5)
    still, moved = (
        nodes["TrajectoryEncode"]().encode(
            tiny.model, tiny.vae, start_image=tiny.image, image_encoder=tiny.image_encoder, tracks=given
        )[0].inputs["y"]
        for given in (None, tracks)
    )  # fmt: skip
    assert (still - moved).abs().max() > 0.01


def test_camera_poses_come_from_a_file_a_text_and_other_poses_in_that_order(plain_host, tmp_path):
    first, *_, json = poses("Pan Left", frames=3)
    saved = nodes["TrajectorySaveCameraPoses"]().save(first, str(tmp_path / "camera"))["result"][0]
    joined, tracks, picture, _ = poses("Zoom In", frames=2, before=first, file=saved, poses=json)
    assert joined.frames == 3 + 3 + 3 + 2 == tracks["track_path"].shape[0] and picture.shape == (1, 384, 768, 3)
    assert poses(frames=7)[0].frames == 7 and poses(poses=json)[0].frames == 3, "no moves: only what is given"
    assert poses("Pan Up", "Pan Down", arrange="one after the other", frames=8)[0].frames == 8
    assert nodes["TrajectoryCameraPoses"].VALIDATE_INPUTS("none") is True
    assert "gone.txt" in nodes["TrajectoryCameraPoses"].VALIDATE_INPUTS("gone.txt")


@pytest.mark.parametrize(
    "inputs, match",
    [({"poses": "clip\n1 2"}, "^poses: line 2"), ({"before": 3}, "^before: "), ({"file": "gone.txt"}, "^file: "),
     ({"move_1": "Fly"}, "^move_1.*'Fly' is no camera move"), ({"nearness": torch.rand(3)}, "^nearness: ")],
)  # fmt: skip
def test_bad_camera_input_names_the_input(plain_host, inputs, match):
    with pytest.raises(InputError, match=match):
        nodes["TrajectoryCameraPoses"]().make(**inputs)


def test_a_prompt_of_any_length_gives_all_256_rows(ea):
    for prompt in ("", "a dog", "a dog " * 300):
        assert ea.text_encoder.encode(prompt).shape == (256, TEXT_DIM)
    short, other = ea.text_encoder.encode("a dog"), ea.text_encoder.encode("a cat")
    assert (short - other).abs().max() > 1e-3


def test_fp8_weights_stay_close_and_tiles_give_nearly_the_same_frames(ea):
    load = nodes["TrajectoryModelLoader"]().load
    motion, *_ = encode(ea, "control", width=96, height=96, tracks=ea.tracks)
    text = nodes["TrajectoryTextEncode"]().encode(ea.text_encoder, "a dog runs", "ugly")[0]
    full, small = (
        nodes["TrajectorySampler"]().sample(load(transformer_file("control"), dtype)[0], text, motion, steps=2)[0]
        for dtype in ("auto", "fp8_e4m3fn")
    )
    change = (full["samples"] - small["samples"]).norm() / full["samples"].norm()
    assert 1e-4 < change < 0.2
    whole, tiled = (nodes["TrajectoryDecode"]().decode(ea.vae, full, tile)[0] for tile in (0, 64))
    assert whole.shape == tiled.shape == (5, 96, 96, 3) and (whole - tiled).abs().mean() < 0.1
