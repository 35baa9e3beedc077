/* The controls that narrow the table down or widen it: the filter, the facets, the columns. */

const searchBox = () => kd.element("input", {
  type: "search",
  id: "search",
  class: "search",
  spellcheck: "false",
  "aria-label": "Filter the table by words or comparisons",
  placeholder: "Filter: words, width>=32, test/accuracy>0.6",
  title: "All words must be found; a comparison is KEY=value, !=, >, >=, <, <= of any knob or metric",
  oninput: (event) => change({ query: event.target.value }),
});

/** Above so many values a facet is a list to choose from. */
const MOST_FACET_CHIPS = 8;

const setFacet = (facet, values) => change({ facets: { ...state.facets, [facet.key]: values } });

const facetChip = (facet, value, count) => {
  const chosen = state.facets[facet.key] ?? [];
  const on = chosen.includes(value);
  return kd.element("button", {
    type: "button",
    class: "chip",
    "aria-pressed": String(on),
    "data-facet": `${facet.key}=${value}`,
    onclick: () => setFacet(facet, on ? chosen.filter((one) => one !== value) : [...chosen, value]),
  }, value, " ", kd.element("span", { class: "count" }, String(count)));
};

const facetList = (facet, values) => {
  const chosen = state.facets[facet.key] ?? [];
  const free = values.filter(([value]) => !chosen.includes(value));
  return kd.element("select", {
    "aria-label": `Filter by ${facet.label}`,
    onchange: (event) => setFacet(facet, [...chosen, event.target.value]),
  },
  kd.element("option", { value: "" }, `any of ${values.length}`),
  free.map(([value, count]) => kd.element("option", { value }, `${value} (${count})`)));
};

const facetRow = (facet) => {
  const chosen = state.facets[facet.key] ?? [];
  const values = [...facet.counts].sort(([one], [other]) => kd.compare(one, other));
  const few = values.length <= MOST_FACET_CHIPS;
  const chips = values.filter(([value]) => few || chosen.includes(value));
  return kd.element("div", { class: "facet", role: "group", "aria-label": facet.label },
    kd.element("span", { class: "facet-name" }, facet.label),
    chips.map(([value, count]) => facetChip(facet, value, count)),
    !few && facetList(facet, values));
};

/** A range or an area that was drawn, as a chip that takes it away. */
const drawnChip = ({ text, remove }) => kd.element("button", {
  type: "button",
  class: "chip",
  "aria-pressed": "true",
  title: "Take this filter away",
  onclick: remove,
}, text, " ×");

const drawFacets = () => {
  const focused = document.activeElement?.dataset.facet;
  const clear = kd.element("button", { type: "button", class: "link", onclick: clearFilters }, "Clear all filters");
  kd.byId("facets").replaceChildren(
    ...facetCounts().map(facetRow),
    kd.element("div", { class: "facet" }, drawnFilters().map(drawnChip), isFiltered() && clear));
  if (focused) document.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
};

/** Any metric as a further column; chosen again it goes. */
const columnPicker = () => {
  const given = new Set(defaultMetrics());
  const keys = Object.keys(study.keys).filter((key) => !given.has(key) && isMeasured(key));
  const toggle = (key) => {
    const others = state.extra.filter((one) => one !== key);
    return others.length < state.extra.length ? others : [...others, key];
  };
  const list = kd.element("select", {
    id: "columns",
    "aria-label": "Add a column",
    onchange: (event) => change({ extra: toggle(event.target.value) }),
  });
  const options = () => list.replaceChildren(
    kd.element("option", { value: "" }, "Columns …"),
    ...keys.map((key) => kd.element("option", { value: key }, `${state.extra.includes(key) ? "✓ " : ""}${key}`)));
  onChange((changes) => "extra" in changes && options());
  options();
  return list;
};
