"""What only a GPU can show: the CPU's numbers there, in every number format and with every option, blocks that come and
go beside the computation, memory that is given back.

Without a GPU this is skipped; `--device cpu` goes through all that does not ask the GPU for its memory.
"""

from __future__ import annotations

import gc
import json
import logging
from dataclasses import asdict, replace

import pytest
import torch
from comfyui_trajectory.commands.cli import one_line
from comfyui_trajectory.models import (
    EMBEDDED, Motion, Options, TextConditioning, embedded, load_image_encoder, load_model, load_text_encoder, load_vae,
    predict_memory, sample,
)  # fmt: skip
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common import compiled
from comfyui_trajectory.models.common.lora import Lora, Patch
from comfyui_trajectory.models.common.ops import CastLinear, ScaledLinear, store_fp8, use_fp8_products
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.motion_patch import motion_patch
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.host import host
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.trajectory.flow import flow_colours, flow_of_tracks, flow_video
from safetensors.torch import save_file
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import tiny, tiny_easyanimate, tiny_tora

MODELS = {
    "ati": tiny.FILES["diffusion_models"], "tora_t2v": tiny_tora.T2V, "tora_i2v": tiny_tora.I2V,
    **{f"easyanimate_{v}": tiny_easyanimate.transformer_file(v) for v in tiny_easyanimate.CHANNELS},
}  # fmt: skip
VAES = {"ati": tiny.FILES["vae"], "tora": tiny_tora.VAE_FILE, "easyanimate": tiny_easyanimate.VAE_FILE}
PROMPT = "a red dog runs by the sea"
BLOCKS = 12


@pytest.fixture(scope="session")
def device(pytestconfig) -> torch.device:
    named = pytestconfig.getoption("--device")
    if not named and not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use (--device cpu goes through these tests without one)")
    return torch.device(named or "cuda")


@pytest.fixture
def gpu(device) -> torch.device:
    """A GPU with nothing left over on it."""
    if device.type != "cuda":
        pytest.skip("asks a GPU for its memory")
    tidy()
    yield device
    torch.cuda.set_per_process_memory_fraction(1.0)
    tidy()


