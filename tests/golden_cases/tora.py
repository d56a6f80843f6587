"""Golden cases of the CogVideoX transformer, Tora's trajectory branch and the VAE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from comfyui_trajectory.models.cogvideox import build
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig, CogVideoXVAEConfig
from comfyui_trajectory.models.cogvideox.latents import drawn, image_conditioning, latent_format
from comfyui_trajectory.models.cogvideox.layouts import IGNORED
from comfyui_trajectory.models.cogvideox.positions import rotary_positions, sinusoidal_positions
from comfyui_trajectory.models.cogvideox.system import CogVideoXModel, CogVideoXVideoVAE
from comfyui_trajectory.models.cogvideox.tiles import Tiling
from comfyui_trajectory.models.cogvideox.tora import MotionFuser, TrajectoryExtractor
from comfyui_trajectory.models.cogvideox.vae import CogVideoXVAE
from comfyui_trajectory.models.common.checkpoint import Checkpoint, assign
from comfyui_trajectory.models.common.pictures import to_pixels
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.common.rope import crop_region
from comfyui_trajectory.models.common.sampling import sample
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.models.common.types import Motion, TextConditioning
from comfyui_trajectory.trajectory.flow import flow_colours, flow_of_tracks, flow_pixels, flow_video
from comfyui_trajectory.trajectory.tora import official_tracks

from . import GoldenCase, configured
from .tora_parts import t5_encoder, trajectory_pixels


def loaded(kind: str, weights: dict, config: dict) -> torch.nn.Module:
    checkpoint = Checkpoint.from_tensors(weights)
    return build(checkpoint, identify(checkpoint, kind, config))


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """[batch, frames, channels, h, w], as Tora's code has it, to ours and back."""
    return x.transpose(1, 2)


