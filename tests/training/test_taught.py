"""What other systems learn from ATI's VAE and pool: their VAEs, what conditions their transformers, their files."""

import numpy as np
import pytest
import torch

from comfyui_trajectory.models import EMBEDDED, TextConditioning, load_model, load_text_encoder, load_vae, sample
from comfyui_trajectory.models.common.diffusion import signal_levels
from comfyui_trajectory.models.common.rope import sinusoidal_embedding
from comfyui_trajectory.models.wan.config import WanVAEConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.training import (
    clips, encoders, export, learn, pool, start, teach_vae, train_ati, train_easyanimate, train_tora,
)  # fmt: skip

PREVIEW = [[0.0, 0.0, 0.0]] * 17
SYSTEMS = {"tora": train_tora.Tora, "easyanimate": train_easyanimate.EasyAnimate}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "vae.safetensors"
    export.save_vae(WanVAE(WanVAEConfig(dim=4)), "wan", PREVIEW, file)
    return load_vae(file)


def text_encoder(system: str):
    """(module, tokenizer, what its file states)"""
    if system == "tora":
        stated = {**encoders.T5, "family": "cogvideox", "text_len": encoders.SHORT}
        return encoders.text_encoder("T5", encoders.T5), encoders.tokenizer(), stated
    stated = {**encoders.QWEN, "family": "easyanimate", "text_len": encoders.LONG}
    return encoders.qwen_encoder(), encoders.bpe_tokenizer(), stated


TEXTS = {"tora": torch.zeros(2, encoders.SHORT, 32), "easyanimate": torch.zeros(2, encoders.LONG, 32)}


@pytest.fixture(scope="module", params=[*SYSTEMS])
def trained(request, tmp_path_factory):
    """(name of the system, its files by part, the student that they were written from)"""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    files = {part: folder / file for part, file in EMBEDDED[name].items()}
    kind = teach_vae.KINDS[name]
    export.save_vae(kind.module(), kind.family, PREVIEW, files["vae"])
    system = SYSTEMS[name](TEXTS[name], None)
    student = system.student()
    torch.nn.init.normal_(student.transformer.proj_out.weight, std=0.02)
    export.save_transformer(student.transformer, system.stated, system.defaults, PREVIEW, files["model"])
    export.save_text_encoder(*text_encoder(name), files["text_encoder"])
    return name, files, student


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
@pytest.mark.parametrize("kind", [teach_vae.COGVIDEOX, teach_vae.MAGVIT], ids=["tora", "easyanimate"])
def test_on_a_still_two_dimensions_give_the_numbers_of_three(kind, part):
    module = kind.module()
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
    teach_vae.run_as(module, None)
    assert torch.allclose(run(x), alone, atol=1e-4)


def keep_stills(folder, photographs):
    """The pictures of the first file of them, which would be made in another process."""
    folder.mkdir()
    pictures = [clips.make_still(photographs, np.random.default_rng([11, i])) for i in range(20)]
    torch.save(torch.from_numpy(np.stack(pictures)[:, None]), folder / "stills_00000.pt")
    return torch.load(folder / "stills_00000.pt", weights_only=True)


def test_a_taught_encoder_comes_closer_to_its_teacher_and_is_taken_up_where_it_was_left(
    tmp_path, teacher, photographs, monkeypatch
):
    monkeypatch.setattr(teach_vae, "STILL_POOL", 20)
    pictures = keep_stills(tmp_path / "vae", photographs)
    monkeypatch.setitem(teach_vae.BATCH, "cpu", (4, 1))
    (tmp_path / "pool").mkdir()
    takes = next(pool.made(photographs, 0))
    examples = pool.encode(teacher, [takes])
    shard = {name: torch.stack([example[name] for example in examples]) for name in ("latents", "motion")}
    shard["video"] = torch.from_numpy(np.stack([clip.video for clip in takes]))
    file = tmp_path / "pool" / "0000.pt"
    torch.save(shard, file)
    kind = teach_vae.COGVIDEOX
    with torch.enable_grad():
        teach_vae.train(kind, "encoder", teacher, [file], tmp_path, 1, stills=12, steps=2)
        state = tmp_path / "cogvideox_vae_encoder.pt"
        assert torch.load(state, weights_only=True)["state"]["step"] == 14
        trained = teach_vae.train(kind, "encoder", teacher, [file], tmp_path, 1, stills=12, steps=4)
        assert torch.load(state, weights_only=True)["state"]["step"] == 16
    pixels = pool.to_tensor(pictures[:8])
    wanted = teacher.encode(pixels)
    with torch.no_grad():
        made = (kind.format.from_plain(module.encode(pixels)) for module in (trained, kind.module()))
        errors = [(of_module - wanted).pow(2).mean() for of_module in made]
    assert errors[0] < 0.9 * errors[1]


def test_the_condition_of_training_is_that_of_use(trained, photographs):
    name, files, _ = trained
    model, vae = load_model(files["model"]), load_vae(files["vae"])
    clip = next(
        c for c in (clips.make_clip(photographs, np.random.default_rng(s)) for s in range(9)) if c.path.shape[1] > 2
    )
    shard = shard_of(clip)
    given = SYSTEMS[name](TEXTS[name], vae).given(shard)
    tracks = Tracks(*shard["tracks"][0], shard["size"])
    motion = model.encode_motion(
        tracks, vae=vae, image=shard["first"].float() / 255, width=96, height=96, frames=clips.FRAMES
    )
    if name == "easyanimate":
        wanted = dict(zip(("control", "reference"), motion.inputs["y"].chunk(2, dim=1)))
    else:
        wanted = {part: motion.inputs[part] for part in ("image", "flow")}
    assert set(given) == set(wanted)
    for part, value in wanted.items():
        assert (given[part].float() - value).pow(2).mean() < 0.01 * value.pow(2).mean(), part  # bfloat16; little noise


