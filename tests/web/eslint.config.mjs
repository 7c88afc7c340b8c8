import js from "@eslint/js";

const browser = ["Blob", "Event", "HTMLElement", "ImageData", "Option", "ResizeObserver", "URL", "URLSearchParams", "Worker",
  "addEventListener", "atob", "cancelAnimationFrame", "devicePixelRatio", "document", "history", "location", "matchMedia", "navigator",
  "performance", "postMessage", "requestAnimationFrame", "setTimeout", "window"];

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
