"""Golden cases of the Wan transformer, its VAE, ATI's motion patch and whole generations."""

from __future__ import annotations

from dataclasses import fields

import torch
from comfyui_trajectory.models.wan.config import WanConfig, WanVAEConfig
from comfyui_trajectory.models.wan.latent import WAN21
from comfyui_trajectory.models.wan.motion_patch import motion_patch as patch
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE

from . import GoldenCase


def configured(cls, values: dict):
    names = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names})


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
