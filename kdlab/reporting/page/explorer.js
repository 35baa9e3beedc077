/* The explorer: tabs, the table and its pages, ticks; a table for paper. */

const PAGE_SIZE = 50;
const MOST_CHIPS = 8;
const PAPER_METRICS = 3;

let frame = null;
let lastTick = null;
let wholeTable = false;

const buildExplorer = (section) => {
  const scrolls = { tabindex: "0", role: "tabpanel", "aria-label": "Table, scrolls sideways" };
  frame = kd.element("div", { class: "table-frame", id: "table-panel", ...scrolls });
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
  if (!("query" in changes)) kd.byId("search").value = state.query;
  drawRows(all);
  drawPages(all.length);
  tellCount(all.length);
};

/** `All 257 runs`, `23 of 257 runs`; said aloud only when it changes. */
const tellCount = (shown) => {
  const all = kd.count(items().length, state.level === "runs" ? "run" : "configuration");
  const text = shown === items().length ? `All ${all}` : `${shown} of ${all}`;
  const status = kd.byId("shown-count");
  if (status.textContent !== text) status.textContent = text;
};

// ---- Rows.

const sortedShown = () => kd.sorted(shownItems(), columnsOf(), state.sort[state.level]);

/** A table that is hardly longer than a page is one. */
const isWhole = (total) => wholeTable || total <= 1.5 * PAGE_SIZE;

const pageOf = (all) => (isWhole(all.length) ? all : all.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE));

const drawRows = (all) => {
  const { tick: box, open: named } = document.activeElement?.dataset ?? {};
  const scrolled = frame.scrollLeft;
  if (!all.length) return drawNothing();
  const chosen = new Set(state.ticks[state.level]);
  const told = state.level === "runs" ? "Runs" : "Configurations; ± and brackets are intervals over independent units";
  kd.drawTable(frame, {
    columns: columnsOf(),
    rows: pageOf(all),
    sort: state.sort[state.level],
    onSort: (sort) => change({ sort: { ...state.sort, [state.level]: sort } }),
    caption: kd.element("span", { class: "visually-hidden" }, told),
    rowAttributes: (item) => ({
      "data-row": item.id,
      "data-status": item.status,
      "data-ticked": chosen.has(item.id),
      class: item.best ? "is-best" : null,
    }),
  });
  frame.scrollLeft = scrolled;
  const focused = box ? `[data-tick="${CSS.escape(box)}"]` : named && `[data-open="${CSS.escape(named)}"]`;
  if (focused) frame.querySelector(focused)?.focus({ preventScroll: true });
  return undefined;
};

const drawNothing = () => {
  const text = items().length ? "Nothing passes all filters." : "No run of this study has finished yet.";
  const clear = isFiltered() && kd.element("button", { type: "button", onclick: clearFilters }, "Clear all filters");
  frame.replaceChildren(kd.element("p", { class: "nothing" }, text, " ", clear));
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
  LEVELS.map((level) => kd.element("button", {
    type: "button",
    role: "tab",
    id: `tab-${level}`,
    "aria-controls": "table-panel",
    onclick: () => change({ level }),
    onkeydown: onTabKey,
  })));

const onTabKey = (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  change({ level: LEVELS[(LEVELS.indexOf(state.level) + 1) % LEVELS.length] });
  kd.byId(`tab-${state.level}`).focus();
};

const drawTabs = () => {
  for (const level of LEVELS) {
    const tab = kd.byId(`tab-${level}`);
    tab.textContent = `${level === "runs" ? "Runs" : "Configurations"} ${study[level].length.toLocaleString("en-US")}`;
    tab.setAttribute("aria-selected", level === state.level);
    tab.tabIndex = level === state.level ? 0 : -1;
  }
};

// ---- What is compared.

const drawTicks = () => {
  const known = compared();
  const open = (item) => () => change({ open: item.id });
  const chip = (item) => kd.element("button", { type: "button", class: "chip", onclick: open(item) },
    kd.element("span", { class: "swatch", colour: colourOf(item) }), item.label);
  const clear = kd.element("button", { type: "button", class: "link", onclick: () => setTicks([]) }, "Untick all");
  kd.byId("ticks").replaceChildren(
    kd.element("span", { class: "muted" }, comparedWords(known)),
    ...known.slice(0, MOST_CHIPS).map(chip),
    known.length > MOST_CHIPS ? `and ${known.length - MOST_CHIPS} more` : "",
    ...(ticked().length ? [clear] : []));
};

const comparedWords = (known) => {
  if (ticked().length) return `Comparing ${ticked().length}:`;
  if (!known.length) return "";
  const isBest = (item) => item.best || item.configurations?.some((one) => one.best);
  const cast = "Comparing the best on validation, its scratch twins and its teacher";
  return `${known.some(isBest) ? cast : "Shown below"}; tick rows to choose others:`;
};

// ---- Pages.

const drawPages = (total) => {
  const last = Math.ceil(total / PAGE_SIZE) - 1;
  const nav = kd.byId("pages");
  nav.hidden = total <= 1.5 * PAGE_SIZE;
  const step = (text, page) => kd.element("button", {
    type: "button",
    disabled: wholeTable || page < 0 || page > last,
    onclick: () => change({ page }),
  }, text);
  const toggle = kd.element("button", {
    type: "button",
    class: "link",
    title: "Find in page looks at the rows on the page; the filter above looks at all",
    onclick: () => {
      wholeTable = !wholeTable;
      change({ page: 0 });
    },
  }, wholeTable ? `${PAGE_SIZE} at a time` : "All on one page");
  const [from, to] = [state.page * PAGE_SIZE + 1, Math.min(total, (state.page + 1) * PAGE_SIZE)];
  nav.replaceChildren(
    step("← Back", state.page - 1),
    kd.element("span", { class: "muted" }, wholeTable ? `All ${total} rows` : `Rows ${from} to ${to} of ${total}`),
    step("Next →", state.page + 1),
    toggle);
};

// ---- Paper.

/** The configurations that are shown, with as many columns as a sheet takes. */
const drawPrinted = () => {
  const difference = differenceColumns("scratch").map((column) => ({
    ...column,
    cell: (one) => {
      const found = one.against("scratch")?.metrics["test/accuracy"];
      return column.number ? found?.text : kd.verdict(found?.verdict);
    },
  }));
  const keys = defaultMetrics().filter((key) => key !== "latency/p50_ms");
  const [main, ...others] = keys.slice(0, PAPER_METRICS).map(metricColumn);
  const differs = study.configurations.some((one) => one.against("scratch"));
  kd.drawTable(kd.byId("printed"), {
    columns: [
      nameColumn("Setting"),
      { key: "n", label: "n", number: true, value: (one) => one.n },
      ...(main ? [main] : []),
      ...(differs ? difference : []),
      ...others,
    ],
    rows: state.level === "configurations" ? sortedShown() : study.configurations,
  });
};
