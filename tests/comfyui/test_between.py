"""Between packs, in a real ComfyUI: what its own nodes give ours and take from ours.

Only nodes that this ComfyUI has are used; those of newer ones are tested where they are there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui.graphs import tracks_to_video, without
from comfyui.headless import result
from comfyui.test_memory import close, with_latents
from comfyui.test_queue import failure, pixels
from comfyui.test_tora import tora
from comfyui_trajectory.models.wan.config import WanVAEConfig
from comfyui_trajectory.models.wan.vae import WanVAE
from comfyui_trajectory.trajectory import Tracks, read_tracks
from safetensors.torch import load_file, save_file
from tiny import FILES
from tiny_tora import BARE_TEXT_FILE, TEXT_LENGTH

pytestmark = pytest.mark.usefixtures("files_of_probed")


@pytest.fixture
def host(probed):
    return probed


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def saved_latents(host, graph: dict) -> torch.Tensor:
    entry = host.run(graph)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    (file,) = [file for file in host.saved(entry) if file.suffix == ".latent"]
    return load_file(file)["latent_tensor"]


def told(host, graph: dict, of: str, output: int = 0) -> str:
    """The text of an output, by core's PreviewAny."""
    entry = host.run({**graph, "told": node("PreviewAny", source=[of, output])})
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    return entry["outputs"]["told"]["text"][0]


def test_words_of_comfyuis_own_umt5_give_the_same_latents_as_of_ours(host):
    own = with_latents(tracks_to_video(sampler__seed=41))
    graph = {**own, "clip": node("ProbeClip", file=FILES["text_encoders"], type="wan")}
    graph |= {name: node("CLIPTextEncode", clip=["clip", 0], text=words)
              for name, words in (("positive", "a red car"), ("negative", ""))}  # fmt: skip
    graph["text"] = node("TrajectoryTextFromConditioning", positive=["positive", 0], negative=["negative", 0])
    assert close(saved_latents(host, without(graph, "words")), result(own, "sampler")[0]["samples"])


def tora_by_core(kind: str, length: int | None) -> dict:
    """Tora's graph with the words of ComfyUI's T5, loaded as that type and, where stated, padded to that length."""
    graph = with_latents(tora(sampler__seed=43, words__text_encoder_name=BARE_TEXT_FILE))
    graph["clip"] = node("ProbeClip", file=BARE_TEXT_FILE, type=kind)
    if length:
        graph["padded"] = node("T5TokenizerOptions", clip=["clip", 0], min_padding=0, min_length=length)
    graph |= {name: node("CLIPTextEncode", clip=["padded" if length else "clip", 0], text=words)
              for name, words in (("positive", "a red car"), ("negative", ""))}  # fmt: skip
    graph["text"] = node("TrajectoryTextFromConditioning", positive=["positive", 0], negative=["negative", 0])
    return without(graph, "words")


@pytest.mark.parametrize("kind", ["sd3", "pixart", "cogvideox"])
def test_words_of_comfyuis_own_t5_give_the_same_latents_as_of_ours(host, kind):
    """The tiny model takes 12 tokens, so that newer ComfyUIs' own type for CogVideoX is padded anew too."""
    graph = tora_by_core(kind, TEXT_LENGTH)
    if kind not in host.get("/object_info/CLIPLoader")["CLIPLoader"]["input"]["required"]["type"][0]:
        pytest.skip(f"this ComfyUI has no type {kind}")
    own = with_latents(tora(sampler__seed=43, words__text_encoder_name=BARE_TEXT_FILE))
    # In the host too: the tokenizer is ComfyUI's, and without it our encoder has none.
    assert close(saved_latents(host, graph), saved_latents(host, own))


@pytest.mark.parametrize("kind, length, told", [
    ("sd3", None, "has 77 tokens"), ("pixart", None, "has 5 tokens"), ("sd3", TEXT_LENGTH + 1, "has 13 tokens"),
    ("mochi", None, "was encoded with its padding masked"),
    ("ltxv", TEXT_LENGTH, "was encoded with its padding masked"),
])  # fmt: skip
def test_words_that_are_not_padded_as_tora_was_trained_are_refused(host, kind, length, told):
    error = failure(host.run(tora_by_core(kind, length)))
    assert error["node_id"] == "sampler" and f"positive text {told}" in error["exception_message"]
    assert "type cogvideox" in error["exception_message"] and "min_length 12" in error["exception_message"]


def test_two_conditionings_in_one_are_told_on_the_node(host):
    graph = {**with_latents(tracks_to_video()), "clip": node("ProbeClip", file=FILES["text_encoders"], type="wan")}
    graph |= {name: node("CLIPTextEncode", clip=["clip", 0], text=name) for name in ("one", "other")}
    graph["both"] = node("ConditioningCombine", conditioning_1=["one", 0], conditioning_2=["other", 0])
    graph["text"] = node("TrajectoryTextFromConditioning", positive=["both", 0])
    error = failure(host.run(without(graph, "words")))
    assert error["node_id"] == "text" and error["exception_message"].startswith("positive: 2 conditionings")


