// The tools in the order of the tool bar.

import { freehand } from "./freehand.js";
import { hand } from "./hand.js";
import { select } from "./select.js";
import { circle, grid, point } from "./shapes.js";
import { spline } from "./spline.js";

export const TOOLS = [select, spline, freehand, point, circle, grid, hand];
export const toolById = (id) => TOOLS.find((tool) => tool.id === id) ?? select;
