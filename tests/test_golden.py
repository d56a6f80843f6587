"""Runs every golden case below --golden-root: the operation of that name must give what the official code gave."""

from __future__ import annotations

from pathlib import Path

from golden_cases import (
    GoldenCase,
    easyanimate,
    easyanimate_inputs,
    easyanimate_runs,
    tora,
    tora_parts,
    trajectory,
    wan,
    wan_parts,
)

# Case name -> the function of that name, which runs it; the family's part of the pack stands behind it. Tora's cases
# say whose they are, and share names with others.
OPERATIONS, TORA = (
    {name: getattr(module, name) for module, names in modules.items() for name in names}
    for modules in (
        {
            trajectory: ("tracks_official", "tracks_file", "tracks_comfy"),
            wan: ("wan_dit_i2v", "wan_dit_t2v", "wan_vae", "motion_patch", "comfy_track_to_video", "e2e_ati",
            "e2e_ati_short"),
            wan_parts: ("umt5", "text_clean", "clip_vision", "schedulers", "size_math", "fp8_plain", "fp8_scaled"),
            easyanimate: (
                "ea_dit_t2v", "ea_dit_inp", "ea_dit_control", "ea_dit_control_camera", "ea_vae", "rope", "scheduler",
            ),
            easyanimate_inputs: ("text", "size_bucket", "inp_inputs", "trajectory_control", "camera_control"),
            easyanimate_runs: (
                "teacache", "e2e_t2v", "e2e_inp", "e2e_v2v", "e2e_control_trajectory", "e2e_control_camera",
            ),
        },
        {
            tora: (
                "rope", "tora_dit_t2v", "tora_dit_i2v", "tora_sat_dit_t2v", "tora_sat_dit_i2v", "traj_extractor", "mgf",
                "kijai_tora_files", "cogvideox_vae", "cogvideox_vae_tiled", "i2v_prepare_latents", "e2e_t2v",
                "e2e_t2v_ddim",
                "e2e_i2v",
            ),
            tora_parts: ("scheduler_dpm", "scheduler_ddim", "dynamic_cfg", "text_t5", "traj_points", "traj_flow"),
        },
    )
)  # fmt: skip


def test_golden(golden_folder: Path, pytestconfig, exact) -> None:
    case = GoldenCase(golden_folder, pytestconfig.getoption("--device") or "cpu")
    operations = TORA if case.data.get("system") == "tora" else OPERATIONS
    assert case.name in operations, f"{golden_folder}: no operation is known for the case '{case.name}'"
    operations[case.name](case)
