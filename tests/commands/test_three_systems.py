"""One graph, three systems: the shipped workflow with the embedded files of each, and what follows the tracks in it."""

from __future__ import annotations

from pathlib import Path

import comfyui_trajectory as pack
import pytest
import torch
import torch.nn.functional as F
from comfyui_trajectory.commands.arguments import EMBEDDED_SPREAD
from comfyui_trajectory.commands.files import read_image, read_video
from comfyui_trajectory.commands.run import run_workflow
from comfyui_trajectory.models import (
    EMBEDDED, TextConditioning, embedded, load_model, load_text_encoder, load_vae, sample,
)  # fmt: skip
from comfyui_trajectory.nodes.host import host
from comfyui_trajectory.trajectory import read_tracks
from comfyui_trajectory.trajectory.score import score
from comfyui_trajectory.trajectory.spread import spread
from torch import Tensor

ROOT = Path(pack.__file__).parent
GRAPH = ROOT / "workflows" / "ati_embedded.json"
SIZE = {"width": 96, "height": 96, "frames": 17}
TRACKS = read_tracks(ROOT / "web" / "examples" / "cloud.json")
OFFICIAL = ROOT.parent / "shared" / "data" / "tora"
LOADERS = {
    "model": "TrajectoryModelLoader.model_name", "vae": "TrajectoryVAELoader.vae_name",
    "text_encoder": "TrajectoryTextEncoderLoader.text_encoder_name",
}  # fmt: skip


def run_with(system: str, folder: Path, monkeypatch):
    """(frames, score) of the graph with nothing but the loaders' files changed."""
    monkeypatch.setattr(host, "output_folder", folder)
    monkeypatch.setattr(host, "make_bar", None)
    made = run_workflow(GRAPH, {key: f"embedded/{EMBEDDED[system][part]}" for part, key in LOADERS.items()})
    (video,) = [path for path in made if Path(path).suffix == ".mp4"]
    frames, _ = read_video(folder.parent / video if not Path(video).is_absolute() else video)
    return frames, score(frames, TRACKS)


def test_the_same_tracks_drive_all_three_embedded_models(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scores = {system: run_with(system, tmp_path / system, monkeypatch) for system in EMBEDDED}
    still = score(next(iter(scores.values()))[0][:1].repeat(17, 1, 1, 1), TRACKS).error_percent
    with capsys.disabled():
        print(f"\n{'system':12} mean error   Acc@0.05   (% of the short side; standing still {still:.1f})")
        for system, (_, row) in scores.items():
            print(f"{system:12} {row.error_percent:10.1f} {row.acc_05:10.2f}")
    for system, (frames, row) in scores.items():
        assert frames.shape == (17, 96, 96, 3), system
        assert row.error_percent < still / 2, (system, row)


# ---- the trajectories of Tora's release ----

SHORT, THING = SIZE["width"], 30  # pixels: of a picture and of what is laid on it


def laid(scene: Tensor, thing: Tensor, middle: Tensor) -> Tensor:
    """[height, width, 3] with a round thing [THING, THING, 3] whose middle is at (x, y), partly off it perhaps."""
    across = torch.arange(THING) + 0.5 - THING / 2
    inside = across[:, None].square() + across.square() < (THING / 2) ** 2
    rows, columns = inside.nonzero().T
    y, x = (rows + middle[1].round().int() - THING // 2, columns + middle[0].round().int() - THING // 2)
    there = (x >= 0) & (x < SHORT) & (y >= 0) & (y < SHORT)
    picture = scene.clone()
    picture[y[there], x[there]] = thing[rows[there], columns[there]]
    return picture


def small(picture: Tensor, side: int) -> Tensor:
    return F.interpolate(picture.movedim(-1, 0)[None], size=(side, side), mode="area")[0].movedim(0, -1)


def where_it_differs(frames: Tensor, empty: Tensor) -> Tensor:
    """[frames, 2]: the (x, y) round which a video differs most from that of the empty scene."""
    change = (frames - empty).abs().sum(-1)[:, None]
    for _ in range(2):
        change = F.avg_pool2d(change, 15, 1, 7, count_include_pad=False)
    places = change.flatten(1).argmax(1)
    return torch.stack([places % SHORT, places // SHORT], -1).float()


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="../shared/data/tora is not here")
def test_a_thing_follows_each_of_the_official_trajectories_of_tora(capsys):
    """The face of its release's fox, laid where a trajectory begins, at the length that they are made for. Where it is
    in each frame is nearer to its own trajectory than to any of the others, and than if it stood still."""
    model, vae = load_model(embedded("model", "tora")), load_vae(embedded("vae", "tora"))
    text = TextConditioning(load_text_encoder(embedded("text_encoder", "tora")).encode("a fox")[None])
    face = small(read_image(OFFICIAL / "fox.png")[0, 130:330, 240:500], THING)
    scene = small(read_image(GRAPH.parents[1] / "web" / "examples" / "cloud.jpg")[0], SHORT)
    sampling = {name: model.defaults[name] for name in ("steps", "cfg", "shift", "scheduler")}
    points, radius = EMBEDDED_SPREAD["expand_points"], SHORT * EMBEDDED_SPREAD["expand_radius"] / 100

    def video(picture, tracks):
        motion = model.encode_motion(tracks, vae=vae, image=picture[None], **SIZE | {"frames": 49})
        return (vae.decode(sample(model, text, motion, seed=0, **sampling))[0].permute(1, 2, 3, 0) + 1) / 2

    files = [file for file in sorted(OFFICIAL.glob("*.txt")) if "prompts" not in file.stem]
    asked = {file.stem: read_tracks(file).resize(SHORT, SHORT).resample(49) for file in files}
    assert len(asked) == 9
    empty = video(scene, None)
    found = {
        name: where_it_differs(video(laid(scene, face, tracks.path[0, 0]), spread(tracks, points, radius)), empty)
        for name, tracks in asked.items()
    }

    def distance(places: Tensor, path: Tensor) -> float:
        return (places - path).norm(dim=-1).mean().item() / SHORT * 100

    paths = {name: tracks.path[:, 0] for name, tracks in asked.items()}
    with capsys.disabled():
        print("\ntrajectory   how far from it   standing still   (% of the short side)")
        for name, path in paths.items():
            print(f"{name:10} {distance(found[name], path):17.1f} {distance(path, path[:1]):16.1f}")
    for name, path in paths.items():
        followed, stood = distance(found[name], path), distance(path, path[:1])
        assert followed < 20 and followed < 0.75 * stood, (name, followed, stood)
        assert min(paths, key=lambda other: distance(found[name], paths[other])) == name
