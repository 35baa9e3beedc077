/* State: what is shown, filtered, sorted and ticked. It stands in the address, so that a view can be sent to someone.

   `change({...})` is the only way to change it; everything that shows it subscribes with `onChange`. */

const LEVELS = ["configurations", "runs"];

const state = {
  level: "configurations",
  query: "",
  facets: {}, // facet -> list of chosen values
  sort: { configurations: null, runs: null },
  ticks: { configurations: [], runs: [] }, // in the order in which they were ticked
  extra: [], // further columns of the table
  brushes: {}, // axis of the parallel coordinates -> list of [low, high]
  area: null, // a rectangle of the accuracy-latency plane: {x: [low, high], y: [low, high]}
  curve: null,
  slice: "gap",
  teacher: null, // id of the teacher whose dark knowledge is drawn
  page: 0,
  open: null, // id of what the panel shows
};

const listeners = [];
const onChange = (listener) => listeners.push(listener);

const change = (changes) => {
  const narrowed = ["query", "facets", "brushes", "area", "level", "sort"].some((name) => name in changes);
  Object.assign(state, narrowed ? { page: 0 } : {}, changes);
  writeAddress();
  listeners.forEach((listener) => listener(changes));
};

const items = (level = state.level) => study[level];

/** The ticked items of the present level. */
const ticked = () => state.ticks[state.level].map((id) => study.byId.get(id)).filter(Boolean);

const setTicks = (ids) => change({ ticks: { ...state.ticks, [state.level]: [...new Set(ids)] } });

/** What the figures compare: what is ticked; else the best on validation, its scratch twins and its teacher. */
const compared = () => (ticked().length ? ticked() : cast());

const cast = () => {
  const students = study.configurations.filter((one) => one.role !== "teacher");
  const best = students.find((one) => one.best) ?? students[0];
  if (!best) return [];
  const run = best.runs.find((one) => one.status === "finished");
  const found = state.level === "configurations"
    ? [best, study.configurations[best.scratch], study.configurations[best.teacher]]
    : [run, study.byId.get(run?.twin), study.byId.get(run?.teacher?.id)];
  return [...new Set(found)].filter(Boolean);
};

/** Colours that say nothing of who a run is. */
const NOBODY = ["series-5", "series-6", "series-7", "series-8"];

/** Item id -> colour token. Who a run is decides while that colour is free, then the next free one; each is given once,
    so a run has the same colour in every figure. */
const slots = () => (slotsGiven ??= giveSlots());
let slotsGiven = null;
onChange(() => (slotsGiven = null));

const giveSlots = () => {
  const given = new Map();
  const taken = new Set();
  for (const item of compared()) {
    const free = [item.kind, ...NOBODY, ...kd.SERIES].find((token) => !taken.has(token));
    taken.add(free);
    given.set(item.id, free ?? "soft");
  }
  return given;
};

const colourOf = (item) => kd.colour(slots().get(item.id) ?? item.kind);

// ---- The address: key=value pairs behind the hash, only what differs from the beginning.

const writeAddress = () => {
  const words = new URLSearchParams();
  const put = (name, text) => text && words.set(name, text);
  const sortText = (sort) => (sort ? `${sort.down ? "-" : ""}${sort.key}` : "");
  put("view", state.level === "runs" ? "runs" : "");
  put("find", state.query);
  for (const [facet, values] of Object.entries(state.facets)) put(
    `only.${facet}`, values.map(encodeURIComponent).join(","));
  for (const level of LEVELS) {
    put(`sort.${level}`, sortText(state.sort[level]));
    put(`tick.${level}`, state.ticks[level].join(","));
  }
  put("columns", state.extra.join(","));
  for (const [axis, ranges] of Object.entries(state.brushes)) put(
    `range.${axis}`, ranges.map((one) => one.join("~")).join(","));
  put("area", state.area ? [...state.area.x, ...state.area.y].join("~") : "");
  put("curve", state.curve);
  put("slices", state.slice === "gap" ? "" : state.slice);
  put("teacher", state.teacher);
  put("open", state.open);
  const text = words.toString();
  if (text !== location.hash.slice(1)) history.replaceState(
    null, "", text ? `#${text}` : location.pathname + location.search);
};

const readAddress = () => {
  const words = new URLSearchParams(location.hash.slice(1));
  const list = (name) => (words.get(name) ?? "").split(",").filter(Boolean);
  const numbers = (text) => text.split("~").map(Number);
  const named = (prefix, read) => Object.fromEntries(
    [...words.keys()].filter((name) => name.startsWith(prefix)).map((name) => [name.slice(prefix.length), read(name)]));
  const sort = (text) => (text ? { key: text.replace(/^-/, ""), down: text.startsWith("-") } : null);
  const area = words.get("area") ? numbers(words.get("area")) : [];
  const known = (ids) => ids.filter((id) => study.byId.has(id));
  Object.assign(state, {
    level: words.get("view") === "runs" ? "runs" : "configurations",
    query: words.get("find") ?? "",
    facets: named("only.", (name) => list(name).map(decodeURIComponent)),
    sort: Object.fromEntries(LEVELS.map((level) => [level, sort(words.get(`sort.${level}`))])),
    ticks: Object.fromEntries(LEVELS.map((level) => [level, known(list(`tick.${level}`))])),
    extra: list("columns").filter((key) => key in study.keys),
    brushes: named("range.", (name) => list(name).map(numbers).filter((range) => range.every(Number.isFinite))),
    area: area.length === 4 && area.every(Number.isFinite) ? { x: area.slice(0, 2), y: area.slice(2) } : null,
    curve: words.get("curve"),
    slice: words.get("slices") ?? "gap",
    teacher: known([words.get("teacher")])[0] ?? null,
    open: known([words.get("open")])[0] ?? null,
  });
};
