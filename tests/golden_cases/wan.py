"""Golden cases of the Wan transformer, its VAE, ATI's motion patch and whole generations."""

from __future__ import annotations

from pathlib import Path

import torch
from comfyui_trajectory.models.common.pictures import cover, to_pixels
from comfyui_trajectory.models.common.sampling import sample
from comfyui_trajectory.models.common.types import Motion, TextConditioning
from comfyui_trajectory.models.wan.config import WanConfig, WanVAEConfig
from comfyui_trajectory.models.wan.latent import WAN21
from comfyui_trajectory.models.wan.motion_patch import motion_patch as patch
from comfyui_trajectory.models.wan.size import size_for_area
from comfyui_trajectory.models.wan.system import WanVideoModel, WanVideoVAE, plain_conditioning
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE

from comfyui_trajectory.models.wan import image, text
from comfyui_trajectory.trajectory.ati import comfy_tracks
from comfyui_trajectory.trajectory.coordinates import parse_batches

from . import GoldenCase, configured
from .trajectory import padded
from .wan_parts import loaded


def build(cls, config_class, config: dict, weights: dict):
    with torch.device("meta"):
        module = cls(configured(config_class, config))
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False)


def transformer_runs(case: GoldenCase) -> None:
    model = build(WanTransformer, WanConfig, case.config, case.weights)
    inputs = case.inputs
    i2v = case.config["model_type"] == "i2v"

    def run(samples, t):
        context = torch.nn.utils.rnn.pad_sequence([inputs[f"context_{i}"] for i in samples], batch_first=True)
        extra = {"y": inputs["y"][samples], "clip_fea": inputs["clip_fea"][samples]} if i2v else {}
        return model(inputs["x"][samples], t, context, **extra)

    case.check("out_a", run([0], inputs["t"][:1])[0])
    case.check("out_b", run([1], inputs["t"][1:2])[0])
    case.check("out_c", run([0, 1], inputs["t"][2:4]))
    case.check("out_d", run([0], inputs["t_float"])[0])


wan_dit_i2v = wan_dit_t2v = transformer_runs


