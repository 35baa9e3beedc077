/* The explorer: tabs, filters, the table and its pages, ticks. */

const PAGE_SIZE = 50;
let frame = null, lastTick = null, wholeTable = false;

const buildExplorer = (section) => {
  frame = kd.element("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Table, scrolls sideways" });
  section.append(
    kd.element("h2", { class: "visually-hidden", id: "table", tabindex: "-1" }, "Configurations and runs"),
    kd.element("div", { class: "explorer-bar toolbar" }, tabs(), searchBox(), columnPicker(),
      kd.element("span", { id: "shown-count", role: "status", "aria-live": "polite" })),
    kd.element("div", { id: "facets", class: "facets screen-only" }),
    kd.element("div", { id: "ticks", class: "toolbar tick-bar" }),
    frame,
    kd.element("nav", { id: "pages", class: "toolbar pages", "aria-label": "Pages of the table" }),
    kd.element("div", { id: "printed", class: "print-only" }));
  frame.addEventListener("click", onTableClick);
  onChange(drawExplorer);
  drawExplorer({});
  addEventListener("beforeprint", drawPrinted);
};

/** What changes nothing in the table; drawn anew it would lose its focus. */
const ELSEWHERE = ["open", "curve", "slice"];

const drawExplorer = (changes) => {
  const names = Object.keys(changes);
  if (names.length && names.every((name) => ELSEWHERE.includes(name))) return;
  const all = sortedShown();
  drawTabs();
  drawFacets();
  drawTicks();
  if ("query" in changes === false) kd.byId("search").value = state.query;
  drawRows(all);
  drawPages(all.length);
  const noun = state.level === "runs" ? "run" : "configuration";
  const text = all.length === items().length ? `All ${kd.count(all.length, noun)}` : `${all.length} of ${kd.count(items().length, noun)}`;
  if (kd.byId("shown-count").textContent !== text) kd.byId("shown-count").textContent = text;
};

const sortedShown = () => kd.sorted(shownItems(), columnsOf(), state.sort[state.level]);

/** A page of the table; a table that is hardly longer than a page is one. */
const isWhole = (total) => wholeTable || total <= 1.5 * PAGE_SIZE;
const pageOf = (all) => (isWhole(all.length) ? all : all.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE));

const drawRows = (all) => {
  const { tick: box, open: named } = document.activeElement?.dataset ?? {};
  const scrolled = frame.scrollLeft;
  if (!all.length) {
    const text = items().length ? "Nothing passes all filters." : "No run of this study has finished yet.";
    frame.replaceChildren(kd.element("p", { class: "nothing" }, text, " ",
      isFiltered() && kd.element("button", { type: "button", onclick: clearFilters }, "Clear all filters")));
    return;
  }
  const ticks = new Set(state.ticks[state.level]);
  kd.drawTable(frame, {
    columns: columnsOf(),
    rows: pageOf(all),
    sort: state.sort[state.level],
    onSort: (sort) => change({ sort: { ...state.sort, [state.level]: sort } }),
    caption: kd.element("span", { class: "visually-hidden" },
      state.level === "runs" ? "Runs" : "Configurations; ± and brackets are intervals over independent units"),
    rowAttributes: (item) => ({ "data-row": item.id, "data-ticked": ticks.has(item.id), class: item.best ? "is-best" : null,
      "data-status": item.status }),
  });
  frame.scrollLeft = scrolled;
  const focused = box ? `[data-tick="${CSS.escape(box)}"]` : named && `[data-open="${CSS.escape(named)}"]`;
  if (focused) frame.querySelector(focused)?.focus({ preventScroll: true });
};

/** Ticks, names and rows are heard here, once for the whole table. */
const onTableClick = (event) => {
  const box = event.target.closest("[data-tick]");
  if (box) return tick(box.dataset.tick, box.checked, event.shiftKey);
  if (event.target.closest("thead") || String(getSelection())) return undefined;
  const row = event.target.closest("[data-row]");
  if (row) change({ open: row.dataset.row });
  return undefined;
};