def tidy() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@pytest.fixture(scope="session")
def folder(device, tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    tiny.write_tiny(made), tiny_tora.write_tiny_tora(made), tiny_easyanimate.write_tiny(made)
    (made / "many").mkdir()
    config = replace(tiny.TRANSFORMER, dim=256, ffn_dim=1024, num_layers=BLOCKS)
    torch.manual_seed(1)
    weights = {name: value.detach() for name, value in WanTransformer(config).state_dict().items()}
    weights["head.head.weight"] = torch.randn_like(weights["head.head.weight"]) * 0.05
    save_file(weights, made / "many" / "ati_many.safetensors", {"config": json.dumps(asdict(config))})
    tora = replace(tiny_tora.TRANSFORMER, num_layers=6)
    weights = {name: value.contiguous() for name, value in tiny_tora.lively(CogVideoXTransformer(tora)).items()}
    save_file(weights, made / "many" / "tora_many.safetensors", {"config": json.dumps(asdict(tora))})
    config = replace(tiny_easyanimate.TRANSFORMER, num_layers=6, mmdit_layers=4, in_channels=48)
    weights = tiny_easyanimate.random_weights(EasyAnimateTransformer(config))
    save_file(weights, made / "many" / "easyanimate_many.safetensors", {"config": "{}"})
    return made


@pytest.fixture(autouse=True)
def as_exact(exact):
    pass


def file_of(folder, name: str):
    many = {"many": "ati_many", "many_tora": "tora_many", "many_easyanimate": "easyanimate_many"}
    return folder / (f"many/{many[name]}.safetensors" if name in many else f"diffusion_models/{MODELS[name]}")


def predicted(model, size: tuple[int, int, int] = (32, 32, 9), times: int = 1) -> torch.Tensor:
    """What a model predicts of numbers that are the same on every device."""
    random = torch.Generator().manual_seed(3)
    text, shapes = model.example_inputs(*size)
    x = torch.randn(1, *model.latent_shape(*size), generator=random).to(model.device)
    prompt = torch.randn(1, *text, generator=random).to(model.device)
    inputs = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    t = torch.full((1,), 500.0, device=model.device)
    with model.running():
        for _ in range(times):
            result = model.predict(x, t, prompt, inputs)
    assert result.device.type == model.device.type
    return result.float().cpu()


def near(actual: torch.Tensor, expected: torch.Tensor, share: float) -> None:
    """The difference is at most that share of the whole."""
    assert actual.shape == expected.shape and actual.isfinite().all()
    off = ((actual.double() - expected.double()).norm() / expected.double().norm()).item()
    assert off <= share, f"differs by {off:.2e} of the whole"


# The networks


@pytest.mark.parametrize("name", MODELS)
def test_a_transformer_in_float32_gives_the_cpus_numbers(folder, device, name) -> None:
    expected = predicted(load_model(file_of(folder, name)))
    found = predicted(load_model(file_of(folder, name), dtype="fp32", device=device))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["auto", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2"])
@pytest.mark.parametrize("name", MODELS)
def test_a_transformer_in_fewer_bits_gives_nearly_the_cpus_numbers(folder, device, name, dtype) -> None:
    expected = predicted(load_model(file_of(folder, name)))
    model = load_model(file_of(folder, name), dtype=dtype, device=device)
    if device.type == "cuda":
        assert model.dtype == (torch.float16 if dtype == "fp16" else torch.bfloat16)
    near(predicted(model), expected, {"fp8_e4m3fn": 0.3, "fp8_e5m2": 0.4}.get(dtype, 0.06))


@pytest.mark.parametrize("name", VAES)
def test_a_vae_gives_the_cpus_numbers_whole_and_in_tiles(folder, device, name) -> None:
    torch.manual_seed(0)
    pixels, latents = torch.rand(1, 3, 9, 96, 96) * 2 - 1, torch.randn(1, 16, 3, 12, 12)
    here, there = (load_vae(folder / "vae" / VAES[name], dtype="fp32", device=d) for d in ("cpu", device))
    near(there.encode(pixels).cpu(), here.encode(pixels), 1e-4)
    for tile in (None, 64):
        found = there.decode(latents.to(device), tile)
        near(found.cpu(), here.decode(latents, tile), 1e-4)
    for dtype in ("bf16", "fp16"):
        there = load_vae(folder / "vae" / VAES[name], dtype=dtype, device=device)
        near(there.encode(pixels).cpu(), here.encode(pixels), 0.06)
        near(there.decode(latents).cpu(), here.decode(latents), 0.06)


@pytest.mark.parametrize("name", ["ati", "easyanimate"])
def test_a_vae_gives_the_same_in_chunks_of_any_length(folder, device, name) -> None:
    vae = load_vae(folder / "vae" / VAES[name], dtype="fp32", device=device).module
    pixels, latents = torch.rand(1, 3, 17, 32, 32, device=device), torch.randn(1, 16, 5, 4, 4, device=device)
    near(vae.encode(pixels, chunk=8), vae.encode(pixels), 1e-5)
    near(vae.decode(latents, chunk=3), vae.decode(latents), 1e-5)


TEXTS = {
    "ati": ("text_encoders", tiny.FILES["text_encoders"]), "tora": ("text_encoders", tiny_tora.TEXT_FILE),
    "easyanimate": ("text_encoders", tiny_easyanimate.TEXT_FILE),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_encoder_gives_the_cpus_numbers(folder, device, name) -> None:
    file = folder.joinpath(*TEXTS[name])
    expected = load_text_encoder(file).encode(PROMPT)
    torch.testing.assert_close(
        load_text_encoder(file, dtype="fp32", device=device).encode(PROMPT).cpu(), expected, rtol=1e-4, atol=1e-4
    )
    for dtype, share in (("auto", 0.1), ("fp8_e4m3fn", 0.3)):
        near(load_text_encoder(file, dtype=dtype, device=device).encode(PROMPT).float().cpu(), expected, share)


def test_the_image_encoder_gives_the_cpus_numbers(folder, device) -> None:
    file, image = folder / "clip_vision" / tiny.FILES["clip_vision"], torch.rand(1, 50, 70, 3)
    expected = load_image_encoder(file).encode(image)
    found = load_image_encoder(file, dtype="fp32", device=device).encode(image).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    near(load_image_encoder(file, device=device).encode(image).cpu(), expected, 0.06)


# The maths of the conditioning


def many_tracks(count: int, frames: int = 17) -> Tracks:
    random = torch.Generator().manual_seed(2)
    path = torch.rand(frames, count, 2, generator=random) * torch.tensor([160.0, 96.0])
    return Tracks(path, torch.rand(frames, count, generator=random) > 0.2, (160, 96))


@pytest.mark.parametrize("count", [1, 5, 40])
def test_flow_and_its_colours_are_the_cpus(device, count) -> None:
    here, there = (flow_of_tracks(many_tracks(count), 160, 96, d).cpu() for d in ("cpu", device))
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)
    colours = flow_colours(here.to(device)).cpu().int() - flow_colours(here).int()
    assert colours.abs().max() <= 1
    video = flow_video(many_tracks(count), 160, 96, device).cpu() - flow_video(many_tracks(count), 160, 96)
    assert video.abs().max() < 1.01 / 127.5


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_motion_patch_is_the_cpus(device, count) -> None:
    random = torch.Generator().manual_seed(2)
    tracks = torch.rand(17, count, 4, generator=random) * 2 - 1
    latents = torch.randn(16, 5, 12, 20, generator=random)
    for topk in (1, 2):
        here, there = (motion_patch(tracks.to(d), latents.to(d), topk=topk).cpu() for d in ("cpu", device))
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)


# fp8


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_products_are_those_of_widened_weights(gpu, stored, dtype, bias) -> None:
    torch.manual_seed(0)
    layer = store_fp8(nn.Sequential(nn.Linear(256, 160, bias=bias)).to(gpu, dtype), stored, keep=())
    assert use_fp8_products(layer) == 1
    for x in (torch.randn(2, 33, 256), torch.randn(7, 256), torch.randn(1, 1, 256) * 300):
        x = x.to(gpu, dtype)
        widened, found = CastLinear.forward(layer[0], x), layer(x)
        assert found.dtype == dtype
        near(found.float(), widened.float(), 0.06)


def test_fp8_products_without_a_scale_of_their_own(gpu) -> None:
    layer = nn.Sequential(nn.Linear(64, 32)).to(gpu, torch.bfloat16).requires_grad_(False)
    x = torch.randn(5, 64, device=gpu, dtype=torch.bfloat16)
    layer[0].weight = nn.Parameter(layer[0].weight.to(torch.float8_e4m3fn), requires_grad=False)
    layer[0].__class__ = CastLinear
    widened = layer(x)
    assert use_fp8_products(layer) == 1
    near(layer(x).float(), widened.float(), 0.06)


@pytest.mark.parametrize("name", ["many", "ati", "tora_t2v", "easyanimate_control"])
def test_a_model_with_fp8_products_gives_nearly_the_same(folder, gpu, name, caplog) -> None:
    widened = predicted(load_model(file_of(folder, name), device=gpu, options=Options(storage="fp8_e4m3fn")))
    model = load_model(file_of(folder, name), device=gpu, options=Options(storage="fp8_e4m3fn", fp8_products=True))
    assert any(type(layer) is ScaledLinear for layer in model.module.modules())
    assert "fp8 products" not in caplog.text
    near(predicted(model), widened, 0.3)


# Options


@pytest.mark.parametrize("attention", ["auto", "sdpa", "sageattention", "flash-attn"])
def test_every_attention_gives_nearly_the_same(folder, device, attention) -> None:
    expected = predicted(load_model(file_of(folder, "many"), device=device))
    near(predicted(load_model(file_of(folder, "many"), device=device, options=Options(attention=attention))),
         expected, 0.03)  # fmt: skip


@pytest.mark.parametrize("kernel", ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"])
def test_every_kernel_of_torchs_attention_takes_our_tensors(folder, gpu, kernel) -> None:
    model = load_model(file_of(folder, "many"), device=gpu)
    expected = predicted(model)
    with sdpa_kernel(getattr(SDPBackend, kernel)):
        near(predicted(model), expected, 0.03)


# Blocks that come and go


def swapped(folder, device, name="many", **options):
    dtype = options.pop("dtype", "fp32")
    return load_model(file_of(folder, name), dtype=dtype, device=device, options=Options(**options))


@pytest.mark.parametrize(("resident", "prefetch"), [(2, 1), (2, 3), (4, 2), (11, 1)])
def test_swapped_blocks_give_the_same_bits_with_the_expected_moves(folder, gpu, resident, prefetch) -> None:
    expected = predicted(swapped(folder, gpu))
    model = swapped(folder, gpu, blocks_on_device=resident, prefetch=prefetch)
    swap = model.swap
    assert all(packed.host.is_pinned() for packed in swap.packed.values())
    assert all(tensor.device.type == "cpu" for p in swap.packed.values() for _, _, tensor, _ in p.parts)
    assert torch.equal(predicted(model, times=3), expected)
    assert sorted(swap.counts.moves.values()) == [3] * (BLOCKS - resident + 1)
    assert swap.counts.most <= resident + prefetch
    assert all(tensor.device.type == "cpu" for p in swap.packed.values() for _, _, tensor, _ in p.parts)
    assert torch.equal(predicted(model), expected)


@pytest.mark.parametrize("name", ["many", "many_tora", "many_easyanimate"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp8_e4m3fn"])
def test_every_family_is_swapped_in_every_format(folder, gpu, name, dtype) -> None:
    expected = predicted(swapped(folder, gpu, name, dtype=dtype))
    model = swapped(folder, gpu, name, dtype=dtype, blocks_on_device=2)
    assert torch.equal(predicted(model, times=2), expected) and model.swap.counts.moves


def test_swapping_takes_the_memory_of_the_blocks_on_the_device(folder, gpu) -> None:
    whole = swapped(folder, gpu)
    inside = sum(value.nbytes for value in whole.module.blocks[0].parameters())
    predicted(whole)  # takes what libraries keep for themselves
    tidy()
    took = torch.cuda.memory_allocated()
    predicted(whole)
    peak = torch.cuda.max_memory_allocated()
    del whole
    tidy()
    left = torch.cuda.memory_allocated()
    model = swapped(folder, gpu, blocks_on_device=3, prefetch=1)
    assert torch.cuda.memory_allocated() - left < took - left - (BLOCKS - 3) * inside
    predicted(model)
    saved = peak - torch.cuda.max_memory_allocated()
    assert saved > (BLOCKS - 3 - 2) * inside, f"{saved / inside:.1f} of {BLOCKS} blocks are saved"
    assert torch.cuda.memory_allocated() - left < took - left - (BLOCKS - 3) * inside


def test_copies_never_overtake_the_computation(folder, gpu) -> None:
    """Large pieces of memory are taken and left beside it, so that buffers lie where something was just computed."""
    expected = predicted(swapped(folder, gpu), (160, 160, 9))
    model = swapped(folder, gpu, blocks_on_device=2, prefetch=3)
    for i in range(12):
        big = torch.randn(2048, 2048, device=gpu)
        for _ in range(4):
            big = big @ big * 0.01
        del big
        assert torch.equal(predicted(model, (160, 160, 9)), expected), f"run {i}"


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_an_error_in_the_middle_leaves_a_swapped_model_right(folder, gpu, error) -> None:
    expected = predicted(swapped(folder, gpu))
    model = swapped(folder, gpu, blocks_on_device=2, prefetch=3)
    for at in (0, 3, BLOCKS - 1):

        def fail(*_):
            raise error

        hook = model.module.blocks[at].register_forward_pre_hook(fail)
        with pytest.raises(error):
            predicted(model)
        hook.remove()
        filler = [torch.full((1 << 20,), float("nan"), device=gpu) for _ in range(8)]
        assert torch.equal(predicted(model), expected)
        del filler


def test_a_swapped_model_leaves_the_device_and_comes_back(folder, gpu) -> None:
    model = swapped(folder, gpu, blocks_on_device=3)
    expected = predicted(model)
    before = torch.cuda.memory_allocated()
    model.to("cpu")
    assert all(value.device.type == "cpu" for value in model.module.parameters())
    assert torch.cuda.memory_allocated() < before
    model.to(gpu)
    assert torch.equal(predicted(model), expected)


@pytest.mark.parametrize("name", ["many", "many_tora", "many_easyanimate"])
def test_models_of_many_blocks_give_the_cpus_numbers(folder, device, name) -> None:
    near(predicted(swapped(folder, device, name)), predicted(load_model(file_of(folder, name))), 1e-4)


def test_loras_act_on_whole_swapped_and_fp8_models_alike(folder, device) -> None:
    torch.manual_seed(4)
    patches = {
        "blocks.3.self_attn.q.weight": Patch(torch.randn(2, 256) / 4, torch.randn(256, 2) / 4),
        "blocks.4.norm3.weight": Patch(diff=torch.randn(256) / 4),
        "blocks.2.ffn.0.bias": Patch(diff=torch.randn(1024) / 4),
    }
    lora = Lora("some", 1.0, patches)
    expected = predicted(load_model(file_of(folder, "many")).with_lora(lora))
    without = predicted(load_model(file_of(folder, "many")))
    assert (expected - without).norm() > 0.01 * without.norm()
    near(predicted(swapped(folder, device).with_lora(lora)), expected, 1e-4)
    near(predicted(swapped(folder, device, blocks_on_device=2).with_lora(lora), times=2), expected, 1e-4)
    near(predicted(swapped(folder, device, dtype="fp8_e4m3fn").with_lora(lora)), expected, 0.15)


# Whole generations of the embedded models, through the nodes


@pytest.fixture
def nodes_on(tmp_path, monkeypatch):
    """Lets the nodes compute on a device."""

    def choose(device) -> None:
        monkeypatch.setenv("TRAJECTORY_DEVICE", str(device))

    monkeypatch.setenv("TRAJECTORY_MODELS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "make_bar", None)
    return choose


def loaded(part: str, system: str, dtype: str, **more):
    name = {"model": "Model", "vae": "VAE", "text_encoder": "TextEncoder", "image_encoder": "ImageEncoder"}[part]
    return nodes[f"Trajectory{name}Loader"]().load(str(embedded(part, system)), dtype, **more)[0]


def generated(
    system: str, dtype: str = "fp32", options: Options = Options(), sampling: dict = {}, encode: dict = {},
    seen: list | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(latents, frames) of three steps. seen: gets the models."""
    model = loaded("model", system, dtype, options=options)
    vae, text_encoder = loaded("vae", system, dtype), loaded("text_encoder", system, dtype)
    given = {}
    if "image_encoder" in EMBEDDED[system]:
        given["image_encoder"] = loaded("image_encoder", system, dtype)
    if seen is not None:
        seen += [model, vae, text_encoder]
    (image,) = nodes["TrajectoryExampleImage"]().load("flower.jpg")
    (tracks,) = nodes["TrajectoryLoadTracks"]().read("example/flower.json")
    (text,) = nodes["TrajectoryTextEncode"]().encode(text_encoder, PROMPT, "the sea")
    image = None if system == "tora" and model.variant == "t2v" else image
    motion, shown, _ = nodes["TrajectoryEncode"]().encode(model, vae, tracks=tracks, start_image=image, **given, **encode)
    assert shown.device.type == "cpu"
    sampling = {"steps": 3, "seed": 7, **sampling}
    (latent,) = nodes["TrajectorySampler"]().sample(model, text, motion, **sampling)
    (frames,) = nodes["TrajectoryDecode"]().decode(vae, latent)
    assert latent["samples"].device.type == frames.device.type == "cpu"
    assert latent["samples"].isfinite().all() and frames.isfinite().all()
    return latent["samples"], frames


@pytest.fixture(scope="module")
def on_cpu():
    return {}


def of_cpu(on_cpu: dict, nodes_on, system: str):
    if system not in on_cpu:
        nodes_on("cpu")
        on_cpu[system] = generated(system)
    return on_cpu[system]


@pytest.mark.parametrize("system", EMBEDDED)
def test_a_seed_makes_the_cpus_video_in_float32(on_cpu, nodes_on, device, system) -> None:
    latents, frames = of_cpu(on_cpu, nodes_on, system)
    nodes_on(device)
    found, seen = generated(system)
    near(found, latents, 1e-3)
    assert (seen - frames).abs().mean() < 1e-3


@pytest.mark.parametrize("dtype", ["auto", "bf16", "fp16"])
@pytest.mark.parametrize("system", EMBEDDED)
def test_a_seed_makes_nearly_that_video_in_fewer_bits(on_cpu, nodes_on, device, system, dtype) -> None:
    latents, frames = of_cpu(on_cpu, nodes_on, system)
    nodes_on(device)
    found, seen = generated(system, dtype)
    near(found, latents, 0.15)
    assert (seen - frames).abs().mean() < 0.03


OPTIONS = {
    "swap": {"blocks_on_device": 2}, "batched": {"guidance": "batched"},
    "teacache": {"step_cache": "teacache", "step_cache_threshold": 0.05},
    "easycache": {"step_cache": "easycache", "step_cache_threshold": 0.05},
    "fp8": {"storage": "fp8_e4m3fn"}, "fp8_products": {"storage": "fp8_e4m3fn", "fp8_products": True},
    "sage": {"attention": "sageattention"}, "flash": {"attention": "flash-attn"},
    "all": {"blocks_on_device": 2, "prefetch": 2, "guidance": "batched", "step_cache": "easycache",
            "storage": "fp8_e4m3fn", "fp8_products": True},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("system", EMBEDDED)
def test_every_option_makes_a_video(on_cpu, nodes_on, device, system, name) -> None:
    latents, _ = of_cpu(on_cpu, nodes_on, system)
    nodes_on(device)
    sampling = {"steps": 8} if "cache" in name else {}
    try:
        found, _ = generated(system, "auto", Options(**OPTIONS[name]), sampling)
    except ValueError as error:
        if "TeaCache knows no figures" not in str(error):
            raise
        pytest.skip("no figures of this model")
    if not sampling:
        near(found, latents, 0.5 if "fp8" in name or name == "all" else 0.15)


@pytest.mark.parametrize("name", ["ati", "tora_t2v", "easyanimate_inp"])
def test_every_solver_makes_the_cpus_latents(folder, device, name) -> None:
    models = [load_model(file_of(folder, name), dtype="fp32", device=d) for d in ("cpu", device)]
    random, size = torch.Generator().manual_seed(3), (32, 32, 9)
    (tokens, width), shapes = models[0].example_inputs(*size)
    text = TextConditioning(*(torch.randn(1, tokens, width, generator=random) for _ in range(2)))
    inputs = {key: torch.randn(shape, generator=random) for key, shape in shapes.items()}
    motion = Motion(models[0].family, *size, inputs, {**inputs})
    for scheduler in models[0].schedulers:
        for more in ({}, {"denoise": 0.5, "latents": torch.randn(1, *models[0].latent_shape(*size), generator=random)}):
            here, there = (
                sample(model, text, motion, steps=4, cfg=3.0, shift=3.0, scheduler=scheduler, seed=5, **more)
                for model in models
            )
            near(there.cpu(), here, 1e-3)
    if models[0].defaults.get("step_cache_coefficients"):
        here, there = (
            sample(model, text, motion, steps=6, cfg=3.0, shift=3.0, scheduler=scheduler, seed=5, step_cache=0.1)
            for model in models
        )
        near(there.cpu(), here, 1e-2)


def test_a_video_is_refined_and_decoded_in_tiles(nodes_on, device) -> None:
    nodes_on(device)
    seen = []
    latents, frames = generated("ati", seen=seen)
    model, vae, text_encoder = seen
    (image,) = nodes["TrajectoryExampleImage"]().load("flower.jpg")
    (text,) = nodes["TrajectoryTextEncode"]().encode(text_encoder, PROMPT, "the sea")
    motion, *_ = nodes["TrajectoryEncode"]().encode(model, vae, start_image=image)
    (latent,) = nodes["TrajectorySampler"]().sample(
        model, text, motion, steps=2, latent={"samples": latents}, denoise=0.5
    )
    (tiled,) = nodes["TrajectoryDecode"]().decode(vae, latent, tile=64)
    assert tiled.shape == frames.shape and tiled.isfinite().all()


# Memory


@pytest.mark.parametrize("system", EMBEDDED)
def test_only_the_model_at_work_is_on_the_device_and_nothing_stays_when_all_are_gone(nodes_on, gpu, system) -> None:
    nodes_on(gpu)
    generated(system, "auto")  # what is kept for good: tables of positions, the libraries' workspaces
    tidy()
    before, seen = torch.cuda.memory_allocated(), []
    generated(system, "auto", seen=seen)
    model, vae, text_encoder = seen
    for other in (model, text_encoder):
        assert all(value.device.type == "cpu" for value in other.module.parameters()), type(other).__name__
    assert next(vae.module.parameters()).device.type == "cuda"
    del model, vae, text_encoder, other, seen
    tidy()
    assert torch.cuda.memory_allocated() - before < 1 << 20


def short_of_memory(more: int) -> None:
    """From here on torch may take that many bytes more than it holds."""
    tidy()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more) / whole)


@pytest.mark.parametrize("blocks", [0, 2])
def test_too_little_memory_while_sampling_is_told_and_the_next_run_succeeds(folder, gpu, blocks) -> None:
    model = swapped(folder, gpu, blocks_on_device=blocks)
    expected = predicted(model)
    short_of_memory(64 << 20)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        predicted(model, (1024, 1024, 81))
    assert "blocks_on_device" in one_line(caught.value) and "GPU" in one_line(caught.value)
    del caught
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(predicted(model), expected)


def test_too_little_memory_for_a_model_leaves_nothing_of_it(folder, gpu) -> None:
    before = torch.cuda.memory_allocated()
    short_of_memory(4 << 20)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        swapped(folder, gpu)
    del caught
    torch.cuda.set_per_process_memory_fraction(1.0)
    tidy()
    assert torch.cuda.memory_allocated() - before < 1 << 20
    assert predicted(swapped(folder, gpu)).isfinite().all()


def test_frames_that_do_not_fit_whole_are_decoded_in_tiles(nodes_on, gpu, caplog) -> None:
    nodes_on(gpu)
    caplog.set_level(logging.WARNING)
    vae = loaded("vae", "ati", "auto")
    latents = {"samples": torch.randn(1, vae.channels, 3, 160, 160)}
    (whole,) = nodes["TrajectoryDecode"]().decode(vae, latents)
    tidy()
    nodes["TrajectoryDecode"]().decode(vae, latents)
    peak = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
    short_of_memory(peak // 2)
    (tiled,) = nodes["TrajectoryDecode"]().decode(vae, latents)
    assert "in tiles" in caplog.text
    assert (tiled - whole).abs().mean() < 0.05


@pytest.mark.parametrize("storage", ["auto", "fp8_e4m3fn"])
def test_memory_is_predicted_from_the_file(folder, gpu, storage) -> None:
    size = (480, 480, 33)
    foretold = predict_memory(file_of(folder, "many"), *size, dtype=storage)
    model = load_model(file_of(folder, "many"), device=gpu, options=Options(storage=storage))
    predicted(model, size)
    tidy()
    kept_by_libraries = torch.cuda.memory_allocated() - foretold.weights
    predicted(model, size)
    peak = torch.cuda.max_memory_allocated() - kept_by_libraries
    assert 0.7 < peak / foretold.on_device(Options()) < 1.2


# Last, since it takes the longest


COMPILED = [("ati", {}), ("tora_t2v", {}), ("easyanimate_control", {}), ("many", {"blocks_on_device": 2}),
            ("ati", {"storage": "fp8_e4m3fn"}), ("many", {"storage": "fp8_e4m3fn", "fp8_products": True})]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), COMPILED)
def test_compiled_blocks_give_nearly_the_same(folder, device, name, options, caplog) -> None:
    if device.type == "cpu":
        pytest.skip("takes minutes on a CPU, see test_speed.py")
    torch._dynamo.reset()
    expected = predicted(load_model(file_of(folder, name), device=device, options=Options(**options)))
    compiled.Compiled.failed = False
    model = load_model(file_of(folder, name), device=device, options=Options(compile=True, **options))
    near(predicted(model, times=2), expected, 0.06 if "fp8_products" not in options else 0.2)
    assert "is left out" not in caplog.text, caplog.text  # no compiler on this machine