def rope(case: GoldenCase) -> None:
    for row, expected in zip(case.inputs["crop_grid"].tolist(), case.outputs["crop_coords"].tolist()):
        (top, left), (bottom, right) = crop_region(tuple(row[:2]), tuple(row[2:]))
        assert [top, left, bottom, right] == expected, row
    for name, sub in case.config["subcases"].items():
        config = configured(CogVideoXConfig, {**sub, "patch_size_t": sub["patch_size_t"] or 1})
        frames = -(-sub["latent_frames"] // config.patch_size_t)
        grid = (frames, sub["latent_height"] // 2, sub["latent_width"] // 2)
        cos, sin = rotary_positions(config, grid, torch.device("cpu"))
        case.check(f"{name}.cos", cos)
        case.check(f"{name}.sin", torch.where(torch.arange(sin.shape[1]) % 2 == 0, -sin, sin))


def transformer(case: GoldenCase) -> None:
    model = loaded("diffusion model", case.weights, case.config)
    for name, sub in case.config["subcases"].items():
        size = name.split(".")[0]
        x = channels_first(case.inputs[f"{size}.hidden_states"])
        x, image = x[:, :16], x[:, 16:] if x.shape[1] > 16 else None
        flow = channels_first(case.inputs[f"{size}.video_flow"]) if sub["video_flow"] else None
        text = case.inputs[f"{size}.encoder_hidden_states"]
        if f"{name}.feature.0" in case.outputs:
            for index, feature in enumerate(model.traj_extractor(flow)):
                case.check(f"{name}.feature.{index}", feature)
            case.check(f"{name}.patch_embed", model.patch_embed(text, x if image is None else torch.cat([x, image], 1)))
            blocks_agree(case, name, model, text.shape[1])
        out = model(x, torch.tensor(sub["timestep"], device=case.device), text, image=image, flow=flow)
        case.check(f"{name}.out", channels_first(out))
        if f"{size}.sincos_pos_embedding" in case.outputs:
            grid = (x.shape[2], x.shape[3] // 2, x.shape[4] // 2)
            table = case.outputs[f"{size}.sincos_pos_embedding"][0, text.shape[1] :]
            case.close(sinusoidal_positions(model.config, grid), table, f"{size} positions")


def blocks_agree(case: GoldenCase, name: str, model: torch.nn.Module, words: int) -> None:
    """Compares what each block gives the next time that the model runs."""
    handles = []
    for index, block in enumerate(model.transformer_blocks):

        def check(module, inputs, outputs, index=index):
            handles[index].remove()
            case.check(f"{name}.block.{index}.video", outputs[:, words:])
            case.check(f"{name}.block.{index}.text", outputs[:, :words])

        handles.append(block.register_forward_hook(check))


tora_dit_t2v = tora_dit_i2v = transformer


def sat_transformer(case: GoldenCase) -> None:
    """The original release's names; its table of learned positions is in the file and has no influence."""
    sizes = case.config
    stated = {"sample_width": sizes["latent_width"], "sample_height": sizes["latent_height"],
              "sample_frames": sizes["num_frames"], "max_text_seq_length": sizes["text_length"]}  # fmt: skip
    model = loaded("diffusion model", case.weights, stated)
    image = channels_first(case.inputs["concat"]) if "concat" in case.inputs else None
    for name in case.outputs:
        timestep, flow, _ = name.split(".")
        out = model(
            channels_first(case.inputs["x"]),
            torch.full((len(case.inputs["x"]),), int(timestep[1:]), device=case.device),
            case.inputs["context"],
            image=image,
            flow=channels_first(case.inputs["video_flow"]) if flow == "flow" else None,
        )
        case.check(name, channels_first(out))


tora_sat_dit_t2v = tora_sat_dit_i2v = sat_transformer


def extractor(weights: dict, channels: list[int]) -> TrajectoryExtractor:
    module = TrajectoryExtractor(16, channels[0], len(channels), (1, 2, 2))
    return assign(module, weights, ignore=(*IGNORED, r".*num_batches_tracked")).eval()


def traj_extractor(case: GoldenCase) -> None:
    module = extractor(case.weights, case.config["channels"])
    for name in ("even", "odd"):
        for index, feature in enumerate(module(case.inputs[f"{name}.x"])):
            case.check(f"{name}.features.{index}", feature)


def mgf(case: GoldenCase) -> None:
    fuser = assign(MotionFuser(case.config["flow_in_channel"], case.config["out_channels"]), case.weights)
    for name, sub in case.config["subcases"].items():
        case.check(f"{name}.out", fuser(case.inputs[f"{name}.h"], case.inputs[f"{name}.flow"], sub["T"]))


def kijai_tora_files(case: GoldenCase) -> None:
    module = extractor(case.tensors("weights.traj_extractor.safetensors"), case.config["channels"])
    features = torch.stack(module(case.inputs["flow_latents"], case.config["strength"]))
    case.check("features", features)
    case.check("features_cfg", features.repeat(1, 2, 1, 1, 1))
    fusers = torch.nn.ModuleList(MotionFuser(features.shape[2], case.config["hidden_size"]) for _ in features)
    assign(fusers, case.tensors("weights.fuser.safetensors"))
    for index, (fuser, feature) in enumerate(zip(fusers, features)):
        case.check(f"fused.{index}", fuser(case.inputs["tokens"], feature.repeat(2, 1, 1, 1), features.shape[1]))


def cogvideox_vae(case: GoldenCase) -> None:
    vae = loaded("vae", case.weights, case.config)
    for name in case.outputs:
        operation, count, what = name.split(".")
        frames = int(count[1:])
        if operation == "decode":
            case.check(name, vae.decode(case.inputs["latents"][:, :, :frames]))
            continue
        moments = vae.moments(case.inputs["video"][:, :, :frames])
        case.check(name, moments if what == "moments" else drawn(moments, case.inputs[f"sample_noise.{count}"]) * 0.7)


def cogvideox_vae_tiled(case: GoldenCase) -> None:
    vae = loaded("vae", case.weights, case.config)
    tiling = Tiling(case.config["tile_sample_min_height"], case.config["tile_sample_min_width"])
    case.check("encode.moments", vae.moments(case.inputs["video"], tiling))
    case.check("encode_image.moments", vae.moments(case.inputs["video"][:, :, :1], tiling))
    case.check("encode_image_untiled.moments", vae.moments(case.inputs["video"][:, :, :1]))
    case.check("decode.video", vae.decode(case.inputs["latents"], tiling))


def wrapped(vae: torch.nn.Module) -> CogVideoXVideoVAE:
    format = latent_format({}, scaling=vae.config.scaling_factor)
    return CogVideoXVideoVAE(vae, Path("vae.safetensors"), format, device=next(vae.parameters()).device)


def i2v_prepare_latents(case: GoldenCase) -> None:
    for name, sub in case.config["subcases"].items():
        config = configured(CogVideoXVAEConfig, {**case.config, **sub})
        with torch.device("meta"):
            module = CogVideoXVAE(config)
        module.load_state_dict(case.weights, strict=False, assign=True)  # the encoder's half
        vae = wrapped(module)
        noise = {what: case.inputs[f"{name}.noise_{what}"] for what in ("image", "flow", "latents")}
        image = vae.image_latents(case.inputs["image"][:, :, None], noise["image"], config.invert_scale_latents)
        frames, patch = (sub["num_frames_argument"] - 1) // 4 + 1, sub["patch_size_t"] or 1
        case.check(f"{name}.latents", noise["latents"])
        case.check(f"{name}.image_latents", channels_first(image_conditioning(image, frames, patch)))
        flow = vae.flow_latents(channels_first(case.inputs[f"{name}.video_flow"]), noise["flow"])
        case.check(f"{name}.flow_latents", channels_first(flow))


def e2e(case: GoldenCase) -> None:
    """The official pipeline: trajectories, image and prompts in, video out, with the stored noise."""
    config, inputs, call = case.config, case.inputs, case.config["call"]
    module = loaded("diffusion model", case.tensors("weights.transformer.safetensors"), config["transformer"])
    model = CogVideoXModel(module, module.config, Path("tora.safetensors"), {})
    vae = wrapped(loaded("vae", case.tensors("weights.vae.safetensors"), config["vae"]))
    encoder = t5_encoder(case.tensors("weights.text_encoder.safetensors"))
    text = {name: encoder.encode_ids(inputs[f"{name}_ids"]) for name in ("prompt", "negative")}
    for name, tokens in text.items():
        case.check(f"{name}_embeds", tokens)

    width, height, frames = call["width"], call["height"], call["num_frames"]
    pixels = trajectory_pixels(case, frames, width, height)
    colours = flow_colours(flow_of_tracks(official_tracks(pixels, width, height), width, height))
    assert (colours.int() - inputs["flow_rgb"].int()).abs().max() <= 1
    few = flow_video(official_tracks(pixels, width, height), width, height)
    assert (few - flow_pixels(inputs["flow_rgb"])).abs().max() < 1.01 / 127.5
    noise = [inputs[name] for name in case.data["noise_order"]]
    plain = {}
    if model.variant == "i2v":
        latents = vae.image_latents(to_pixels(inputs["image"].float() / 255), noise.pop(0))
        plain["image"] = image_conditioning(latents, (frames - 1) // 4 + 1)
        case.check("image_latents", channels_first(plain["image"]))
    flow = vae.flow_latents(flow_pixels(inputs["flow_rgb"]), noise.pop(0))
    case.check("flow_latents", channels_first(flow))
    case.check("init_latents", noise[0])

    seen, guides = [], []
    motion = Motion("cogvideox", width, height, frames, {**plain, "flow": flow}, plain)

    def run(motion: Motion) -> torch.Tensor:
        return sample(
            model, TextConditioning(text["prompt"], text["negative"]), motion, steps=call["num_inference_steps"],
            cfg=call["guidance_scale"], shift=config["scheduler"]["snr_shift_scale"],
            scheduler="dpm_sde" if call["use_dynamic_cfg"] else "ddim", noise=map(channels_first, noise),
            callback=lambda step, steps, x0: seen.append(channels_first(x0)),
        )  # fmt: skip

    result = run(motion)
    case.check("pred_original", torch.stack(seen))
    case.close(channels_first(result), case.outputs["latents_after_step"][-1], "latents")
    schedule = make_scheduler("dpm_sde" if call["use_dynamic_cfg"] else "ddim", call["num_inference_steps"], 1.0)
    for schedule.index in range(call["num_inference_steps"]):
        guides.append(schedule.guidance(call["guidance_scale"]))
    case.check("guidance", torch.tensor(guides, dtype=torch.float64))
    case.check("timesteps", schedule.timesteps)
    case.check("decoded", vae.pixels(vae.latent_format.to_plain(result), None))
    case.check("frames", channels_first(vae.decode(result) / 2 + 0.5))
    if "no_flow.latents_last" in case.outputs:
        case.check("no_flow.latents_last", channels_first(run(replace(motion, inputs=plain))))


e2e_t2v = e2e_t2v_ddim = e2e_i2v = e2e