/** Tick one row, or with shift all between it and the row that was ticked before. */
const tick = (id, on, range) => {
  const order = pageOf(sortedShown()).map((item) => item.id);
  const [from, to] = [order.indexOf(lastTick), order.indexOf(id)].sort((one, other) => one - other);
  const ids = range && from >= 0 ? order.slice(from, to + 1) : [id];
  lastTick = id;
  const before = state.ticks[state.level];
  setTicks(on ? [...before, ...ids] : before.filter((one) => !ids.includes(one)));
};

// ---- Tabs.

const tabs = () => kd.element("div", { class: "segmented", role: "tablist", "aria-label": "What the table lists" },
  LEVELS.map((level) => kd.element("button", { type: "button", role: "tab", id: `tab-${level}`, "data-level": level,
    onclick: () => change({ level }), onkeydown: onTabKey })));

const onTabKey = (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  change({ level: LEVELS[(LEVELS.indexOf(state.level) + 1) % LEVELS.length] });
  kd.byId(`tab-${state.level}`).focus();
};

const drawTabs = () => {
  for (const level of LEVELS) {
    const tab = kd.byId(`tab-${level}`);
    const name = level === "runs" ? "Runs" : "Configurations";
    tab.textContent = `${name} ${study[level].length.toLocaleString("en-US")}`;
    tab.setAttribute("aria-selected", level === state.level);
    tab.tabIndex = level === state.level ? 0 : -1;
  }
};

// ---- Filters.

const searchBox = () => kd.element("input", { type: "search", id: "search", class: "search", spellcheck: "false",
  "aria-label": "Filter the table by words or comparisons", placeholder: "Filter: words, width>=32, test/accuracy>0.6",
  title: "All words must be found; a comparison is KEY=value, !=, >, >=, <, <= of any knob or metric",
  oninput: (event) => change({ query: event.target.value }) });

const facetChip = (facet, value, count) => {
  const chosen = state.facets[facet.key] ?? [];
  const on = chosen.includes(value);
  const next = on ? chosen.filter((one) => one !== value) : [...chosen, value];
  return kd.element("button", { type: "button", class: "chip", "aria-pressed": String(on), "data-facet": `${facet.key}=${value}`,
    onclick: () => change({ facets: { ...state.facets, [facet.key]: next } }) },
    value, " ", kd.element("span", { class: "count" }, String(count)));
};

const MOST_CHIPS = 8;

/** A facet of few values is a row of chips, one of many a list to choose from. */
const facetRow = (facet) => {
  const chosen = state.facets[facet.key] ?? [];
  const values = [...facet.counts].sort(([one], [other]) => kd.compare(one, other));
  const few = values.length <= MOST_CHIPS;
  const chips = values.filter(([value]) => few || chosen.includes(value)).map(([value, count]) => facetChip(facet, value, count));
  const list = kd.element("select", { "aria-label": `Filter by ${facet.label}`, "data-facet-list": facet.key,
    onchange: (event) => change({ facets: { ...state.facets, [facet.key]: [...chosen, event.target.value] } }) },
    kd.element("option", { value: "" }, `any of ${values.length}`),
    values.filter(([value]) => !chosen.includes(value)).map(([value, count]) => kd.element("option", { value }, `${value} (${count})`)));
  return kd.element("div", { class: "facet", role: "group", "aria-label": facet.label },
    kd.element("span", { class: "facet-name" }, facet.label), chips, !few && list);
};

const drawFacets = () => {
  const focused = document.activeElement?.dataset.facet;
  const drawn = drawnFilters().map(({ text, remove }) =>
    kd.element("button", { type: "button", class: "chip", "aria-pressed": "true", onclick: remove, title: "Take this filter away" }, text, " ×"));
  kd.byId("facets").replaceChildren(...facetCounts().map(facetRow),
    kd.element("div", { class: "facet" }, drawn,
      isFiltered() && kd.element("button", { type: "button", class: "link", onclick: clearFilters }, "Clear all filters")));
  if (focused) document.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
};

