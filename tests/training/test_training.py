"""The training code in small: what it makes is what the pack reads, and what conditions the model is what conditioned
it."""

import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open

from comfyui_trajectory.models import (
    TextConditioning,
    embedded,
    load_image_encoder,
    load_model,
    load_text_encoder,
    load_vae,
    sample,
)
from comfyui_trajectory.models.common.schedulers import shifted
from comfyui_trajectory.models.wan.config import WanVAEConfig
from comfyui_trajectory.models.wan.latent import MEAN, STD
from comfyui_trajectory.models.wan.vae import WanVAE
from comfyui_trajectory.trajectory import Tracks
from comfyui_trajectory.training import (
    __main__, clips, encoders, evaluate, export, learn, optim, photos, pictures, pool, precision, replay, shallow,
    stages, train_ati, train_vae,
)  # fmt: skip

SMALL = train_ati.CONFIGS["small"]


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return WanVAE(WanVAEConfig(dim=4)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def files(tmp_path_factory, vae):
    folder = tmp_path_factory.mktemp("embedded")
    student = train_ati.Student(SMALL)
    torch.nn.init.normal_(student.transformer.head.head.weight, std=0.02)
    preview = [[0.0, 0.0, 0.0]] * 17
    export.save_vae(vae, "wan", preview, folder / "vae.safetensors")
    ati = train_ati.ATI
    export.save_transformer(student.transformer, ati.stated, ati.defaults, preview, folder / "ati.safetensors")
    export.save_image_encoder(student.image_encoder, folder / "image.safetensors")
    stated = {**encoders.TEXT, "family": "wan", "text_len": encoders.TEXT_LENGTH}
    export.save_text_encoder(encoders.text_encoder(), encoders.tokenizer(), stated, folder / "text.safetensors")
    return folder, student


def test_a_clip_is_the_same_for_the_same_seed_and_its_points_move_with_their_thing(photographs):
    first, second = (clips.make_clip(photographs, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first.video, second.video) and np.array_equal(first.path, second.path)
    other = clips.make_clip(photographs, np.random.default_rng(5))
    assert not np.array_equal(first.video, other.video)
    assert first.video.shape == (17, 96, 96, 3) and first.video.dtype == np.uint8
    assert first.path.shape[:2] == first.visible.shape == (17, len(first.owners))
    speed = np.linalg.norm(np.diff(first.path, axis=0), axis=-1)
    assert 0.5 < speed[:, first.owners > 0].max(initial=0) < 2 * clips.JUDGED.top_speed


def test_a_long_clip_goes_on_where_a_short_one_ends(photographs):
    takes = next(pool.made(photographs, pool.LONG))
    clip = next(take for take in takes if (take.owners == 1).any())
    path = clip.path[:, clip.owners == 1][:, 0]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
    assert len(clip.video) == len(path) == pool.LONG_FRAMES
    assert steps.max() < 2 * clips.LONG.top_speed
    assert steps[: clips.LEG].any() and steps[-clips.LEG :].any()
    assert np.abs(clip.video[0].astype(int) - clip.video[-1]).max() > 20


def test_pictures_and_clips_for_the_vae_are_made_once(tmp_path, photographs, monkeypatch):
    monkeypatch.setattr(photos, "load", lambda held_out: photographs)
    monkeypatch.setattr(pictures, "PIECE", 3)

    def here(name, work, pieces, count, begin, first):  # other processes would not see the photographs of this test
        begin()
        for first, file in pieces:
            if not file.exists():
                work(first, file)
                made.append(file.name)

    made = []
    monkeypatch.setattr(pictures, "in_processes", here)
    stills = pictures.stills(tmp_path, 4, 1)
    assert stills.shape == (4, 1, 96, 96, 3) and made == ["stills_00000.pt", "stills_00003.pt"]
    video, motion = pictures.moving(tmp_path, (112, 80), 4, 1)
    assert video.shape == (4, 17, 80, 112, 3) and motion.shape == (4, 17, 80, 112) and 90 < motion.max() <= 100
    made.clear()
    assert torch.equal(pictures.stills(tmp_path, 4, 1), stills) and not made


def test_takes_of_a_scene_share_their_first_frame_and_differ_in_motion(photographs):
    rng = np.random.default_rng(2)
    scene = clips.make_scene(photographs, rng, mix=clips.Mix((0, 1)))
    first, second = (clips.animate(scene, rng) for _ in range(2))
    assert np.array_equal(first.video[0], second.video[0]) and not np.array_equal(first.video[8], second.video[8])


def test_things_start_apart(photographs):
    for seed in range(20):
        things = clips.make_scene(photographs, np.random.default_rng(seed), mix=clips.Mix((0, 0, 0, 1))).things
        for i, thing in enumerate(things):
            for other in things[:i]:
                assert np.linalg.norm(thing.start - other.start) >= thing.radius + other.radius


def test_points_that_leave_the_frame_are_invisible(photographs):
    for seed in range(40):
        clip = clips.make_clip(photographs, np.random.default_rng(seed))
        outside = ((clip.path < 0) | (clip.path > 95)).any(-1)
        assert not clip.visible[outside].any()


def test_clips_without_moving_things_or_tracks_stand_still(photographs):
    found = 0
    for seed in range(120):
        clip = clips.make_clip(photographs, np.random.default_rng(seed))
        if not clip.path.shape[1]:
            found += 1
            assert (clip.video == clip.video[:1]).all()
    assert found


def test_folded_statistics_leave_reconstructions_alone_and_give_wans_latents(vae):
    import copy

    pixels = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    before = vae.encode(pixels)
    folded = copy.deepcopy(vae)
    export.fold_statistics(folded, before.transpose(0, 1).flatten(1))
    after = folded.encode(pixels)
    flat = after.transpose(0, 1).flatten(1)
    assert torch.allclose(flat.mean(1), torch.tensor(MEAN), atol=1e-3)
    assert torch.allclose(flat.std(1), torch.tensor(STD), rtol=1e-3)
    assert torch.allclose(folded.decode(after), vae.decode(before), atol=2e-3)


def test_the_condition_of_training_is_that_of_use(files, photographs):
    folder, student = files
    model, vae = load_model(folder / "ati.safetensors"), load_vae(folder / "vae.safetensors")
    clip = next(
        c for c in (clips.make_clip(photographs, np.random.default_rng(s)) for s in range(9)) if c.path.shape[1] > 2
    )
    (example,) = pool.encode(vae, [[clip]])
    path, visible = torch.from_numpy(clip.path), torch.from_numpy(clip.visible)
    trained = train_ati.condition(example["still"], Tracks(path, visible, (96, 96)))
    motion = model.encode_motion(
        Tracks(path, visible, (96, 96)), vae=vae, image=torch.from_numpy(clip.video[:1]).float() / 255, width=96,
        height=96,
        frames=17, image_tokens=torch.zeros(1, 17, 48),
    )  # fmt: skip
    assert torch.allclose(trained, motion.inputs["y"][0], atol=0.1)  # bfloat16 in the pool
    assert torch.allclose(trained[:4], motion.inputs["y"][0][:4], atol=1e-5)

    picture = torch.from_numpy(clip.video[:1])
    encoder = load_image_encoder(folder / "image.safetensors")
    expected = encoders.image_tokens(student.image_encoder, encoders.preprocess(student.image_encoder, picture))
    assert torch.allclose(encoder.encode(picture.float() / 255), expected, atol=2e-2)


def test_exported_files_load_and_sample_as_trained(files):
    folder, student = files
    model, text = load_model(folder / "ati.safetensors"), load_text_encoder(folder / "text.safetensors")
    assert model.defaults["temperature"] == train_ati.DEFAULTS["temperature"]
    tokens = text.encode("a bird, 你好 and " + "many more words " * 20)
    assert tokens.shape == (encoders.TEXT_LENGTH, encoders.TEXT["d_model"])
    x, y, clip = torch.randn(1, 16, 2, 6, 4), torch.randn(1, 20, 2, 6, 4), torch.randn(1, 17, 48)
    wanted = student.transformer(x, torch.tensor([500.0]), tokens[None], y, clip)
    made = model.predict(x, torch.tensor([500.0]), tokens[None], {"y": y, "clip_fea": clip})
    assert (made - wanted).pow(2).mean() < 0.01 * wanted.pow(2).mean()
    motion = model.encode_motion(
        None, vae=load_vae(folder / "vae.safetensors"), image=torch.rand(1, 32, 48, 3), width=48, height=32, frames=5,
        image_tokens=clip,
    )  # fmt: skip
    latents = sample(model, TextConditioning(tokens[None]), motion, steps=2, cfg=1.0, shift=3.0, scheduler="euler")
    assert latents.shape == (1, 16, 2, 4, 6) and latents.isfinite().all()


def test_a_clip_that_is_judged_is_followed_best_as_it_was_made_and_next_best_through_the_vae_alone(photographs):
    models = evaluate.Models.load(embedded("vae").parent, "ati")
    case = next(case for case in evaluate.cases(photographs, 20) if not case[1].camera)
    row, sheet = evaluate.judge(models, *case)
    assert row["truth"] < row["rebuilt"] < row["still"]
    assert row["truth"] < 2 and row["rebuilt"] < row["without"]
    assert sheet.ndim == 3 and sheet.std() > 10


def test_every_file_says_where_it_comes_from(files):
    for file in files[0].iterdir():
        with safe_open(file, "pt") as handle:
            header = handle.metadata()
        assert header["license"] == "Apache-2.0" and json.loads(header["config"])["family"] == "wan"


def test_training_is_taken_up_where_it_was_left(tmp_path, vae, files, monkeypatch):
    monkeypatch.setattr(learn, "compiled", lambda blocks: None)  # it would take a minute
    torch.manual_seed(0)
    n = 8
    shard = {
        "latents": torch.randn(n, 16, 5, 4, 4), "still": torch.randn(n, 16, 5, 4, 4), "motion": torch.rand(n, 5, 4, 4),
        "first": torch.randint(256, (n, 32, 32, 3), dtype=torch.uint8), "size": (32, 32),
        "tracks": [(torch.rand(17, 2, 2) * 32, torch.ones(17, 2, dtype=torch.bool))] * (n - 1)
        + [(torch.zeros(17, 0, 2), torch.zeros(17, 0, dtype=torch.bool))],
    }  # fmt: skip
    torch.save(shard, tmp_path / "0000.pt")
    texts = torch.zeros(2, encoders.TEXT_LENGTH, encoders.TEXT["d_model"])
    system, made = train_ati.ATI(texts, SMALL), tmp_path / "made.pt"
    learn.begin(lambda: system)
    learn.condition_shard(tmp_path / "0000.pt", made)
    with torch.enable_grad():
        learn.train(system, [made], tmp_path, 1)
        first = torch.load(tmp_path / "ati.pt", weights_only=True)
        learn.train(system, [made], tmp_path, 3)
    last = torch.load(tmp_path / "ati.pt", weights_only=True)
    assert (first["state"]["step"], last["state"]["step"]) == (1, 3)
    assert any((first["student"][name] != value).any() for name, value in last["student"].items())


def test_a_vae_that_was_trained_without_its_blocks_is_the_same_when_they_come_in():
    torch.manual_seed(0)
    module, pixels = train_vae.build(), torch.rand(1, 3, 5, 16, 16) * 2 - 1
    with shallow.shallow(module), torch.enable_grad():
        latents = module.encode(pixels)
        alone = module.decode(latents)
        alone.sum().backward()
        took_part = {name for name, p in module.named_parameters() if p.grad is not None}
    assert took_part and not any("residual" in name or "middle" in name for name in took_part)
    torch.testing.assert_close(module.decode(module.encode(pixels)), alone)
    with torch.enable_grad():
        module.decode(module.encode(pixels)).sum().backward()
    assert all(block.residual[-1].weight.grad.any() for block in shallow.blocks(module) if hasattr(block, "residual"))


def test_what_the_vae_sees_from_between_two_positions_of_the_latents_is_the_same_part_of_the_picture():
    where = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij"))  # each pixel's own place
    pixels, offsets = where[None, :, None].repeat(3, 1, 2, 1, 1), torch.tensor([[0, 0], [3, 5], [7, 1]])
    seen = train_vae.cut(pixels, offsets)
    assert seen.shape == (3, 2, 2, 16, 24) and torch.equal(seen[1], pixels[1, ..., 3:19, 5:29])
    torch.testing.assert_close(train_vae.blended(pixels[..., ::8, ::8], offsets), seen[..., ::8, ::8])


@pytest.mark.parametrize("moves", (False, True), ids=("stills", "clips"))
def test_a_batch_for_the_vae_is_seen_half_as_it_is_and_half_from_between(moves):
    video = torch.zeros(50, 1 + 4 * moves, 16, 24, 3, dtype=torch.uint8)
    every = [(video, torch.full(video.shape[:4], 100, dtype=torch.uint8) if moves else None)]
    drawn = [train_vae.draw(every, np.random.default_rng(i), i) for i in range(60)]
    pixels, weight, _ = drawn[0]
    assert weight.shape == (len(pixels), 1, *pixels.shape[2:]) and (weight == (3 if moves else 1)).all()
    offsets = torch.cat([of_batch for *_, of_batch in drawn])
    assert offsets.unique().tolist() == list(range(8)) and 0.4 < (offsets == 0).all(1).float().mean() < 0.6


def test_blocks_that_add_nothing_are_passed_over_and_others_are_not():
    torch.manual_seed(0)
    module, pixels = train_vae.build().eval(), torch.rand(1, 3, 5, 16, 16) * 2 - 1
    with shallow.shallow(module.encoder):
        pass
    with torch.no_grad():
        latents = module.encode(pixels)
        pictures = module.decode(latents)
        shallow.pass_over_idle(module)
        assert torch.equal(module.encode(pixels), latents)
        assert torch.equal(module.decode(latents), pictures)
    assert all(isinstance(block.forward, partial) for block in shallow.blocks(module.encoder))
    assert not any(isinstance(block.forward, partial) for block in shallow.blocks(module.decoder))


def test_ati_learns_the_clean_latents_at_the_levels_of_noise_where_motion_is_decided():
    told = []

    def student(x, t, text, **given):
        told.append(t / 1000)
        return torch.zeros_like(x)

    x0, weight = torch.zeros(4, 16, 5, 4, 4), torch.ones(4, 1, 5, 4, 4)
    system = train_ati.ATI(torch.zeros(2, encoders.TEXT_LENGTH, encoders.TEXT["d_model"]), SMALL)
    losses = [float(system.loss(student, x0, weight, {}, torch.Generator().manual_seed(i))) for i in range(50)]
    levels = torch.stack(told)  # what is wrong by the whole noise is wrong in the clean latents by the level of noise
    assert shifted(torch.tensor(train_ati.LOWEST), 5.0) < levels.min() < 0.4 and 0.99 < levels.max() < 1
    torch.testing.assert_close(torch.tensor(losses), (levels**2).mean(1), rtol=0.1, atol=0)


def test_stages_of_the_vae_without_minutes_are_left_out_and_done_ones_not_repeated(tmp_path, monkeypatch):
    ran = []

    def run_stage(module, both, bases, name, minutes, state, file, every):
        ran.append((name, round(bases[0], 4), minutes))
        left_out = {part for part in ("encoder", "decoder") for block in shallow.blocks(getattr(module, part))
                    if isinstance(block.forward, partial)}  # fmt: skip
        assert left_out == expected.get(name, set())
        if len(ran) == 3:
            train_vae.save(file, module, both, {**state, "step": 7})
            raise KeyboardInterrupt

    monkeypatch.setattr(train_vae, "run_stage", run_stage)
    monkeypatch.setattr(train_vae, "examples_of", lambda *_: [])
    monkeypatch.setattr(train_vae, "CONFIG", WanVAEConfig(dim=4))
    minutes = dict(zip(train_vae.STAGES, (1, 3, 8, 19)))
    both = {"encoder", "decoder"}
    expected = {"shallow stills": both, "shallow clips": both, "stills": {"encoder"}, "clips": {"encoder"}}
    with pytest.raises(KeyboardInterrupt):
        train_vae.train(tmp_path, minutes, 1)
    train_vae.train(tmp_path, minutes, 1)
    whole = ("stills", 0.004, 8), ("clips", 0.001, 19)
    assert ran == [("shallow stills", 0.01, 1), ("shallow clips", 0.005, 3), whole[0], *whole]
    (tmp_path / "vae.pt").unlink()
    ran.clear(), expected.clear()
    train_vae.train(tmp_path, {**minutes, "shallow stills": 0, "shallow clips": 0}, 1)
    assert ran == [("stills", 0.01, 8), ("clips", 0.0025, 19)]


def test_muon_steps_are_orthogonal():
    update = optim.orthogonal(torch.randn(3, 24, 40))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5 and singular.max() < 1.3


def test_the_command_line_spreads_points_as_the_clips_do():
    from comfyui_trajectory.commands.arguments import EMBEDDED_SPREAD

    assert tuple(EMBEDDED_SPREAD.values()) == clips.SPREAD


def test_gradients_of_a_step_are_those_of_its_loss():
    layer = torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with torch.enable_grad():
        wanted = torch.autograd.grad(layer(x).square().mean(), layer.weight)[0]
        loss, largest = replay.Steps(layer.parameters())("any", lambda x: (layer(x).square().mean(), x.max()), [x])
    assert torch.equal(layer.weight.grad, wanted) and largest == x.max()
    assert loss == layer(x).square().mean() and not loss.requires_grad


def test_training_for_minutes_ends_with_its_rates_fallen(tmp_path, monkeypatch):
    """However few steps fit into them."""
    monkeypatch.setattr(learn, "compiled", lambda blocks: None)
    given = {"y": torch.randn(8, 20, 5, 4, 4).half(), "pictures": torch.randn(8, 3, 64, 64).half()}
    torch.save([(torch.randn(8, 16, 5, 4, 4).half(), torch.ones(8, 1, 5, 4, 4).half(), given)], tmp_path / "made.pt")
    texts = torch.zeros(2, encoders.TEXT_LENGTH, encoders.TEXT["d_model"])
    rates, falling = [], optim.falling
    monkeypatch.setattr(learn, "falling", lambda progress: rates.append(falling(progress)) or rates[-1])
    with torch.enable_grad():
        learn.train(train_ati.ATI(texts, SMALL), [tmp_path / "made.pt"], tmp_path, 10**6, minutes=0.05)
    assert 2 < len(rates) < 1000 and max(rates) > 0.6 and rates[-1] < 0.2


@pytest.mark.parametrize(("bfloat16", "given", "size"), [
    (True, [], "large"), (False, [], "small"), (True, ["--size", "small"], "small"), (False, ["--size", "large"], "large"),
])  # fmt: skip
def test_a_cpu_learns_the_large_transformer_where_it_computes_in_bfloat16(tmp_path, monkeypatch, bfloat16, given, size):
    begun = []
    monkeypatch.setattr(precision, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(stages, "run", lambda stage, options: begun.append((stage, options.size)))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr("sys.argv", ["training", "--device", "cpu", "--runs", str(tmp_path), "--stage", "transformer", *given])
    __main__.main()
    assert begun == [("transformer", size)]


def test_what_a_process_raises_ends_the_work(tmp_path):
    with pytest.raises(pickle.UnpicklingError):
        (tmp_path / "0000.pt").write_bytes(b"no shard")
        learn.condition(list, [tmp_path / "0000.pt"], tmp_path / "made", 1)
    assert not list((tmp_path / "made").iterdir())