def test_exported_files_load_and_sample_as_trained(trained):
    name, files, student = trained
    model, vae, text = load_model(files["model"]), load_vae(files["vae"]), load_text_encoder(files["text_encoder"])
    assert model.variant == {"tora": "i2v", "easyanimate": "control"}[name]
    sampling = {key: model.defaults[key] for key in ("cfg", "shift", "scheduler")}
    tokens = text.encode("a bird, 你好 and " + "many more words " * 20)[None]
    assert tokens.shape == TEXTS[name][:1].shape
    x, one, other = (torch.randn(1, 16, 5, 6, 4) for _ in range(3))
    wanted = student(x, torch.tensor([500]), tokens, one, other)
    inputs = {"image": one, "flow": other} if name == "tora" else {"y": torch.cat([one, other], dim=1)}
    made = model.predict(x, torch.tensor([500]), tokens, inputs)
    assert (made - wanted).pow(2).mean() < 0.01 * wanted.pow(2).mean()
    path = torch.linspace(4, 40, 17).view(17, 1, 1).expand(17, 1, 2)
    tracks = Tracks(path, torch.ones(17, 1, dtype=torch.bool), (48, 48))
    motion = model.encode_motion(tracks, vae=vae, image=torch.rand(1, 48, 48, 3), width=48, height=48, frames=17)
    latents = sample(model, TextConditioning(tokens), motion, steps=2, **sampling)
    assert vae.decode(latents).shape == (1, 3, 17, 48, 48)
    assert model.latent_format.picture(latents[0]).shape == (5, 6, 6, 3)  # the preview


def test_it_learns_from_clips_with_tracks_and_without(tmp_path, trained, photographs, monkeypatch):
    name, files, _ = trained
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
    system = SYSTEMS[name](TEXTS[name], load_vae(files["vae"]))
    learn.begin(lambda: system)
    made = tmp_path / "made.pt"
    learn.condition_shard(tmp_path / "0000.pt", made)
    with torch.enable_grad():
        learn.train(system, [made], tmp_path, 4)
    state = torch.load(tmp_path / f"{name}.pt", weights_only=True)
    assert state["state"]["step"] == 4
    (first, second) = torch.load(made, weights_only=True)
    if name == "tora":
        assert set(first[2]) == {"image", "flow"} and set(second[2]) == {"image"}
    else:
        assert first[2]["control"].any() and not second[2]["control"].any()
    part = {"tora": "fuser", "easyanimate": "transformer.proj."}[name]  # what the tracks come in by
    before = system.student().state_dict()
    assert any((before[key] != value).any() for key, value in state["student"].items() if part in key)


@pytest.mark.parametrize("size", train_ati.CONFIGS)
@pytest.mark.parametrize("name", [*SYSTEMS])
def test_it_begins_with_what_ati_has_learned(name, size):
    torch.manual_seed(0)
    config = train_ati.CONFIGS[size]
    dim, heads = config.dim, config.num_heads
    source = WanTransformer(config).eval()
    torch.nn.init.normal_(source.head.head.weight, std=0.1)
    whole = SYSTEMS[name](TEXTS[name], None, source).student().transformer
    block, learned = whole.transformer_blocks[2], source.blocks[2]
    assert torch.equal(block.attn1.to_v.weight, learned.self_attn.v.weight)
    assert torch.equal(block.ff.net[0].proj.weight[: config.ffn_dim], learned.ffn[0].weight)
    turns = start.matched_turns(32, {"tora": 1.0, "easyanimate": train_easyanimate.STEP}[name])
    assert sorted(turns.tolist()) == list(range(32))  # the channels of a head change their places among themselves
    q = block.attn1.to_q.weight.unflatten(0, (heads, 32))
    assert torch.equal(q, learned.self_attn.q.weight.unflatten(0, (heads, 32))[:, turns])

    # What the timestep does to a block, at the level of noise that both mean.
    level = torch.tensor([0.3, 0.6, 0.9])
    time = source.time_embedding(sinusoidal_embedding(level * 1000, config.freq_dim))
    wanted = (source.time_projection(time).unflatten(1, (6, -1)) + learned.modulation)[:, :3].flatten(1)
    t = level * 1000
    if name == "tora":
        a = torch.tensor(signal_levels(train_tora.DEFAULTS["shift"])).float()
        of_t = (1 - a).sqrt() / (a.sqrt() + (1 - a).sqrt())
        t = (of_t[None] - level[:, None]).abs().argmin(1)
    features = torch.nn.functional.silu(whole.time_embedding(sinusoidal_embedding(t, dim)))
    made = block.norm1.linear(features)[:, : 3 * dim]
    assert (made - wanted).pow(2).mean() < 0.1 * wanted.pow(2).mean()

    # One patch of the head: ATI gives its pixels before its channels.
    h = torch.randn(5, dim)
    assert torch.allclose(whole.proj_out(h).unflatten(1, (16, 4)).mT.flatten(1), source.head.head(h), atol=1e-5)