// ---- Ticks.

const drawTicks = () => {
  const chosen = ticked();
  const known = compared();
  const words = chosen.length
    ? `Comparing ${chosen.length}:`
    : known.some((one) => one.best || one.configurations?.some((own) => own.best))
      ? "Comparing the best on validation, its scratch twins and its teacher; tick rows to choose others:"
      : known.length ? "Shown below; tick rows to choose others:" : "";
  const shown = known.slice(0, 8).map((item) => kd.element("button", { type: "button", class: "chip", "data-open-chip": item.id,
    onclick: () => change({ open: item.id }) }, kd.element("span", { class: "swatch", colour: colourOf(item) }), item.label));
  kd.byId("ticks").replaceChildren(kd.element("span", { class: "muted" }, words), ...shown,
    known.length > 8 ? `and ${known.length - 8} more` : "",
    ...(chosen.length ? [kd.element("button", { type: "button", class: "link", onclick: () => setTicks([]) }, "Untick all")] : []));
};

// ---- Columns and pages.

const columnPicker = () => {
  const given = new Set(defaultMetrics());
  const keys = Object.keys(study.keys).filter((key) => !given.has(key) && isMeasured(key, study.runs));
  const list = kd.element("select", { "aria-label": "Add a column", id: "columns",
    onchange: (event) => {
      const key = event.target.value;
      event.target.value = "";
      change({ extra: state.extra.includes(key) ? state.extra.filter((one) => one !== key) : [...state.extra, key] });
    } });
  const options = () => list.replaceChildren(kd.element("option", { value: "" }, "Columns …"),
    ...keys.map((key) => kd.element("option", { value: key }, `${state.extra.includes(key) ? "✓ " : ""}${key}`)));
  onChange(options);
  options();
  return list;
};

const drawPages = (total) => {
  const pages = Math.ceil(total / PAGE_SIZE);
  const nav = kd.byId("pages");
  nav.hidden = total <= 1.5 * PAGE_SIZE;
  const go = (page) => change({ page });
  const toggle = () => {
    wholeTable = !wholeTable;
    change({ page: 0 });
  };
  const place = wholeTable ? `All ${total} rows` : `Rows ${state.page * PAGE_SIZE + 1} to ${Math.min(total, (state.page + 1) * PAGE_SIZE)} of ${total}`;
  nav.replaceChildren(
    kd.element("button", { type: "button", disabled: wholeTable || state.page === 0, onclick: () => go(state.page - 1) }, "← Back"),
    kd.element("span", { class: "muted" }, place),
    kd.element("button", { type: "button", disabled: wholeTable || state.page >= pages - 1, onclick: () => go(state.page + 1) }, "Next →"),
    kd.element("button", { type: "button", class: "link", onclick: toggle, title: "Find in page looks at the rows on the page; the filter above looks at all" },
      wholeTable ? `${PAGE_SIZE} at a time` : "All on one page"));
};

/** On paper: the configurations that are shown, with as many columns as a sheet takes. */
const PAPER_METRICS = 3;
const drawPrinted = () => {
  const difference = differenceColumns("scratch").map((column) => ({ ...column, cell: (one) => {
    const found = one.against("scratch")?.metrics["test/accuracy"];
    return column.number ? found?.text : kd.verdict(found?.verdict);
  } }));
  const known = study.configurations.some((one) => one.against("scratch")) ? difference : [];
  const [main, ...others] = defaultMetrics().filter((key) => key !== "latency/p50_ms").slice(0, PAPER_METRICS).map(metricColumn);
  kd.drawTable(kd.byId("printed"), {
    columns: [nameColumn("Setting"), { key: "n", label: "n", number: true, value: (one) => one.n }, main, ...known, ...others].filter(Boolean),
    rows: state.level === "configurations" ? sortedShown() : study.configurations,
  });
};
