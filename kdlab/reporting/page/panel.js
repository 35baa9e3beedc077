/* The panel: everything the record knows of one run, or the tables know of one configuration. */

const buildPanel = (dialog) => {
  dialog.addEventListener("close", () => {
    clearPanelCharts();
    if (state.open) change({ open: null });
    // A tick in the panel drew the table anew, and the row that had the focus is gone.
    const lost = document.activeElement === document.body || dialog.contains(document.activeElement);
    if (lost && opener) document.querySelector(`[data-open="${CSS.escape(opener)}"]`)?.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // on the shade beside it
  });
  onChange((changes) => "open" in changes && showPanel(dialog));
  if (state.open) showPanel(dialog);
};

let opener = null; // the item whose row the panel was opened from

const showPanel = (dialog) => {
  const item = study.byId.get(state.open);
  if (!item) return dialog.open && dialog.close();
  clearPanelCharts();
  dialog.replaceChildren(panelHead(dialog, item),
    kd.element("div", { class: "panel-body" }, item.level === "runs" ? runPanel(item) : configurationPanel(item)));
  if (!dialog.open) {
    opener = item.id;
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  kd.byId("panel-title").focus();
  drawPanelCharts();
  return undefined;
};

const panelHead = (dialog, item) => kd.element("header", { class: "panel-head" },
  kd.element("div", {},
    kd.element("p", { class: "muted" }, item.level === "runs" ? `Run ${item.run_id}` : "Configuration"),
    kd.element("h2", { id: "panel-title", tabindex: "-1" }, item.label)),
  item.level === state.level && compareButton(item),
  closeButton(dialog));

const closeButton = (dialog) => kd.element("button", {
  type: "button",
  class: "icon plain",
  "aria-label": "Close",
  onclick: () => dialog.close(),
}, "✕");

/** Ticks the item of the panel, or takes its tick away. */
const compareButton = (item) => {
  const button = kd.element("button", { type: "button", class: "chip" });
  const isTicked = () => state.ticks[item.level].includes(item.id);
  const tell = () => {
    button.textContent = isTicked() ? "Compared" : "Compare";
    button.setAttribute("aria-pressed", String(isTicked()));
  };
  button.addEventListener("click", () => {
    const others = state.ticks[item.level].filter((id) => id !== item.id);
    setTicks(isTicked() ? others : [...others, item.id]);
    tell();
  });
  tell();
  return button;
};

// ---- Parts.

const part = (title, ...children) => kd.element("section", { class: "part" }, kd.element("h3", {}, title), children);

const facts = (...rows) => {
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const pairs = told.map(([name, value]) => [kd.element("dt", {}, name), kd.element("dd", {}, value)]);
  return kd.element("dl", { class: "facts" }, pairs);
};

const openButton = (id, text) =>
  kd.element("button", { type: "button", class: "link", onclick: () => change({ open: id }) }, text);

/** Another run, by id: a link where it is in the page. */
const relative = (id) => {
  if (!id) return null;
  const run = study.byId.get(id);
  const code = kd.element("code", { class: "muted" }, id);
  return run ? [openButton(id, run.label), " ", code] : [code, " (not in this study)"];
};

const stateWord = (status) => kd.element("span", { class: "state", "data-state": status }, status);

const listed = (record) => Object.entries(record ?? {}).map((pair) => pair.join(" ")).join(", ");

// ---- A run.

const runPanel = (run) => [
  run.error && errorBox(run.error),
  facts(
    ["Status", stateWord(run.status)],
    ["Role", run.role],
    ["Data", run.data],
    ["Arm", run.arm],
    ["Phase", run.phase],
    ["Teacher quality", run.quality],
    ["Seeds", listed(Object.fromEntries(Object.entries(run.seeds).filter(([, seed]) => seed !== null)))],
    ["Examples", listed(run.sizes)],
    ["Configuration", run.configurations.map((one) => [openButton(one.id, one.label), " "])],
    ["Scratch twin", relative(run.twin)],
    ["Teacher", relative(run.teacher?.id)],
    ["Parent", relative(run.parent)],
    ["Serves", servedBy(run)]),
  run.command && part("Run it again", kd.command(run.command)),
  run.curveKeys.length > 0 && part("Training curves", panelCurves(run)),
  run.bins && part("Reliability", panelReliability(run)),
  ...metricParts(run),
  run.status !== "finished" && kd.element("p", { class: "note" }, "What it did not come to measure is not listed."),
  part("What it was asked for with", askedFor(run)),
  targetsPart(run),
  run.identity && part("What trains it", tree(run.identity)),
  part("Provenance", facts(
    ["Commit", run.commit && `${run.commit}${run.dirty ? " (with local changes)" : ""}`],
    ["Versions", listed(run.versions)])),
  kd.element("p", { class: "note" }, leftOutWords("here"),
    kd.element("code", {}, `runs/${run.id}/record.json`), LEFT_OUT_END),
];

/** What a page does not hold, and before which path it is named. */
const leftOutWords = (where) => `Left out ${where}: ${study.leftOut.join("; ")}. They are in `;
const LEFT_OUT_END = " of the store and in the folder around it.";

const errorBox = ({ type, message, ...more }) => kd.element("div", { class: "error", role: "alert" },
  kd.element("strong", {}, type ?? "error"),
  kd.element("pre", {}, message ?? ""),
  facts(...Object.entries(more)));

const askedFor = (run) => {
  if (!run.members.length) {
    return kd.element("p", { class: "muted" }, "It is no point of the study itself; its students brought it along.");
  }
  return run.members.map(({ arm, phase, overrides }) => kd.element("div", {},
    kd.element("p", { class: "muted" }, [arm, phase].filter(Boolean).join(", ")),
    kd.element("pre", { class: "block" }, overrides.join("\n"))));
};

const targetsPart = (run) => {
  const rows = Object.entries(run.teacher?.targets ?? {}).map(([key, value]) => ({ key, value }));
  return rows.length > 0 && part("The targets it was shown", metricTable(rows));
};

const MOST_SERVED = 6;

/** The students of a teacher or of a twin: some of them, and how many more. */
const servedBy = (run) => {
  const served = study.runs.filter((one) => [one.twin, one.teacher?.id, one.parent].includes(run.id));
  if (!served.length) return null;
  const named = served.slice(0, MOST_SERVED).map((one) => [openButton(one.id, one.label), "; "]);
  return [named, served.length > MOST_SERVED && `and ${served.length - MOST_SERVED} more`];
};

/** A config as a tree that folds. */
const tree = (value, name = null, depth = 0) => {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return kd.element("div", { class: "leaf" },
      kd.element("span", { class: "muted" }, `${name}: `), kd.element("code", {}, JSON.stringify(value)));
  }
  const inside = Object.entries(value).map(([key, item]) => tree(item, key, depth + 1));
  if (name === null) return kd.element("div", { class: "tree" }, inside);
  return kd.element("details", { open: depth < 2 && inside.length < 8 },
    kd.element("summary", {}, name), kd.element("div", { class: "branch" }, inside));
};

