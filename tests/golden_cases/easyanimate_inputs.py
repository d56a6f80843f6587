"""Golden cases of what EasyAnimate's models are conditioned on: text, sizes, masks, trajectories, cameras."""

from __future__ import annotations

import ast

import torch
from comfyui_trajectory.models.easyanimate import text as qwen
from comfyui_trajectory.models.easyanimate.camera import pluecker_video
from comfyui_trajectory.models.easyanimate.conditioning import SCALE, at_latent_size, camera_channels, video_of_images
from comfyui_trajectory.models.easyanimate.config import EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.control import brightest, heat_video, spot, spot_radius
from comfyui_trajectory.models.easyanimate.frames import nearest
from comfyui_trajectory.models.easyanimate.latent import SCALING
from comfyui_trajectory.models.easyanimate.sizes import bucket_size
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE
from comfyui_trajectory.trajectory import parse_coordinates
from comfyui_trajectory.trajectory.moves import poses_of
from comfyui_trajectory.trajectory.pose_files import parse_poses, to_json
from comfyui_trajectory.trajectory.poses import CameraPoses

from . import GoldenCase
from .wan import build
from .wan_parts import loaded


def text(case: GoldenCase) -> None:
    encoder = loaded(qwen, "text encoder", case.weights, {"num_attention_heads": case.config["num_attention_heads"]})
    vocabulary = case.config["vocab_size"]
    encoder.pad = qwen.PAD % vocabulary
    for prompt in case.data["prompts"]:
        name = prompt["output"]
        assert qwen.TEMPLATE.format(prompt["text"]) == prompt["templated"]
        ids, mask = case.outputs[f"{name}_ids"], case.outputs[f"{name}_mask"]
        expected = case.outputs[f"{name}_embeds"]
        case.close(encoder.encode_ids(ids[None] % vocabulary, mask[None]), expected, name)
        given = (ids[: mask.sum()] % vocabulary).tolist()
        encoder.tokenizer = lambda templated, prompt=prompt, given=given: given * (templated == prompt["templated"])
        case.close(encoder.encode(prompt["text"])[None], expected, f"{name} through encode")


def size_bucket(case: GoldenCase) -> None:
    for query, size in zip(case.inputs["query"].tolist(), case.outputs["size"].tolist()):
        assert list(bucket_size(*query)) == size, query
    for frames, used, latent in zip(
        *(
            values.tolist()
            for values in (case.inputs["video_length"], *map(case.outputs.get, ("rounded_length", "latent_frames")))
        )
    ):
        assert (max(0, frames - 1) // 4 * 4 + 1, max(0, frames - 1) // 4 + 1) == (used, latent), frames


def inp_inputs(case: GoldenCase) -> None:
    for index, run in enumerate(case.data["runs"]):
        frames, width, height = run["video_length"], run["width"], run["height"]
        start = case.inputs["start_imgs"][: run["start"]] if run["start"] else None
        end = case.inputs["end_img"] if run["end"] else None
        video, mask = video_of_images(start, end, width, height, frames, "stretch")
        assert (mask == mask[..., :1, :1]).all()
        case.check(f"mask_frames_{index}", mask[0, 0, :, 0, 0])
        latent = at_latent_size(1 - mask, (frames - 1) // 4 + 1, height // 8, width // 8) * SCALING
        case.check(f"mask_latent_frames_{index}", latent[0, 0, :, 0, 0])
        if f"video_{index}" in case.outputs:
            case.check(f"video_{index}", video)
    mask = (case.inputs["random_mask"] >= 0.5).float()
    expected = case.outputs["random_mask_latents"]
    case.check("random_mask_latents", at_latent_size(1 - mask, *expected.shape[2:]) * SCALING)


def heat(sub: dict) -> torch.Tensor:
    """[frames, height, width] in 0..1 of a case's coordinates, which are one text or a list of texts."""
    texts = sub["coordinates"] if isinstance(sub["coordinates"], list) else [sub["coordinates"]]
    tracks = parse_coordinates([str(ast.literal_eval(text)) for text in texts])
    return heat_video(tracks, sub["width"], sub["height"]) / 255


def trajectory_control(case: GoldenCase) -> None:
    case.check("heatmap", torch.from_numpy(spot()))
    subs, images = case.data["text_inputs"], {}
    for name, sub in subs.items():
        if not name.startswith("sub_"):
            continue
        number = name.removeprefix("sub_")
        assert spot_radius(sub["width"], sub["height"]) == sub["circle_size"]
        images[f"image_{number}"] = image = heat(sub)
        case.check(f"image_{number}", image)
    pair = [images[subs["maximum"][name]][..., None].expand(-1, -1, -1, 3) for name in ("video_1", "video_2")]
    case.check("maximum", brightest(*pair)[..., 0])

    sub = subs["control_latents"]
    video = heat(sub)
    case.check("control_video", video[None, None])
    pixels = nearest(
        video[..., None].expand(-1, -1, -1, 3),
        sub["target_width"],
        sub["target_height"],
        "stretch",
        "The control video",
    )
    case.check("control_pixels", pixels)
    vae = build(EasyAnimateVAE, EasyAnimateVAEConfig, case.config["vae"], case.weights)
    case.check("control_latents", vae.encode(pixels) * SCALING)


def camera_control(case: GoldenCase) -> None:
    inputs, made = case.data["text_inputs"], {}
    for name, sub in inputs["presets"].items():
        made[name] = poses_of([sub["camera_pose"]], sub["video_length"], speed=sub["speed"])
    for sub in inputs["combine"]:
        names = [sub[f"camera_pose{i}"] for i in range(1, 5)]
        made[sub["output"]] = poses_of(names, sub["video_length"], speed=sub["speed"])
    for sub in inputs["join"]:
        made[sub["output"]] = made[sub["camera_pose1"]].then(made[sub["camera_pose2"]])
    for name, poses in made.items():
        case.check(name, torch.from_numpy(poses.world_to_camera))

    for name in ("trajectory", "trajectory_default"):
        sub = inputs[name]
        written = to_json(made[sub["camera_pose"]].with_lens([sub[key] for key in ("fx", "fy", "cx", "cy")]))
        numbers = torch.tensor(ast.literal_eval(sub["camera_trajectory"]))
        case.close(torch.tensor(ast.literal_eval(written))[: len(numbers)], numbers, name)
    for sub in inputs["plucker"]:
        poses = parse_poses(inputs[sub["from"]]["camera_trajectory"])
        case.check(sub["output"], pluecker_video(poses, sub["width"], sub["height"]))
    for sub in inputs["txt"]:
        # The reference drops the first line, whatever it holds.
        poses = parse_poses(sub["file"].split("\n", 1)[1])
        chosen = slice(None, None, sub["stride"])
        rays = pluecker_video(poses, sub["width"], sub["height"])[:, :, chosen][:, :, : sub["keep"]]
        case.check(sub["output"], rays)
    poses = parse_poses(inputs["v3"]["camera_trajectory"])
    case.check("v3_plucker_dim_last", pluecker_video(poses, inputs["v3"]["width"], inputs["v3"]["height"]))

    sub = inputs["camera_latents"]
    source = next(entry for entry in inputs["plucker"] if entry["output"] == sub["from"])
    poses: CameraPoses = parse_poses(inputs[source["from"]]["camera_trajectory"])
    size = (sub["latent_frames"], sub["latent_height"], sub["latent_width"])
    case.check("camera_latents", camera_channels(poses, source["width"], source["height"], size))
    case.check("camera_latents", at_latent_size(case.outputs[sub["from"]], *size) * SCALE)
