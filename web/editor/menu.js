// A menu at a place of the window: for the context menu and for choices. It knows no editor.

import { h } from "./dom.js";

let open = null;

/**
 * @param {{clientX: number, clientY: number}} at @param {({label: string, run: Function, keys?: string, checked?: boolean,
 *   disabled?: boolean}|null)[]} items null: a line between @param {{parent: HTMLElement, closed?: Function}} options
 *   parent: what its theme is inherited from
 */
export function showMenu({ clientX, clientY }, items, { parent, closed }) {
  closeMenu();
  const menu = h("div.tse-menu", { role: "menu" });
  const buttons = [];
  for (const item of items) {
    if (!item) {
      menu.append(h("hr"));
      continue;
    }
    const { label, run, keys, checked, disabled } = item;
    const entry = h("button", { type: "button", role: "menuitem", disabled: Boolean(disabled), tabIndex: -1 },
      h("i", {}, checked ? "✓" : ""), h("span", {}, label), h("kbd", {}, keys ?? ""));
    entry.addEventListener("click", () => {
      closeMenu();
      run();
    });
    if (!disabled) buttons.push(entry);
    menu.append(entry);
  }
  for (const name of ["contextmenu", "mousedown"]) menu.addEventListener(name, (event) => event.preventDefault());
  parent.append(menu);
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(Math.min(clientX, innerWidth - width - 4), 4)}px`;
  menu.style.top = `${Math.max(Math.min(clientY, innerHeight - height - 4), 4)}px`;
  const outside = (event) => !menu.contains(event.target) && closeMenu();
  window.addEventListener("pointerdown", outside, true);
  window.addEventListener("blur", closeMenu);
  open = { menu, buttons, at: -1, stop: () => {
    window.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("blur", closeMenu);
    menu.remove();
    closed?.();
  } };
}

export function closeMenu() {
  const { stop } = open ?? {};
  open = null;
  stop?.();
}

/** Keys while a menu is open. @returns whether the key was the menu's */
export function menuKey(event) {
  if (!open) return false;
  const { buttons } = open;
  const go = (step) => {
    open.at = (open.at + step + buttons.length) % buttons.length;
    buttons.forEach((entry, i) => entry.classList.toggle("tse-on", i === open.at));
    buttons[open.at].scrollIntoView({ block: "nearest" });
  };
  if (event.key === "ArrowDown") go(1);
  else if (event.key === "ArrowUp") go(open.at < 0 ? 0 : -1);
  else if (event.key === "Enter" || event.key === " ") buttons[open.at]?.click();
  else if (event.key === "Escape") closeMenu();
  else return false;
  return true;
}
