"use strict";
/* What every page of kdlab uses: building the DOM, writing numbers, the theme.

   Text from records is untrusted: it reaches a page as text nodes, never as HTML. One global, `kd`. */

const kd = {};

/** An element: attributes (`class`, `data-x`, `onclick`, booleans), then children (nodes, text, lists, nothing). */
kd.element = (tag, attributes, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "colour") made.style.setProperty("--colour", value);
    else if (value === true) made.setAttribute(name, "");
    else made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
};

/** An SVG element, made like an element. */
kd.svg = (tag, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  made.append(...children.flat());
  return made;
};

kd.byId = (id) => document.getElementById(id);

/** Text made safe for the few places of the plotting library that take HTML. */
kd.escape = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// Numbers are written as the tables of the report write them: a true minus, an en dash for nothing.
kd.NOTHING = "–";
kd.minus = (text) => text.replace("-", "−").replace("e−", "e-");

/** At most so many significant digits, without an exponent where that can be read. */
kd.number = (value, digits = 4) => {
  if (value === null || value === undefined || Number.isNaN(value)) return kd.NOTHING;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return kd.minus(value.toLocaleString("en-US"));
  const size = Math.abs(value);
  if (size >= 1e5) return kd.minus(Math.round(value).toLocaleString("en-US"));
  const tiny = size !== 0 && size < 1e-4;
  return kd.minus(tiny ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits))));
};

/** Exactly so many decimals: columns of fractions line up. */
kd.fixed = (value, decimals = 4) =>
  value === null || value === undefined ? kd.NOTHING : kd.minus(value.toFixed(decimals));

/** With its sign. */
kd.signed = (value, decimals = 4) =>
  value === null || value === undefined ? kd.NOTHING : (value > 0 ? "+" : "") + kd.fixed(value, decimals);

/** `1 run`, `2 runs`. */
kd.count = (number, one, many = `${one}s`) => `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;

/** Seconds as `45 s`, `12 min`, `3 h 20 min`. */
kd.duration = (seconds) => {
  if (seconds === null || seconds === undefined) return kd.NOTHING;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
};

/** A command in its box, with a button that copies it. */
kd.command = (text) => {
  const button = kd.element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await kd.copy(text)) ? "Copied" : "Select and copy by hand";
    setTimeout(() => (button.textContent = "Copy"), 1600);
  });
  return kd.element("div", { class: "command" }, kd.element("code", {}, text), button);
};

/** Copy a text; false where the browser forbids it (a page from disk may not use the clipboard everywhere). */
kd.copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // said on the button
  }
};

/** A verdict word with its sign: `better`, `worse`, `no difference`, `inconclusive (decides at n = 37)`. */
kd.verdict = (text) => {
  if (!text) return kd.NOTHING;
  const [word, ...rest] = text.split(" (");
  return kd.element("span", { class: "verdict", "data-word": word }, word,
    rest.length > 0 && kd.element("span", { class: "verdict-note" }, ` (${rest.join(" (")}`));
};

// ---- Theme: what the system prefers, until the switch says otherwise; remembered where the browser allows it.

const themeListeners = [];
const systemDark = matchMedia("(prefers-color-scheme: dark)");

kd.isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";

/** Call a function after every change of the theme. */
kd.onTheme = (listener) => themeListeners.push(listener);

kd.setTheme = (name) => {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  themeListeners.forEach((listener) => listener());
};

const remembered = {
  read: () => {
    try {
      return localStorage.getItem("kdlab-theme");
    } catch {
      return null; // storage is forbidden: the theme of the system holds
    }
  },
  write: (name) => {
    try {
      localStorage.setItem("kdlab-theme", name);
    } catch {
      return; // storage is forbidden: the choice holds until the page closes
    }
  },
};

if (["light", "dark"].includes(remembered.read())) document.documentElement.dataset.theme = remembered.read();
systemDark.addEventListener("change", () => themeListeners.forEach((listener) => listener()));

/** The button that switches between light and dark. */
kd.themeButton = () => {
  const button = kd.element("button", { type: "button", class: "icon plain", "data-role": "theme" });
  const label = () => {
    button.textContent = kd.isDark() ? "☀" : "☾";
    button.setAttribute("aria-label", kd.isDark() ? "Light colours" : "Dark colours");
    button.title = button.getAttribute("aria-label");
  };
  button.addEventListener("click", () => {
    const name = kd.isDark() ? "light" : "dark";
    remembered.write(name);
    kd.setTheme(name);
  });
  kd.onTheme(label);
  label();
  return button;
};

const probe = { element: null, theme: null, known: new Map() };

/** The colour a design token has in the present theme: `kd.colour("student")`. */
kd.colour = (token) => {
  if (probe.theme !== kd.isDark()) {
    probe.theme = kd.isDark();
    probe.known.clear();
  }
  if (!probe.known.has(token)) {
    probe.element ??= document.body.appendChild(kd.element("i", { hidden: true }));
    probe.element.style.color = `var(--${token})`;
    probe.known.set(token, getComputedStyle(probe.element).color);
  }
  return probe.known.get(token);
};

/** The same colour, more or less transparent. */
kd.faded = (colour, opacity) => colour.replace(/rgba?\(([^)]*)\)/, (_, parts) => {
  const [red, green, blue] = parts.split(/[ ,]+/);
  return `rgba(${red},${green},${blue},${opacity})`;
});

/** Text from base64 of gzip, without a library. */
kd.unpack = async (text) => {
  const bytes = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};
