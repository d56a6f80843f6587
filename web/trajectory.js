// Registers the extension with ComfyUI: finds the spline editor's node and mounts its widget, nothing else.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { mountEditor } from "./editor/comfy.js";

const NODE = "TrajectorySplineEditor";
const WIDGET = "TRAJECTORY_SPLINE_EDITOR";

app.registerExtension({
  name: "Trajectory.SplineEditor",

  /** The drawing is a STRING; in the browser it gets the editor in place of a text area. */
  addCustomNodeDefs(defs) {
    const input = defs[NODE]?.input?.required?.editor_state;
    if (input) input[1] = { ...input[1], widgetType: WIDGET, socketless: true, multiline: false, tooltip: undefined };
  },

  getCustomWidgets() {
    return { [WIDGET]: (node, name) => ({ widget: mountEditor(node, name, { app, api, type: WIDGET }), minWidth: 420, minHeight: 520 }) };
  },
});
