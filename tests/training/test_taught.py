"""What other systems learn from ATI's VAE and pool: their VAEs, what conditions their transformers, their files."""

import numpy as np
import pytest
import torch

from comfyui_trajectory.models import TextConditioning, load_model, load_text_encoder, load_vae, sample
from comfyui_trajectory.models.wan.config import WanVAEConfig
from comfyui_trajectory.models.wan.vae import WanVAE
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.training import clips, encoders, export, learn, pool, teach_vae, train_tora

PREVIEW = [[0.0, 0.0, 0.0]] * 17
TORA = export.FILES["tora"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "vae.safetensors"
    export.save_vae(WanVAE(WanVAEConfig(dim=4)), "wan", PREVIEW, file)
    return load_vae(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    export.save_vae(teach_vae.COGVIDEOX.module(), "cogvideox", PREVIEW, folder / TORA["vae"])
    system = train_tora.Tora(torch.zeros(2, encoders.SHORT, 32), None)
    student = system.student()
    torch.nn.init.normal_(student.transformer.proj_out.weight, std=0.02)
    export.save_transformer(student.transformer, system.stated, system.defaults, PREVIEW, folder / TORA["model"])
    stated = {**encoders.T5, "family": "cogvideox", "text_len": encoders.SHORT}
    text = encoders.text_encoder("T5", encoders.T5)
    export.save_text_encoder(text, encoders.tokenizer(), stated, folder / TORA["text_encoder"])
    return folder, student


def shard_of(clip: clips.Clip) -> dict:
    """One clip as the pool keeps it, with latents of noise."""
    size = (clip.video.shape[2], clip.video.shape[1])
    latents = torch.randn(1, 16, 5, size[1] // 8, size[0] // 8)
    return {
        "latents": latents, "still": latents, "motion": torch.rand(1, *latents.shape[2:]), "size": size,
        "first": torch.from_numpy(clip.video[:1]),
        "tracks": [(torch.from_numpy(clip.path), torch.from_numpy(clip.visible))],
    }  # fmt: skip


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_on_a_still_two_dimensions_give_the_numbers_of_three(part):
    module = teach_vae.COGVIDEOX.module()
    x = torch.rand(2, 3, 1, 32, 32) if part == "encoder" else torch.randn(2, 16, 1, 4, 4)
    run = module.encode if part == "encoder" else module.decode
    wanted = run(x)
    for convolution in (teach_vae.LastTap, teach_vae.AllTaps):
        teach_vae.run_as(module, convolution)
        assert torch.allclose(run(x), wanted, atol=1e-5)
    for layer in module.modules():  # trained on clips, all taps act
        if isinstance(layer, torch.nn.Conv3d):
            torch.nn.init.normal_(layer.weight, std=0.05)
    alone = run(x)
    teach_vae.run_as(module, torch.nn.Conv3d)
    assert torch.allclose(run(x), alone, atol=1e-4)


def test_a_taught_encoder_comes_closer_to_its_teacher_and_is_taken_up_where_it_was_left(
    tmp_path, teacher, photographs, monkeypatch
):
    monkeypatch.setattr(teach_vae, "STILL_POOL", 20)
    monkeypatch.setattr(teach_vae, "STILLS", 4)
    monkeypatch.setattr(pool, "SCENES", 1)
    (tmp_path / "pool").mkdir()
    takes = next(pool.made(photographs, 0))
    examples = pool.encode(teacher, takes)
    shard = {"latents": torch.stack([example["latents"] for example in examples])}
    file = tmp_path / "pool" / "0000.pt"
    torch.save(shard, file)
    kind = teach_vae.COGVIDEOX
    with torch.enable_grad():
        teach_vae.train(kind, "encoder", teacher, [file], photographs, tmp_path, stills=12, steps=2)
        state = tmp_path / "cogvideox_vae_encoder.pt"
        assert torch.load(state, weights_only=True)["state"]["step"] == 14
        trained = teach_vae.train(kind, "encoder", teacher, [file], photographs, tmp_path, stills=12, steps=4)
        assert torch.load(state, weights_only=True)["state"]["step"] == 16
    pixels = torch.from_numpy(np.load(tmp_path / "stills.npy")[:8, None]).permute(0, 4, 1, 2, 3) / 127.5 - 1
    wanted = teacher.encode(pixels)
    with torch.no_grad():
        errors = [(module.encode(pixels) * kind.scaling - wanted).pow(2).mean() for module in (trained, kind.module())]
    assert errors[0] < 0.9 * errors[1]


def test_the_condition_of_training_is_that_of_use(files, photographs):
    folder, _ = files
    model, vae = load_model(folder / TORA["model"]), load_vae(folder / TORA["vae"])
    clip = next(
        c for c in (clips.make_clip(photographs, np.random.default_rng(s)) for s in range(9)) if c.path.shape[1] > 2
    )
    shard = shard_of(clip)
    given = train_tora.Tora(torch.zeros(2, encoders.SHORT, 32), vae).given(shard)
    tracks = Tracks(*shard["tracks"][0], shard["size"])
    motion = model.encode_motion(
        tracks, vae=vae, image=shard["first"].float() / 255, width=96, height=96, frames=clips.FRAMES
    )
    for name, wanted in motion.inputs.items():
        if name != "strength":
            error = (given[name].float() - wanted).pow(2).mean()
            assert error < 0.01 * wanted.pow(2).mean(), name  # bfloat16, and next to no noise
    assert set(given) == {"image", "flow"}


def test_exported_files_load_and_sample_as_trained(files):
    folder, student = files
    model, vae = load_model(folder / TORA["model"]), load_vae(folder / TORA["vae"])
    text = load_text_encoder(folder / TORA["text_encoder"])
    assert (model.variant, model.defaults["steps"]) == ("i2v", train_tora.DEFAULTS["steps"])
    tokens = text.encode("a bird, 你好 and " + "many more words " * 20)[None]
    assert tokens.shape == (1, encoders.SHORT, encoders.T5["d_model"])
    x, image, flow = (torch.randn(1, 16, 5, 6, 4) for _ in range(3))
    wanted = student(x, torch.tensor([500]), tokens, image, flow)
    made = model.predict(x, torch.tensor([500]), tokens, {"image": image, "flow": flow})
    assert (made - wanted).pow(2).mean() < 0.01 * wanted.pow(2).mean()
    path = torch.linspace(4, 40, 17).view(17, 1, 1).expand(17, 1, 2)
    tracks = Tracks(path, torch.ones(17, 1, dtype=torch.bool), (48, 48))
    motion = model.encode_motion(tracks, vae=vae, image=torch.rand(1, 48, 48, 3), width=48, height=48, frames=17)
    latents = sample(model, TextConditioning(tokens), motion, steps=2, cfg=1.0, shift=6.0, scheduler="ddim")
    assert vae.decode(latents).shape == (1, 3, 17, 48, 48)


def test_tora_learns_from_clips_with_tracks_and_without(tmp_path, files, photographs, monkeypatch):
    monkeypatch.setattr(learn, "compiled", lambda blocks: None)  # it would take a minute
    made = (clips.make_clip(photographs, np.random.default_rng(seed)) for seed in range(200))
    with_tracks, without = None, None
    for clip in made:
        if clip.path.shape[1]:
            with_tracks = with_tracks or clip
        else:
            without = without or clip
    parts = [shard_of(with_tracks), shard_of(without)]
    shard = {name: torch.cat([part[name] for part in parts]) for name in ("latents", "still", "motion", "first")}
    shard |= {"tracks": [part["tracks"][0] for part in parts], "size": (96, 96)}
    torch.save(shard, tmp_path / "0000.pt")
    system = train_tora.Tora(torch.zeros(2, encoders.SHORT, 32), load_vae(files[0] / TORA["vae"]))
    with torch.enable_grad():
        learn.train(system, [tmp_path / "0000.pt"], tmp_path, [(4, 1.0)])
    state = torch.load(tmp_path / "tora.pt", weights_only=True)
    assert state["state"]["step"] == 4
    (first, second) = torch.load(tmp_path / "tora_pool" / "0000.pt", weights_only=True)
    assert set(first[2]) == {"image", "flow"} and set(second[2]) == {"image"}
    before = system.student().state_dict()
    assert any((before[name] != value).any() for name, value in state["student"].items() if "fuser" in name)
