// The editor's document in one place: its schema, edits, history and formats. All pure; nothing here touches a page.

export * from "./edits.js";
export * from "./formats.js";
export * from "./freehand.js";
export * from "./history.js";
export * from "./schema.js";
