// Colours of the page, by theme; those of the two samplers are Okabe & Ito's, which colour-blind people tell apart.

const THEMES = {
  light: {
    ink: "#1f2933", faint: "#5d6975", rule: "#d5dbe1", yes: "#1b7f4c", no: "#b3261e", mark: "#ffffff",
    left: "#c94f00", right: "#0069a6",
    energy: ["#fffdf8", "#eef0ec", "#cfd8dc", "#a9b7c0", "#8497a3"],
    mass: ["#fffdf8", "#dfe5e8", "#9fb0bb", "#566877", "#243340"],
  },
  dark: {
    ink: "#e8edf2", faint: "#9aa7b4", rule: "#2c3641", yes: "#5fd39a", no: "#ff8a80", mark: "#0d1218",
    left: "#ff9d52", right: "#56b8f5",
    energy: ["#7b90a5", "#566a7d", "#344351", "#1d2731", "#0e141a"],
    mass: ["#10161d", "#243240", "#44596b", "#8399a9", "#dbe5ec"],
  },
};

/** "light" or "dark": what the reader chose here, or has everywhere. */
export function themeName() {
  const chosen = document.documentElement.dataset.theme;
  return chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export const palette = () => THEMES[themeName()];

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** A ramp of colours: t in [0, 1] -> [r, g, b]. */
export function ramp(stops) {
  const colours = stops.map(rgb);
  return (t) => {
    const at = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
    const k = Math.min(Math.floor(at), colours.length - 2);
    return [0, 1, 2].map((i) => colours[k][i] + (at - k) * (colours[k + 1][i] - colours[k][i]));
  };
}
