"""What saved workflows and the browser depend on: ids, sockets, widgets, explanations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import comfyui_trajectory as pack
import pytest
from comfyui_trajectory.commands.graph import inputs_of, widgets

NODES = pack.NODE_CLASS_MAPPINGS
ROOT = Path(pack.__file__).parent

# Workflows store widget values by position: names may be added at the end of a list, and nothing else may change.
WIDGETS = {
    "TrajectoryModelLoader": ["model_name", "weight_dtype", "motion_name"],
    "TrajectoryLora": ["lora_name", "strength"],
    "TrajectoryMemoryOptions": ["storage", "blocks_on_device", "prefetch"],
    "TrajectorySpeedOptions": [
        "attention", "compile", "guidance", "step_cache", "step_cache_threshold", "fp8_products",
    ],
    "TrajectoryVAELoader": ["vae_name", "weight_dtype"],
    "TrajectoryTextEncoderLoader": ["text_encoder_name", "weight_dtype"],
    "TrajectoryImageEncoderLoader": ["image_encoder_name", "weight_dtype"],
    "TrajectoryExampleImage": ["name"],
    "TrajectorySplineEditor": ["width", "height", "frames", "fps", "editor_state"],
    "TrajectoryFromVideo": ["columns", "rows", "points", "start_frame", "tolerance"],
    "TrajectoryFlowFromVideo": [],
    "TrajectoryFromMask": ["points"],
    "TrajectoryFromCoordinates": ["coordinates", "canvas_width", "canvas_height"],
    "TrajectoryLoadTracks": ["file", "canvas_width", "canvas_height"],
    "TrajectorySaveTracks": ["filename_prefix", "format"],
    "TrajectoryMerge": [],
    "TrajectoryTransform": ["move_x", "move_y", "scale", "rotate", "delay", "frames", "width", "height"],
    "TrajectoryCameraMotion": [
        "pan_x", "pan_y", "zoom", "rotate", "unit", "width", "height", "frames", "columns", "rows",
    ],
    "TrajectoryPreview": [],
    "TrajectoryTextEncode": ["positive", "negative"],
    "TrajectoryTextFromConditioning": [],
    "TrajectoryEncode": [
        "width", "height", "frames", "fit", "strength", "start_percent", "end_percent", "method", "expand_points",
        "expand_radius", "temperature", "topk", "image_noise_seed",
    ],
    "TrajectoryCameraPoses": [
        "move_1", "move_2", "move_3", "move_4", "arrange", "speed", "ease", "frames", "distance", "width", "height",
        "columns", "rows", "file",
    ],
    "TrajectorySaveCameraPoses": ["filename_prefix", "fps"],
    "TrajectorySampler": ["steps", "cfg", "shift", "scheduler", "seed", "denoise", "cfg_rescale", "step_cache"],
    "TrajectoryDecode": ["tile"],
    "TrajectoryScore": [],
}  # fmt: skip
OWN_SOCKETS = {
    "TRAJECTORY_MODEL", "TRAJECTORY_VAE", "TRAJECTORY_TEXT_ENCODER", "TRAJECTORY_TEXT", "TRAJECTORY_MOTION",
    "TRAJECTORY_CAMERA", "TRAJECTORY_OPTIONS",
}  # fmt: skip
COMFY_SOCKETS = {
    "IMAGE", "MASK", "LATENT", "STRING", "FLOAT", "TRACKS", "CONDITIONING", "CLIP_VISION", "CLIP_VISION_OUTPUT",
}  # fmt: skip


def test_widgets_keep_the_places_that_saved_workflows_rely_on():
    for name, expected in WIDGETS.items():
        found = [widget for widget, _ in widgets(NODES[name])]
        assert found[: len(expected)] == expected, name


def test_every_node_of_this_table_is_registered_with_a_name():
    assert set(WIDGETS) <= set(NODES)
    assert set(NODES) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
    assert pack.NODE_DISPLAY_NAME_MAPPINGS["TrajectoryVAELoader"] == "Trajectory VAE Loader"


@pytest.mark.parametrize("name", NODES)
def test_every_node_and_input_explains_itself(name):
    cls = NODES[name]
    assert name.startswith("Trajectory") and cls.CATEGORY.startswith("Trajectory/")
    assert len(cls.DESCRIPTION) > 30
    assert len(cls.RETURN_NAMES) == len(cls.RETURN_TYPES) == len(cls.OUTPUT_TOOLTIPS)
    for input_name, (_, options) in inputs_of(cls).items():
        assert options.get("tooltip"), f"{name}.{input_name}"


@pytest.mark.parametrize("name", NODES)
def test_every_node_is_found_under_other_words_too(name):
    words = NODES[name].SEARCH_ALIASES
    assert len(words) == len(set(words)) >= 2 and all(word == word.lower().strip() for word in words)
    assert not set(words) & {name.lower(), pack.NODE_DISPLAY_NAME_MAPPINGS[name].lower()}


@pytest.mark.parametrize("name", NODES)
def test_every_help_page_names_every_input_and_output(name):
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {pack.NODE_DISPLAY_NAME_MAPPINGS[name]}\n")
    for part in (*inputs_of(NODES[name]), *NODES[name].RETURN_NAMES):
        assert f"`{part}`" in page, part


@pytest.mark.parametrize("name", NODES)
def test_sockets_are_comfyuis_own_types_or_the_packs(name):
    cls = NODES[name]
    kinds = {kind for kind, _ in inputs_of(cls).values() if not isinstance(kind, list)} | set(cls.RETURN_TYPES)
    assert kinds <= OWN_SOCKETS | COMFY_SOCKETS | {"INT", "BOOLEAN"}


@pytest.mark.parametrize("name", NODES)
def test_what_the_browser_leaves_out_has_a_default_in_python(name):
    """New inputs go last and are absent from older workflows, so every widget has a default in the method too."""
    import inspect

    cls = NODES[name]
    parameters = inspect.signature(getattr(cls, cls.FUNCTION)).parameters
    assert set(inputs_of(cls)) == set(parameters) - {"self"}
    for optional in cls.INPUT_TYPES().get("optional", {}):
        assert parameters[optional].default is not inspect.Parameter.empty


def test_the_pack_imports_without_comfyui_and_without_its_optional_packages():
    code = (
        "import sys\n"
        "for name in ('cv2', 'scipy', 'transformers', 'av', 'yaml', 'ftfy', 'tqdm', 'comfy', 'folder_paths'):\n"
        "    sys.modules[name] = None\n"
        "import comfyui_trajectory as pack\n"
        "[cls.INPUT_TYPES() for cls in pack.NODE_CLASS_MAPPINGS.values()]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nodes_keep_nothing_between_runs():
    for cls in NODES.values():
        source = Path(sys.modules[cls.__module__].__file__).read_text("utf-8")
        assert not re.search(r"def __init__\(self\)", source), cls.__module__
        assert not vars(cls())
