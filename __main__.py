"""`python -m comfyui_trajectory …`; also `python path/to/ComfyUI-Trajectory …`, which needs no installation."""

import sys

if not __package__:
    import importlib.util
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "comfyui_trajectory", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])

from comfyui_trajectory.commands.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