def wan_vae(case: GoldenCase) -> None:
    vae = build(WanVAE, WanVAEConfig, case.config, case.weights)
    video, latent = case.inputs["video"][None], case.inputs["latent"][None]
    for name in case.outputs:
        kind, _, rest = name.partition("_")
        if kind == "encode" and rest.isdigit():
            frames = int(rest)
            case.check(name, WAN21.from_plain(vae.encode(video[:, :, :frames]))[0])
            case.check(name, WAN21.from_plain(vae.encode(video[:, :, :frames], chunk=8))[0])
        elif name.startswith("encode_i2v_"):
            frames = int(name.split("_")[-1])
            grey = torch.zeros_like(video[:, :, : frames - 1])
            case.check(name, WAN21.from_plain(vae.encode(torch.cat([video[:, :, :1], grey], dim=2)))[0])
        elif name.startswith("encode_") and name.endswith("_raw"):
            case.check(name, vae.encode(video[:, :, : int(rest.split("_")[0])])[0])
        elif kind == "decode":
            frames = int(rest.split("_")[0])
            z = WAN21.to_plain(latent[:, :, : (frames - 1) // 4 + 1])
            for chunk in (1, 3):
                pixels = vae.decode(z, chunk)[0]
                case.check(name, pixels if name.endswith("_raw") else pixels.clamp(-1, 1))


def motion_patch(case: GoldenCase) -> None:
    for sub in case.config["subcases"]:
        name = sub["name"]
        tracks, video = case.inputs[f"{name}/tracks"][0], case.inputs[f"{name}/vid"]
        patched = patch(tracks, video[4:], temperature=sub["temperature"], topk=sub["topk"])
        case.check(f"{name}/patched", patched)


def e2e_ati(case: GoldenCase) -> None:
    """The official generate(): image and tracks in, video out, with the stored noise."""
    config, inputs = case.config, case.inputs
    transformer = build(WanTransformer, WanConfig, config["dit"], case.tensors("weights_dit.safetensors"))
    model = WanVideoModel(transformer, transformer.config, Path("ati.safetensors"))
    vae_module = build(WanVAE, WanVAEConfig, config["vae"], case.tensors("weights_vae.safetensors"))
    vae = WanVideoVAE(vae_module, Path("vae.safetensors"))

    text_encoder = loaded(text, "text encoder", case.tensors("weights_t5.safetensors"))
    hidden = text_encoder.encode_ids(inputs["token_ids"], inputs["token_mask"])
    context = [tokens[: mask.sum()] for tokens, mask in zip(hidden, inputs["token_mask"])]
    case.check("context", context[0])
    case.check("context_null", context[1])
    picture = inputs["image"].float() / 255
    heads = {"num_attention_heads": config["clip"]["vision_heads"]}
    image_encoder = loaded(image, "image encoder", case.tensors("weights_clip.safetensors"), heads)
    image_tokens = image_encoder.encode(picture[None])
    case.check("clip_fea", image_tokens)

    height, width = size_for_area(*picture.shape[:2], config["max_area"])
    frames = config["frame_num"]
    start, _ = cover(to_pixels(picture), width, height, "stretch")
    latents = vae.encode(torch.cat([start, start.new_zeros(1, 3, frames - 1, height, width)], dim=2))[0]
    before = plain_conditioning(latents)
    case.check("y_before", before)
    after = patch(inputs["tracks"], latents, temperature=config["temperature"], topk=config["topk"])
    case.check("y_after", after)

    arguments = {"clip_fea": image_tokens}
    motion = Motion("wan", width, height, frames, {"y": after[None], **arguments}, {"y": before[None], **arguments})
    words = TextConditioning(*(tokens[None] for tokens in context))
    clean = []
    result = sample(
        model, words, motion, steps=config["sampling_steps"], cfg=config["guide_scale"], shift=config["shift"],
        scheduler=config["sample_solver"], noise=inputs["noise"][None],
        callback=lambda step, steps, x0: clean.append(x0),
    )  # fmt: skip
    case.check("latents", torch.cat([case.outputs["latents"][:-1], result]))
    for index, x0 in enumerate(clean):
        noisy = inputs["noise"] if index == 0 else case.outputs["latents"][index - 1]
        predicted = noisy - case.outputs["sigmas"][index] * case.outputs["noise_pred"][index]
        case.close(x0[0], predicted, f"clean latents of step {index}")
    video = vae.decode(result)[0]
    case.check("video", video[:, inputs["video_frames"]])
    case.check("video_frame_mean", video.mean((2, 3)))


e2e_ati_short = e2e_ati


def comfy_track_to_video(case: GoldenCase) -> None:
    """ComfyUI's own node: another resize, JSON tracks, latents that travel un-normalised; the same patch."""
    config, start = case.config, case.inputs["start_image"]
    width, height, frames = config["width"], config["height"], config["length"]
    picture, _ = cover(to_pixels(start), width, height, "crop", mode="bilinear")
    grey = picture.new_zeros(1, 3, frames - 1, height, width)
    pixels = torch.cat([picture, grey], dim=2)[0].permute(1, 2, 3, 0) / 2 + 0.5
    case.check("vae_pixels", pixels[:2])
    latents = WAN21.from_plain(case.inputs["vae_latent_raw"])[0]
    (tracks,) = parse_batches(case.data["text_inputs"]["tracks"])
    points = comfy_tracks(padded(tracks), (width, height), frames)
    patched = patch(points, latents, temperature=config["temperature"], topk=config["topk"])[None]
    case.check("concat_cond", patched)
    case.check("concat_mask", 1 - patched[:, :4])
    case.check("concat_latent_image", WAN21.to_plain(patched[:, 4:]))
