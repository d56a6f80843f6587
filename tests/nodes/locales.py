"""The English texts of all nodes, as ComfyUI's frontend reads them from locales/en/nodeDefs.json.

    python tests/nodes/locales.py     writes that file anew from the node definitions
"""

from __future__ import annotations

import json
from pathlib import Path

from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

LOCALES = Path(__file__).resolve().parents[2] / "locales"


def english() -> dict:
    """{node id: {"display_name", "description", "inputs": {name: {"name", "tooltip"}}, "outputs": {index: …}}}"""
    return {name: texts(name, cls) for name, cls in NODE_CLASS_MAPPINGS.items()}


def texts(name: str, cls: type) -> dict:
    kinds = cls.INPUT_TYPES()
    inputs = {**kinds.get("required", {}), **kinds.get("optional", {})}
    outputs = zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS, strict=True)
    found = {
        "display_name": NODE_DISPLAY_NAME_MAPPINGS[name],
        "description": cls.DESCRIPTION,
        "inputs": {key: {"name": key, "tooltip": spec[1]["tooltip"]} for key, spec in inputs.items()},
        "outputs": {str(index): {"name": key, "tooltip": tip} for index, (key, tip) in enumerate(outputs)},
    }
    return {key: value for key, value in found.items() if value}


def written(data: dict) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def flat(data: dict, place: str = "") -> dict[str, str]:
    """{"TrajectoryMerge.inputs.tracks_1.tooltip": text}"""
    found = {}
    for key, value in data.items():
        where = f"{place}.{key}" if place else key
        found.update(flat(value, where) if isinstance(value, dict) else {where: value})
    return found


if __name__ == "__main__":
    (LOCALES / "en" / "nodeDefs.json").write_text(written(english()), "utf-8")