// ---- A configuration.

const configurationPanel = (one) => [
  facts(
    ["Role", one.role],
    ["Data", one.data],
    ["Arm", one.arm],
    ["Phase", one.phase],
    ["Teacher quality", one.quality],
    ["Knobs", Object.entries(one.knobs).map((pair) => pair.join("=")).join(", ")],
    ["Independent units", String(one.n)],
    ["Failed runs", one.failed ? String(one.failed) : null],
    ["Scratch twins", one.role === "student" ? configurationLink(one.scratch) : null],
    ["Teachers", configurationLink(one.teacher)]),
  kd.element("p", {}, kd.element("button", { type: "button", onclick: () => compareRunsOf(one) },
    `Compare its ${kd.count(one.runs.length, "run")}`)),
  part("Run it again", kd.command(one.command)),
  one.comparisons.length > 0 && part("Paired differences", one.comparisons.map(comparisonTable)),
  ...metricParts(one),
  part("Its runs", kd.element("ul", { class: "run-list" }, one.runs.map((run) =>
    kd.element("li", {}, openButton(run.id, run.label), " ", run.status !== "finished" && stateWord(run.status))))),
];

const configurationLink = (place) =>
  (place === null ? null : openButton(`c${place}`, study.configurations[place].label));

/** Over to the runs of a configuration, all of them ticked. */
const compareRunsOf = (one) => {
  kd.byId("panel").close();
  const ticks = { ...state.ticks, runs: one.runs.map((run) => run.id) };
  change({ level: "runs", query: "", facets: {}, brushes: {}, area: null, ticks });
};

const comparisonTable = (against) => {
  const frame = kd.element("div", { class: "table-frame" });
  const meaning = (row) => kd.element("span", { title: meaningOf(row.key) }, labelOf(row.key));
  const silence = (row) =>
    kd.element("span", { class: "muted", title: row.reason ?? "no smallest effect of interest was fixed" }, kd.NOTHING);
  kd.drawTable(frame, {
    caption: `to ${against.kind === "scratch" ? "its scratch twins" : against.reference}`,
    rows: Object.entries(against.metrics).map(([key, found]) => ({ key, ...found })),
    columns: [
      { key: "metric", label: "Metric", header: true, value: (row) => row.key, cell: meaning },
      { key: "n", label: "n", number: true, value: (row) => row.numbers[3] },
      { key: "difference", label: "Difference", number: true, value: (row) => row.text },
      {
        key: "verdict",
        label: "Verdict",
        value: (row) => row.verdict,
        cell: (row) => (row.verdict ? kd.verdict(row.verdict) : silence(row)),
      },
      {
        key: "detectable",
        label: "Detectable",
        title: "True difference found with 80 % power",
        number: true,
        value: (row) => row.detectable,
        cell: (row) => kd.fixed(row.detectable),
      },
    ],
  });
  return frame;
};
