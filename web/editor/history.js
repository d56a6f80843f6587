// Undo and redo over immutable documents; a drag is one step. Knows nothing of what a document holds.

/** The documents before and after the current one. */
export class History {
  /** @param document the first one @param {{limit?: number}} [options] how many steps are kept */
  constructor(document, { limit = 200 } = {}) {
    this.limit = limit;
    this.reset(document);
  }

  /** Forgets everything and starts with `document`. */
  reset(document) {
    this.current = document;
    this.past = []; // {document, label}: what was before a step, and the step's name
    this.future = []; // {document, label}: what was after a step that was undone
    this.group = null;
  }

  /**
   * A new current document. Pushes with the same `group` (a string of the caller's, such as "drag 17") that follow each
   * other make one step; call endGroup() when the drag ends. The same document again is no step.
   * @param {{label?: string, group?: string|null}} [step] label: what undo would take back, for a tooltip
   */
  push(document, { label = "", group = null } = {}) {
    if (document === this.current) return this.current;
    if (group === null || group !== this.group) {
      this.past.push({ document: this.current, label });
      if (this.past.length > this.limit) this.past.shift();
    }
    this.group = group;
    this.future = [];
    this.current = document;
    return document;
  }

  /** The next push is a step of its own. */
  endGroup() {
    this.group = null;
  }

  /** Takes the running group back as if it had not happened (Esc during a drag). @returns the current document */
  cancelGroup() {
    if (this.group !== null) this.current = this.past.pop().document;
    this.group = null;
    return this.current;
  }

  /** Another document without a step: for what undo should not touch, such as the picture's size known late. */
  replace(document) {
    this.current = document;
    return document;
  }

  get canUndo() {
    return this.past.length > 0;
  }

  get canRedo() {
    return this.future.length > 0;
  }

  get undoLabel() {
    return this.past.at(-1)?.label ?? "";
  }

  get redoLabel() {
    return this.future.at(-1)?.label ?? "";
  }

  /** @returns the document after the step back (the same one where there is none) */
  undo() {
    return this.#step(this.past, this.future);
  }

  redo() {
    return this.#step(this.future, this.past);
  }

  #step(from, to) {
    const found = from.pop();
    if (found) {
      to.push({ document: this.current, label: found.label });
      this.current = found.document;
    }
    this.group = null;
    return this.current;
  }
}
