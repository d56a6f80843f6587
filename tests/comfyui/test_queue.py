"""Prompts through a real ComfyUI's queue, with the tiny model: results, progress, previews, cancel, bad input."""

from __future__ import annotations

import io

import av
import pytest
from comfyui.graphs import tracks_to_video, without
from comfyui.host import Refused
from PIL import Image


def pixels(host, entry) -> list[bytes]:
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    return [Image.open(file).tobytes() for file in host.saved(entry) if file.suffix == ".png"]


def failure(entry) -> dict:
    return next(data for name, data in entry["status"]["messages"] if name == "execution_error")


def fresh(host):
    """Forgets every cached result and unloads every model, so that the next prompt really runs."""
    host.post("/free", {"unload_models": True, "free_memory": True})


def test_a_picture_and_a_track_become_a_saved_video(host):
    entry = host.run(tracks_to_video())
    assert len(pixels(host, entry)) == 5
    (video,) = [file for file in host.saved(entry) if file.suffix == ".mp4"]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (32, 32, 8.0)
        assert sum(1 for _ in container.decode(stream)) == 5


def test_progress_and_previews_move_with_the_steps(host):
    with host.listen() as page:
        prompt_id = host.queue(tracks_to_video(sampler__seed=8, sampler__steps=6), page.client)
        page.until(lambda page: page.ended(prompt_id))
        states = [data["nodes"]["sampler"] for data in page.of("progress_state") if "sampler" in data["nodes"]]
        previews = [image for node, image in page.previews if node == "sampler"]
    seen = [state["value"] for state in states if state["max"] == 6]
    assert sorted(set(seen) - {0}) == [1, 2, 3, 4, 5, 6] and seen == sorted(seen)
    assert len(previews) == 6
    opened = [Image.open(io.BytesIO(image)) for image in previews]
    assert len({image.tobytes() for image in opened}) > 1, "the preview stands still"


def test_cancel_stops_within_one_step_and_the_next_run_is_as_if_nothing_had_been(host):
    size = {"encode__width": 256, "encode__height": 256, "encode__frames": 17}
    before = pixels(host, host.run(tracks_to_video(sampler__seed=9)))
    fresh(host)
    with host.listen() as page:

        def steps_done(page):
            states = [data["nodes"].get("sampler", {}) for data in page.of("progress_state")]
            return max((state["value"] for state in states if state.get("max") == 500), default=0)

        prompt_id = host.queue(tracks_to_video(**size, sampler__seed=10, sampler__steps=500), page.client)
        page.until(lambda page: steps_done(page) >= 2)
        host.post("/interrupt")
        at_interrupt = steps_done(page)
        page.until(lambda page: page.ended(prompt_id))
        assert page.of("execution_interrupted")
        assert steps_done(page) <= at_interrupt + 1
    fresh(host)
    assert pixels(host, host.run(tracks_to_video(sampler__seed=9))) == before


@pytest.mark.parametrize("node", ["encode", "decode"])
def test_cancel_stops_the_vae_between_two_chunks_of_frames(host, node):
    size = {"encode__width": 256, "encode__height": 256, "encode__frames": 49}
    fresh(host)
    with host.listen() as page:
        prompt_id = host.queue(tracks_to_video(**size, sampler__seed=13, sampler__steps=1), page.client)
        page.until(lambda page: any(data["node"] == node for data in page.of("executing")))
        host.post("/interrupt")
        page.until(lambda page: page.ended(prompt_id))
        assert [data["node_id"] for data in page.of("execution_interrupted")] == [node]


def test_the_same_graph_is_not_run_twice(host):
    graph = tracks_to_video(sampler__seed=11)
    host.run(graph)
    entry = host.run(graph)
    cached = next(data["nodes"] for name, data in entry["status"]["messages"] if name == "execution_cached")
    assert {"model", "encode", "sampler"} <= set(cached)


def test_the_core_clip_vision_encode_sees_what_our_encoder_gives(host):
    direct = pixels(host, host.run(tracks_to_video()))
    graph = tracks_to_video(encode__clip_vision_output=["seen", 0])
    graph["seen"] = {
        "class_type": "CLIPVisionEncode",
        "inputs": {"clip_vision": ["eye", 0], "image": ["picture", 0], "crop": "none"},
    }
    del graph["encode"]["inputs"]["image_encoder"]
    assert pixels(host, host.run(graph)) == direct


def test_a_model_runs_without_tracks_and_without_an_image_encoder(host):
    graph = without(tracks_to_video(encode__method="none"), "tracks", "eye")
    del graph["encode"]["inputs"]["tracks"], graph["encode"]["inputs"]["image_encoder"]
    assert len(pixels(host, host.run(graph))) == 5


BAD = {
    "NaN in a track": ({"tracks__coordinates": '[{"x": NaN, "y": 1}]'}, "tracks", "coordinates"),
    "empty track string": ({"tracks__coordinates": ""}, "tracks", "coordinates"),
    "malformed track string": ({"tracks__coordinates": '[{"x": 1, "y"'}, "tracks", "coordinates"),
    "no tracks": ({"tracks__coordinates": "[]"}, "tracks", "coordinates"),
    "half a canvas": ({"tracks__canvas_height": 0}, "tracks", "canvas"),
    "a width between": ({"encode__width": 36}, "encode", "32"),
    "frames between": ({"encode__frames": 6}, "encode", "5"),
    "a VAE that is a text encoder": ({"vae__vae_name": "not_a_vae.safetensors"}, "vae", "vae_name"),
    "a truncated checkpoint": ({"model__model_name": "cut.safetensors"}, "model", "model_name"),
    "latents below 1 of nothing": ({"sampler__denoise": 0.5}, "sampler", "latent"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "node", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_a_sentence_at_its_node_and_the_host_stays_usable(host, changes, node, named):
    before = sorted(path for path in (host.base / "output").rglob("*"))
    error = failure(host.run(tracks_to_video(**changes)))
    assert error["node_id"] == node
    message = error["exception_message"]
    assert named in message and 20 < len(message.strip()) < 600 and "Traceback" not in message, message
    assert sorted(path for path in (host.base / "output").rglob("*")) == before
    assert len(pixels(host, host.run(tracks_to_video()))) == 5


def test_a_missing_file_is_refused_before_anything_runs(host):
    with pytest.raises(Refused) as refused:
        host.queue(tracks_to_video(model__model_name="gone.safetensors"))
    details = " ".join(error["details"] for error in refused.value.answer["node_errors"]["model"]["errors"])
    assert "gone.safetensors" in details and "diffusion_models" in details


def test_whole_runs_log_no_warning_of_the_pack(host):
    fresh(host)
    before = len(host.warnings())
    pixels(host, host.run(tracks_to_video(sampler__seed=12)))
    assert host.warnings()[before:] == []
