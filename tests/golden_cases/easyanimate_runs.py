"""Golden cases of whole EasyAnimate generations, through the same calls as the nodes', and of TeaCache."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from comfyui_trajectory.models.common.sampling import sample
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.models.common.step_cache import StepCache
from comfyui_trajectory.models.common.types import Motion, TextConditioning
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig, EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.system import STEP_CACHE, EasyAnimateModel, EasyAnimateVideoVAE
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE
from comfyui_trajectory.trajectory import parse_coordinates
from comfyui_trajectory.trajectory.pose_files import parse_poses

from . import GoldenCase
from .easyanimate_inputs import heat
from .wan import build

COEFFICIENTS = {"v5.1-7b": STEP_CACHE[36, 18], "v5.1-12b": STEP_CACHE[48, 48]}


def part(case: GoldenCase, prefix: str) -> dict:
    return {key[len(prefix) :]: value for key, value in case.weights.items() if key.startswith(prefix)}


class Run:
    """A case's models, and its generations by the prefix of their outputs."""

    def __init__(self, case: GoldenCase):
        self.case, config = case, case.config
        transformer = build(
            EasyAnimateTransformer, EasyAnimateConfig, config["transformer"], part(case, "transformer.")
        )
        self.model = EasyAnimateModel(transformer, transformer.config, Path("easyanimate.safetensors"))
        vae = build(EasyAnimateVAE, EasyAnimateVAEConfig, config["vae"], part(case, "vae."))
        self.vae = EasyAnimateVideoVAE(vae, Path("vae.safetensors"))
        self.text = TextConditioning(case.inputs["prompt_embeds"], case.inputs["negative_prompt_embeds"])

    def encode(self, frames: int | None = None, **given) -> Motion:
        config = self.case.config
        return self.model.encode_motion(
            given.pop("tracks", None), vae=self.vae, width=config["width"], height=config["height"],
            frames=frames or config["video_length"], fit="stretch", **given,
        )  # fmt: skip

    def check(self, prefix: str, motion: Motion, *, noise: str = "noise", cfg: float | None = None, **options) -> None:
        case, config, outputs = self.case, self.case.config, self.case.outputs
        for name in ("inpaint_latents", "control_latents"):
            if prefix + name in outputs:
                case.check(prefix + name, motion.inputs["y"])
        steps = len(outputs[f"{prefix}latents"])
        seen = []
        predict = self.model.module.forward
        calls = []

        def watched(x, t, text, **inputs):
            flow = predict(x, t, text, **inputs)
            calls.append((x, t, flow))
            return flow

        self.model.module.forward = watched
        cfg = config["guidance_scale"] if cfg is None else cfg
        latents = sample(
            self.model, self.text, motion, steps=steps, total_steps=config["num_inference_steps"], cfg=cfg,
            shift=math.e,
            scheduler="flow_euler", noise=case.inputs[noise], callback=lambda step, count, x0: seen.append(x0),
            **options,
        )  # fmt: skip
        self.model.module.forward = predict
        halves = 1 if cfg == 1 else 2
        if f"{prefix}start_latents" in outputs:
            case.check(f"{prefix}start_latents", calls[0][0])
            case.check(f"{prefix}timesteps", torch.cat([t for _, t, _ in calls[::halves]]))
            case.check(f"{prefix}pred_first", torch.cat([calls[1][2], calls[0][2]]))
        before = [x for x, _, _ in calls[::halves]]
        case.check(f"{prefix}latents", torch.cat([*before[1:], latents]))
        sigmas = make_scheduler("flow_euler", config["num_inference_steps"], math.e).sigmas[-steps - 1 :]
        guided = [(x - x0) / sigma for x, x0, sigma in zip(before, seen, sigmas)]
        for index, (ours, theirs) in enumerate(zip(guided, outputs[f"{prefix}guided"])):
            case.close(sigmas[index] * ours[0], sigmas[index] * theirs, f"{prefix}guided {index}")
        if f"{prefix}video" in outputs:
            case.check(f"{prefix}video", self.vae.decode(latents) / 2 + 0.5)


def e2e_t2v(case: GoldenCase) -> None:
    run = Run(case)
    motion = run.encode()
    run.check("", motion)
    run.check("rescale07_", motion, cfg_rescale=0.7)
    run.check("nocfg_", motion, cfg=1)


def e2e_inp(case: GoldenCase) -> None:
    run = Run(case)
    noise = {"reference_noise": case.inputs["ref_noise"]}
    start, end = case.inputs["start_img"], case.inputs["end_img"]
    run.check("start_", run.encode(image=start, **noise))
    run.check("startend_", run.encode(image=start, end_image=end, **noise))
    run.check("none_", run.encode(**noise))


