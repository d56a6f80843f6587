"""The stages of training, from photographs to the embedded files: what each reads and writes. Each takes up its own
state in the folder of runs; one that has finished is passed over.

Other systems than ATI learn from its VAE and its pool of clips, so it comes first.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch

from ..models import EMBEDDED

log = logging.getLogger(__name__)

LEARN = ("text", "conditions", "transformer", "export", "evaluate")
AFTER_ATI = ("photos", "pool", "encoder", "decoder", "taught", "gate", *LEARN)
STAGES = {
    "ati": ("photos", "vae", "fold", "gate", "pool", *LEARN),
    "tora": AFTER_ATI,
    "easyanimate": AFTER_ATI,
}


def run(stage: str, options) -> None:
    """options: what __main__.py parses."""
    log.info("%s: stage %s", options.system, stage)
    globals()[f"run_{stage}"](options)


def file(options, part: str, system: str | None = None) -> Path:
    return options.output / EMBEDDED[system or options.system][part]


def shards(options) -> list[Path]:
    from . import pool

    return pool.files_of(options.runs / "pool", options.shards, options.long_shards)


def run_photos(options) -> None:
    from . import photos

    log.info("%d photographs, %d held out", len(photos.load(False)), len(photos.load(True)))


def run_vae(options) -> None:
    from . import train_vae

    quarter = options.minutes_shallow / 4
    minutes = quarter, 3 * quarter, options.minutes_stills, options.minutes_clips
    minutes = dict(zip(train_vae.STAGES, minutes, strict=True))
    train_vae.train(options.runs, minutes, options.processes, options.device)


def run_fold(options) -> None:
    from . import gate, photos

    gate.finish(options.runs, photos.load(False), file(options, "vae"), options.device)


def run_pool(options) -> None:
    from . import pool

    pool.make_pool(file(options, "vae", "ati"), shards(options), options.processes, options.device)


def run_encoder(options) -> None:
    teach(options, "encoder")


def run_decoder(options) -> None:
    teach(options, "decoder")


def teach(options, part: str) -> None:
    """Half of another system's VAE."""
    from ..models import load_vae
    from . import teach_vae

    teacher = load_vae(file(options, "vae", "ati"), dtype="fp32", device=options.device)
    teach_vae.train(
        teach_vae.KINDS[options.system], part, teacher, shards(options), options.runs,
        options.processes, minutes=options.minutes_taught, learned=vae_learned(options),
    )  # fmt: skip


def vae_learned(options) -> dict[str, torch.Tensor] | None:
    from ..models import load_vae

    return load_vae(file(options, "vae"), dtype="fp32").module.state_dict() if options.go_on else None


def run_taught(options) -> None:
    """The file of both halves."""
    from . import teach_vae

    kind = teach_vae.KINDS[options.system]
    teach_vae.finish(kind, options.runs, preview(options), file(options, "vae"), vae_learned(options))


def run_gate(options) -> None:
    """How good the VAE is."""
    from ..models import load_vae
    from . import gate, photos

    figures = gate.measure(load_vae(file(options, "vae"), device=options.device), photos.load(True))
    log.info("held out: stills %(stills).2f dB, clips %(clips).2f dB; colours within %(colour).1f of 255", figures)


def preview(options) -> list:
    """All systems have ATI's latents, and so its linear preview."""
    from ..models.common.checkpoint import open_checkpoint

    return open_checkpoint(file(options, "vae", "ati")).config["latent_rgb"]


def run_text(options) -> None:
    """The text encoder's file."""
    from . import encoders, export

    if options.system == "ati":
        made = encoders.text_encoder(), encoders.tokenizer()
        stated = {**encoders.TEXT, "family": "wan", "text_len": encoders.TEXT_LENGTH}
    elif options.system == "tora":
        made = encoders.text_encoder("T5", encoders.T5), encoders.tokenizer()
        stated = {**encoders.T5, "family": "cogvideox", "text_len": encoders.SHORT}
    else:
        made = encoders.qwen_encoder(), encoders.bpe_tokenizer()
        stated = {**encoders.QWEN, "family": "easyanimate", "text_len": encoders.LONG}
    export.save_text_encoder(*made, stated, file(options, "text_encoder"))


def system_of(options):
    """The learn.System with its encoded prompts."""
    from ..models import load_model, load_text_encoder, load_vae
    from . import encoders

    encoder = load_text_encoder(file(options, "text_encoder"), dtype="fp32")
    texts = encoders.encode_all(encoder, encoders.prompts()).to(options.device)
    if options.system == "ati":
        from .train_ati import ATI, CONFIGS

        known = load_model(file(options, "model")).module.config if options.go_on else CONFIGS[options.size]
        return ATI(texts, known)
    if options.system == "tora":
        from .train_tora import Tora as System
    else:
        from .train_easyanimate import EasyAnimate as System
    source = load_model(file(options, "model", "ati"), dtype="fp32").module
    return System(texts, load_vae(file(options, "vae"), dtype="fp32", device=options.device), source)


def conditions(options) -> Path:
    return options.runs / f"{options.system}_pool"


def run_conditions(options) -> None:
    from . import learn

    learn.condition(partial(system_of, options), shards(options), conditions(options), options.processes)


def run_transformer(options) -> None:
    from . import learn

    files = [conditions(options) / shard.name for shard in shards(options)]
    learn.train(
        system_of(options), files, options.runs, options.steps, minutes=options.minutes_transformer, rate=options.rate,
        device=options.device, learned=learned(options) if options.go_on else None,
    )  # fmt: skip


def learned(options) -> dict[str, dict]:
    """State of each part of the student, from its files."""
    from ..models import load_image_encoder, load_model

    parts = {"transformer": load_model(file(options, "model"), dtype="fp32").module}
    if options.system == "ati":
        parts["image_encoder"] = load_image_encoder(file(options, "image_encoder"), dtype="fp32").module
    return {name: part.state_dict() for name, part in parts.items()}


def run_export(options) -> None:
    from . import export

    system = system_of(options)
    student = system.student()
    state = torch.load(options.runs / f"{system.name}.pt", weights_only=True, map_location="cpu")
    student.load_state_dict(state["average"])
    path = file(options, "model")
    export.save_transformer(student.transformer, system.stated, system.defaults, preview(options), path)
    if options.system == "ati":
        export.save_image_encoder(student.image_encoder, file(options, "image_encoder"))


def run_evaluate(options) -> None:
    from . import evaluate

    output = options.runs / f"evaluation_{options.system}"
    evaluate.main(["--system", options.system, "--output", str(output)], options.output)
