/* Filters: which items are shown. Words and comparisons, facets, ranges of the axes, an area of the plane. */

const FACETS = [
  { key: "data", label: "Data" },
  { key: "role", label: "Role" },
  { key: "arm", label: "Arm" },
  { key: "quality", label: "Teacher quality" },
  { key: "phase", label: "Phase" },
  { key: "status", label: "Status" },
];

const isRole = (word) => ["student", "scratch", "teacher"].includes(word);

/** An item may stand in several arms. */
const facetValues = (item, key) => (key === "arm" ? item.arms : [item[key]].filter(Boolean));

/** Value -> number of items, of every facet that tells items apart. */
const facetCounts = () => FACETS.map((facet) => {
  const counts = new Map();
  const values = items().flatMap((item) => facetValues(item, facet.key));
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return { ...facet, counts };
}).filter(({ key, counts }) => counts.size > 1 && !(key === "arm" && [...counts.keys()].every(isRole)));

const COMPARISON = /^([^<>=!]+)(>=|<=|!=|=|>|<)(.+)$/;
const COMPARE = {
  ">": (one, other) => one > other, "<": (one, other) => one < other,
  ">=": (one, other) => one >= other, "<=": (one, other) => one <= other,
};

/** The value a word of the filter asks for: a knob by either name, a metric, a facet, a seed. */
const askedValue = (item, name) => {
  const knob = study.knobs.find((one) => one.name === name || one.key === name);
  if (knob) return knobValue(item, knob.key);
  if (name in study.keys) return item.value(name);
  const key = Object.keys(study.keys).find((one) => labelOf(one).toLowerCase() === name.toLowerCase());
  if (key) return item.value(key);
  return name === "run" ? item.id : item[name];
};

const matchesWord = (item, word) => {
  const [, name, sign, asked] = word.match(COMPARISON) ?? [];
  if (name === undefined) return searchText(item).includes(word.toLowerCase());
  const value = askedValue(item, name);
  if (value === undefined) return searchText(item).includes(word.toLowerCase());
  if (sign === "=" || sign === "!=") {
    const equal = isNumber(asked) && isNumber(value) ? Number(value) === Number(asked) : String(value ?? "") === asked;
    return equal === (sign === "=");
  }
  return value !== null && isNumber(asked) && COMPARE[sign](Number(value), Number(asked));
};

/** All that can be found of an item by a word. */
const searchText = (item) => {
  item.text ??= [item.id, item.label, item.role, item.arm, item.quality, item.status, item.data, item.phase,
    item.error?.type, item.error?.message, ...Object.entries(item.knobs ?? {}).map((pair) => pair.join("=")),
    ...(item.members ?? []).flatMap((member) => member.overrides)].filter(Boolean).join(" ").toLowerCase();
  return item.text;
};

const matchesQuery = (item) => state.query.split(/\s+/).filter(Boolean).every((word) => matchesWord(item, word));

const matchesFacets = (item) => Object.entries(state.facets).every(([key, values]) =>
  !values.length || facetValues(item, key).some((value) => values.includes(value)));

const matchesBrushes = (item) => Object.entries(state.brushes).every(([key, ranges]) => {
  const axis = axisOf(key);
  if (!axis || !ranges.length) return true;
  const value = axis.position(item);
  return value !== null && ranges.some(([low, high]) => low <= value && value <= high);
});

const matchesArea = (item) => {
  if (!state.area) return true;
  const [x, y] = [item.value(LATENCY), item.value(mainAccuracy())];
  const within = (value, [low, high]) => value !== null && low <= value && value <= high;
  return within(x, state.area.x) && within(y, state.area.y);
};

/** Items that pass every filter but those named. */
const passing = (...but) => items().filter((item) =>
  matchesQuery(item) && matchesFacets(item) &&
  (but.includes("brushes") || matchesBrushes(item)) && (but.includes("area") || matchesArea(item)));

let shownCache = null;
onChange(() => (shownCache = null));

/** The items that are shown, once per change. */
const shownItems = () => (shownCache ??= passing());

const isFiltered = () => {
  const chosen = [...Object.values(state.facets), ...Object.values(state.brushes)];
  return Boolean(state.query || state.area || chosen.some((values) => values.length));
};

const clearFilters = () => change({ query: "", facets: {}, brushes: {}, area: null });

const withoutRange = (axis) => Object.fromEntries(Object.entries(state.brushes).filter(([key]) => key !== axis));

/** What is narrowed down by drawing, in words, each with what takes it away. */
const drawnFilters = () => {
  const ranges = Object.entries(state.brushes).filter(([key, drawn]) => axisOf(key) && drawn.length);
  const found = ranges.map(([key, drawn]) => ({
    text: `${axisOf(key).label}: ${drawn.map(axisOf(key).say).join(" or ")}`,
    remove: () => change({ brushes: withoutRange(key) }),
  }));
  if (state.area) {
    const span = ([low, high]) => `${kd.number(low, 3)} to ${kd.number(high, 3)}`;
    const text = `${labelOf(LATENCY)} ${span(state.area.x)}, ${labelOf(mainAccuracy())} ${span(state.area.y)}`;
    found.push({ text, remove: () => change({ area: null }) });
  }
  return found;
};
