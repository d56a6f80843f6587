// The hand moves the view; so do Space and the middle button with every tool (stage.js).

/** @type {import("../stage.js").Tool} */
export const hand = {
  id: "hand",
  label: "Move the view",
  key: "h",
  help: "Drag to move the view; Space-drag or the middle button does so with every tool",
  start: ({ pan }) => pan(),
  hover: () => ({ cursor: "grab" }),
};
