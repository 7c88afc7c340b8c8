import js from "@eslint/js";

const browser = ["Event", "HTMLElement", "ImageData", "Option", "ResizeObserver", "URLSearchParams", "addEventListener", "atob",
  "devicePixelRatio", "document", "history", "location", "matchMedia", "navigator", "performance", "requestAnimationFrame", "setTimeout",
  "cancelAnimationFrame", "window"];

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: Object.fromEntries(browser.map((name) => [name, "readonly"])) },
    rules: {
      "array-callback-return": "error", "eqeqeq": "error", "no-implicit-globals": "error", "no-self-compare": "error",
      "no-shadow": "error", "no-use-before-define": ["error", { functions: false, variables: false }], "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }], "max-lines": ["error", 400], "max-len": ["error", 160],
    },
  },
];