def test_comfyuis_vae_decode_gives_the_frames_of_ours(host):
    torch.manual_seed(0)
    weights = {name: value.to(torch.float16) for name, value in WanVAE(WanVAEConfig(dim=96)).state_dict().items()}
    save_file(weights, host.base / "models" / "vae" / "wan_random.safetensors")
    graph = tracks_to_video(sampler__seed=42)
    graph["own_vae"] = node("TrajectoryVAELoader", vae_name="wan_random.safetensors", weight_dtype="fp32")
    graph["core_vae"] = node("VAELoader", vae_name="wan_random.safetensors")
    graph["decode"] = node("TrajectoryDecode", vae=["own_vae", 0], latent=["sampler", 0], tile=0)
    graph["core"] = node("VAEDecode", vae=["core_vae", 0], samples=["sampler", 0])
    graph = without(graph, "video", "saved", "frames")
    ours, theirs = (
        pixels(host, host.run({**graph, "frames": node("SaveImage", images=[of, 0], filename_prefix=of)}))
        for of in ("decode", "core")
    )
    assert len(ours) == len(theirs) == 5 and len(set(ours)) > 1
    for one, other in zip(ours, theirs):  # whole numbers of 0..255
        assert max(abs(a - b) for a, b in zip(one, other)) <= 2


DRAWN = '[{"x": 8.25, "y": 8}, {"x": 24, "y": 20.5}]'  # as KJNodes' Spline Editor gives it: coord_str
EDITOR = json.dumps({
    "version": 1, "canvas": {"width": 32, "height": 32}, "frames": 5, "fps": 8.0,
    "tracks": [{"id": "a", "name": "a", "color": "#ff0000", "points": [{"x": 8.25, "y": 20.5}]}],
})  # fmt: skip


def test_coordinates_of_kjnodes_and_comfyuis_own_reader_go_both_ways(host):
    """KJNodes' editors and ComfyUI's WanTrackToVideo have one format; the reader of the latter is asked what it makes
    of the editor's text."""
    editor = node("TrajectorySplineEditor", width=32, height=32, frames=5, fps=8.0, editor_state=EDITOR)
    text = told(host, {"editor": editor}, "editor", 1)
    points = json.loads(text)
    assert len(points) == 5 and {(point["x"], point["y"]) for point in points} == {(8.25, 20.5)}
    read = host.post("/probe/core_tracks", {"text": text})
    assert read == [[{"x": 8.25, "y": 20.5}] * 5]
    graph = {"kj": node("PrimitiveStringMultiline", value=DRAWN),
             "tracks": node("TrajectoryFromCoordinates", coordinates=["kj", 0], canvas_width=32, canvas_height=32),
             "file": node("TrajectorySaveTracks", tracks=["tracks", 0], filename_prefix="kj", format="json")}  # fmt: skip
    (saved,) = Path(told(host, graph, "file")).parent.glob("kj_*.json")
    assert read_tracks(saved).path.tolist() == [[[8.25, 8.0]], [[24.0, 20.5]]]


def test_tracks_travel_as_comfyuis_own_nodes_have_them(host):
    """Those nodes (comfy_extras/nodes_wanmove.py) came after 0.3.64: where this ComfyUI has them they are used."""
    known = host.get("/object_info")
    if "GenerateTracks" not in known:
        pytest.skip("this ComfyUI has no track nodes of its own")
    defaults = {name: spec[1]["default"] for name, spec in known["GenerateTracks"]["input"]["required"].items()
                if len(spec) > 1 and "default" in spec[1]}  # fmt: skip
    graph = {
        "core": node("GenerateTracks", **{**defaults, "width": 32, "height": 32, "num_frames": 9, "num_tracks": 3,
                                          "interpolation": "linear"}),
        "ours": node("TrajectoryTransform", tracks=["core", 0], move_x=2.0, move_y=0.0, scale=1.0, rotate=0.0, delay=0,
                     frames=5, width=0, height=0),
        "file": node("TrajectorySaveTracks", tracks=["ours", 0], filename_prefix="core", format="json"),
        "picture": node("LoadImage", image="picture.png"),
        "drawn": node("WanMoveVisualizeTracks", images=["picture", 0], tracks=["ours", 0], line_resolution=4,
                      circle_size=2, opacity=0.75, line_width=2),
        "saved": node("SaveImage", images=["drawn", 0], filename_prefix="core"),
    }  # fmt: skip
    entry = host.run(graph)
    assert len(pixels(host, entry)) == 5


def test_the_tracks_socket_holds_what_comfyuis_own_nodes_hold(host):
    """The keys, shapes and dtypes that comfy_extras/nodes_wanmove.py reads and gives."""
    graph = {"tracks": node("TrajectoryFromCoordinates", coordinates=DRAWN, canvas_width=32, canvas_height=32)}
    (value,) = result(graph, "tracks")
    assert value["track_path"].shape == (2, 1, 2) and value["track_path"].dtype == torch.float32
    assert value["track_visibility"].shape == (2, 1) and value["track_visibility"].dtype == torch.bool
    core = {"track_path": torch.rand(9, 3, 2), "track_visibility": torch.ones(9, 1, dtype=torch.bool)}  # a mask's
    assert Tracks.from_comfy(core).visibility.shape == (9, 3)