def e2e_v2v(case: GoldenCase) -> None:
    run = Run(case)
    video, mask = case.inputs["frames_u8"].float() / 255, case.inputs["mask_u8"][None].float() / 255
    for prefix, settings in case.data["runs"].items():
        masked = {"mask": mask} if prefix.startswith("mask") else {}
        motion = run.encode(video=video, reference_noise=case.inputs["ref_noise"], **masked)
        assert len(case.outputs[f"{prefix}latents"]) == settings["steps_run"]
        run.check(prefix, motion)


def e2e_control_trajectory(case: GoldenCase) -> None:
    run, sub = Run(case), case.data["text_inputs"]
    size = (sub["mask_width"], sub["mask_height"])
    drawn = heat({"coordinates": sub["coordinates"], "width": size[0], "height": size[1]})
    case.check("control_u8", drawn * 255)
    control = drawn[..., None].expand(-1, -1, -1, 3)
    reference = case.inputs["ref_image"]
    run.check("full_", run.encode(control_video=control, image=reference))
    run.check("noref_", run.encode(control_video=control))
    run.check("noctl_", run.encode(image=reference))
    # The reference leaves the picture out of a clip of one frame.
    run.check("img_", run.encode(frames=1, control_video=control), noise="img_noise")
    on_video = parse_coordinates(sub["coordinates"], canvas=size)
    tracks = run.encode(tracks=on_video).inputs["y"]
    assert (
        torch.corrcoef(
            torch.stack([tracks[:, :16].flatten(), case.outputs["noref_control_latents"][:, :16].flatten()])
        )[0, 1]
        > 0.9
    )


def e2e_control_camera(case: GoldenCase) -> None:
    run = Run(case)
    poses = parse_poses(case.data["text_inputs"]["camera_conditions"])
    run.check("full_", run.encode(camera=poses, image=case.inputs["ref_image"]))
    run.check("noref_", run.encode(camera=poses))


def teacache(case: GoldenCase) -> None:
    for run in case.data["runs"]:
        key = run["key"]
        coefficients = next(known for size, known in COEFFICIENTS.items() if size in run["model_name"].lower())
        assert list(coefficients) == run["coefficients"]
        if f"{key}_accumulated" in case.outputs:
            decisions(case, run)
        else:
            cached_generation(case, run, list(coefficients))


def decisions(case: GoldenCase, run: dict) -> None:
    cache = StepCache(run["coefficients"], run["threshold"], run["num_steps"])
    rows = [(not cache.skips(modulated), cache.distance, cache.relative) for modulated in case.inputs["modulated"]]
    for name, values in zip(("calc", "accumulated", "rel_l1"), zip(*rows)):
        case.check(f"{run['key']}_{name}", torch.tensor(values))


def cached_generation(case: GoldenCase, run: dict, coefficients: list[float]) -> None:
    key, steps = run["key"], run["num_steps"]
    transformer = build(EasyAnimateTransformer, EasyAnimateConfig, case.config["transformer"], case.weights)
    model = EasyAnimateModel(transformer, transformer.config, Path("easyanimate.safetensors"))
    model.defaults["step_cache_coefficients"] = coefficients
    caches, flows = [], []
    for owner, name, kept in ((model, "step_cache", caches), (model.module, "forward", flows)):
        call = getattr(owner, name)

        def watched(*args, call=call, kept=kept, **named):
            kept.append(call(*args, **named))
            return kept[-1]

        setattr(owner, name, watched)
    latents = case.inputs["model_latents"]
    frames, height, width = latents.shape[2:]
    negative, positive = case.inputs["model_text"].split(1)
    motion = Motion("easyanimate", width * 8, height * 8, frames * 4 - 3, {}, {})
    ran, relative = [], []

    def note(*_) -> None:
        assert caches[0].ran == caches[1].ran, "both halves of the guidance run or skip together"
        ran.append(caches[0].ran)
        relative.append(caches[0].relative)

    result = sample(
        model, TextConditioning(positive, negative), motion, steps=steps, cfg=case.config["guidance_scale"],
        shift=math.e,
        scheduler="flow_euler", noise=latents, step_cache=run["threshold"], callback=note,
    )  # fmt: skip
    case.check(f"{key}_calc", torch.tensor(ran))
    case.check(f"{key}_rel_l1", torch.tensor(relative))
    case.check(f"{key}_latents", result)
    predictions = torch.stack([torch.cat([flows[i + 1], flows[i]]) for i in range(0, len(flows), 2)])
    case.check(f"{key}_pred_all", predictions)
    case.check(f"{key}_pred_last", predictions[-1])
