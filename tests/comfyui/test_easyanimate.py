"""EasyAnimate's variants through a real ComfyUI's queue: ATI's own graph with other files, and what it adds."""

from __future__ import annotations

import av
import pytest
from comfyui.graphs import tracks_to_video
from tiny_easyanimate import TEXT_FILE, VAE_FILE, transformer_file

SAMPLING = {"sampler__scheduler": "auto", "sampler__shift": 0.0, "sampler__steps": 2}


def graph(variant: str, **changes) -> dict:
    """ATI's graph with nothing but the loaders' files changed, and what the sampler leaves to the model."""
    made = tracks_to_video(
        model__model_name=transformer_file(variant), vae__vae_name=VAE_FILE, words__text_encoder_name=TEXT_FILE,
        **SAMPLING, **changes,
    )  # fmt: skip
    if variant != "control":
        del made["encode"]["inputs"]["tracks"]
    return made


def saved_video(host, entry) -> tuple[int, int, int]:
    """(width, height, frames) of the one video."""
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    (video,) = [file for file in host.saved(entry) if file.suffix == ".mp4"]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in container.decode(stream))


@pytest.mark.parametrize("variant", ["control", "inp"])
def test_the_graph_of_ati_runs_easyanimate_by_its_files_alone(host, variant):
    assert saved_video(host, host.run(graph(variant))) == (32, 32, 5)


def test_a_camera_becomes_a_saved_video_and_its_picture_is_shown(host):
    made = graph("camera", encode__camera_poses=["camera", 0])
    made["camera"] = {"class_type": "TrajectoryCameraPoses", "inputs": {
        "move_1": "Orbit Left", "move_2": "Static", "move_3": "Static", "move_4": "Static", "arrange": "at once",
        "speed": 1.0, "ease": "linear", "frames": 9, "distance": 3.0, "width": 32, "height": 32, "columns": 2,
        "rows": 2,
        "file": "none",
    }}  # fmt: skip
    made["way"] = {"class_type": "SaveImage", "inputs": {"images": ["camera", 2], "filename_prefix": "way"}}
    made["text_file"] = {
        "class_type": "TrajectorySaveCameraPoses",
        "inputs": {"camera_poses": ["camera", 0], "filename_prefix": "way", "fps": 8.0},
    }
    entry = host.run(made)
    assert saved_video(host, entry) == (32, 32, 5)
    assert any(file.name.startswith("way") for file in host.saved(entry))


def test_a_video_is_kept_in_part(host):
    made = graph("t2v", encode__video=["picture", 0], encode__frames=1, sampler__denoise=0.5)
    del made["encode"]["inputs"]["start_image"]
    assert saved_video(host, host.run(made)) == (32, 32, 1)


def test_a_variant_that_takes_no_tracks_says_so(host):
    made = graph("inp")
    made["encode"]["inputs"]["tracks"] = ["tracks", 0]
    entry = host.run(made)
    fault = next(data for name, data in entry["status"]["messages"] if name == "execution_error")
    assert "Tracks need the Control model" in fault["exception_message"] and fault["node_id"] == "encode"
