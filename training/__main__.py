"""`python -m comfyui_trajectory.training`: from photographs to the embedded files, stage by stage, resumable.

Every stage takes up its own state in training/runs; a stage that has finished is passed over. Other systems than ATI
learn from its VAE and its pool of clips, so it comes first.
"""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial
from pathlib import Path

import torch

from ..models import EMBEDDED, embedded

log = logging.getLogger("training")

RUNS = Path(__file__).parent / "runs"
LEARN = ("text", "conditions", "transformer", "export", "evaluate")
AFTER_ATI = ("photos", "pool", "encoder", "decoder", "taught", "gate", *LEARN)
STAGES = {
    "ati": ("photos", "vae", "fold", "gate", "pool", *LEARN),
    "tora": AFTER_ATI,
    "easyanimate": AFTER_ATI,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui_trajectory.training", description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=STAGES, default="ati", help="which of the embedded models (default: ati)")
    parser.add_argument(
        "--stage", choices=sorted({stage for stages in STAGES.values() for stage in stages}), action="append",
        help="this stage alone (may be repeated); default: all of the system",
    )  # fmt: skip
    parser.add_argument("--minutes-stills", type=float, default=13, help="of ATI's VAE on single pictures")
    parser.add_argument("--minutes-clips", type=float, default=25, help="of ATI's VAE on clips")
    parser.add_argument("--minutes-taught", type=float, default=0, help="of each half of another system's VAE (default: by steps)")
    parser.add_argument("--minutes-transformer", type=float, default=0, help="of the transformer (default: by steps)")
    parser.add_argument("--go-on", action="store_true", help="begin with what the files in OUTPUT have learned")
    parser.add_argument("--shards", type=int, default=96, help="64 clips each, encoded for the transformer")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that make the clips")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where states and logs are kept")
    parser.add_argument("--output", type=Path, default=embedded("vae").parent, help="where the files are written")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.runs / "training.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(os.cpu_count() or 1)
    for stage in options.stage or STAGES[options.system]:
        log.info("%s: stage %s", options.system, stage)
        globals()[f"run_{stage}"](options)


def file(options, part: str, system: str | None = None) -> Path:
    return options.output / EMBEDDED[system or options.system][part]


def shards(options) -> list[Path]:
    return [options.runs / "pool" / f"{number:04d}.pt" for number in range(options.shards)]


def run_photos(options) -> None:
    from . import photos

    log.info("%d photographs, %d held out", len(photos.load(False)), len(photos.load(True)))


def run_vae(options) -> None:
    from . import photos, train_vae

    minutes = options.minutes_stills, options.minutes_clips
    train_vae.train(photos.load(False), options.runs, *minutes, options.device)


def run_fold(options) -> None:
    from . import gate, photos

    gate.finish(options.runs, photos.load(False), file(options, "vae"))


def run_pool(options) -> None:
    from . import pool

    folder = options.runs / "pool"
    pool.make_pool(file(options, "vae", "ati"), folder, options.shards, options.processes, options.device)


def run_encoder(options) -> None:
    teach(options, "encoder")


def run_decoder(options) -> None:
    teach(options, "decoder")


def teach(options, part: str) -> None:
    """Half of another system's VAE."""
    from ..models import load_vae
    from . import photos, teach_vae

    teacher = load_vae(file(options, "vae", "ati"), dtype="fp32", device=options.device)
    teach_vae.train(
        teach_vae.KINDS[options.system], part, teacher, shards(options), photos.load(False), options.runs,
        minutes=options.minutes_taught, learned=vae_learned(options),
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

    figures = gate.measure(load_vae(file(options, "vae")), photos.load(True))
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
        from .train_ati import ATI

        return ATI(texts)
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
        system_of(options), files, options.runs, minutes=options.minutes_transformer, device=options.device,
        learned=learned(options) if options.go_on else None,
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
    student.load_state_dict(torch.load(options.runs / f"{system.name}.pt", weights_only=True, map_location="cpu")["average"])
    path = file(options, "model")
    export.save_transformer(student.transformer, system.stated, system.defaults, preview(options), path)
    if options.system == "ati":
        export.save_image_encoder(student.image_encoder, file(options, "image_encoder"))


def run_evaluate(options) -> None:
    from . import evaluate

    output = options.runs / f"evaluation_{options.system}"
    evaluate.main(["--system", options.system, "--output", str(output)], options.output)


if __name__ == "__main__":
    main()
