// What controls of every page share: sliders that stand for numbers, choices, light and dark, the link.

import { themeName } from "./colours.js";

const GRAIN = 1000;

/** The ends of a slider. A range with a grain slides evenly, and so does one that counts a few; others by their logarithm. */
export const bounds = ({ low, high, whole, grain }) =>
  isEven({ high, whole, grain }) ? { min: low, max: high, step: grain ?? 1 } : { min: 0, max: GRAIN, step: 1 };

const isEven = ({ high, whole, grain }) => grain !== undefined || (whole && high <= 100);

/** The value a slider stands for. */
export function slid(slider, range) {
  if (isEven(range)) return Number(slider.value);
  const value = range.low * (range.high / range.low) ** (slider.value / GRAIN);
  return range.whole ? Math.round(value) : Number(value.toPrecision(2));
}

/** Put a slider where it stands for a value, and say it. */
export function place(slider, value, range, text) {
  const at = Math.round((GRAIN * Math.log(value / range.low)) / Math.log(range.high / range.low));
  if (slid(slider, range) !== value) slider.value = isEven(range) ? value : at;
  slider.previousElementSibling.textContent = text;
  slider.setAttribute("aria-valuetext", text);
}

/** A button for each [name, title]. */
export function buttons(key, entries) {
  return entries.map(([name, title]) => {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: title });
    made.dataset[key] = name;
    return made;
  });
}

/** A list of what words mean. */
export function explain(list, meanings) {
  list.append(...Object.entries(meanings).map(([word, meaning]) => {
    const [item, name] = [document.createElement("li"), document.createElement("b")];
    name.textContent = word;
    item.append(name, `: ${meaning}.`);
    return item;
  }));
}

export function turnLight() {
  document.documentElement.dataset.theme = themeName() === "dark" ? "light" : "dark";
}

/** Copy this page's address, and say so on the button. */
export async function copyLink(button) {
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it from the address bar";
  }
  setTimeout(() => (button.textContent = "Copy link"), 2000);
}

/** How many there are of something. */
export const counted = (n, noun) => `${n} ${n === 1 ? noun : `${noun}s`}`;

/** Put text where it is another: what is read aloud is not read again. */
export const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
