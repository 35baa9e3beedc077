/* The panel: everything the record knows of one run, or the tables know of one configuration. */

const recordPath = (id) => `runs/${id}/record.json`;

const buildPanel = (dialog) => {
  dialog.addEventListener("close", () => {
    panelCharts.splice(0).forEach((made) => made.remove());
    if (state.open) change({ open: null });
    const gone = document.activeElement === document.body; // a tick in the panel drew the table anew
    if (gone && opener) document.querySelector(`[data-open="${CSS.escape(opener)}"]`)?.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // on the shade beside it
  });
  onChange((changes) => "open" in changes && showPanel(dialog));
  if (state.open) showPanel(dialog);
};

const panelCharts = [];
let opener = null; // the item whose row the panel was opened from

const showPanel = (dialog) => {
  const item = study.byId.get(state.open);
  if (!item) return dialog.open && dialog.close();
  panelCharts.splice(0).forEach((made) => made.remove());
  const ticks = state.ticks[item.level].includes(item.id);
  const close = kd.element("button", { type: "button", class: "icon plain", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const toggle = item.level === state.level && kd.element("button", { type: "button", class: "chip", "aria-pressed": String(ticks),
    onclick: (event) => {
      setTicks(ticks ? ticked().map((one) => one.id).filter((id) => id !== item.id) : [...state.ticks[item.level], item.id]);
      event.target.disabled = true;
      event.target.textContent = ticks ? "Not compared" : "Compared";
    } }, ticks ? "Compared" : "Compare");
  dialog.replaceChildren(
    kd.element("header", { class: "panel-head" },
      kd.element("div", {}, kd.element("p", { class: "muted" }, item.level === "runs" ? `Run ${item.run_id}` : "Configuration"),
        kd.element("h2", { id: "panel-title", tabindex: "-1" }, item.label)), toggle, close),
    kd.element("div", { class: "panel-body" }, item.level === "runs" ? runPanel(item) : configurationPanel(item)));
  if (!dialog.open) {
    opener = item.id;
    dialog.showModal();
  }
  dialog.scrollTop = 0;
  kd.byId("panel-title").focus();
  panelCharts.forEach((made) => made.draw());
};

const openButton = (id, text) => kd.element("button", { type: "button", class: "link", onclick: () => change({ open: id }) }, text);

const facts = (...rows) => kd.element("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [kd.element("dt", {}, name), kd.element("dd", {}, value)]));

const part = (title, ...children) => kd.element("section", { class: "part" }, kd.element("h3", {}, title), children);

/** Another run, by id: a link where it is in the page. */
const relative = (id) => {
  if (!id) return null;
  const run = study.byId.get(id);
  return run ? [openButton(id, run.label), " ", kd.element("code", { class: "muted" }, id)] : [kd.element("code", {}, id), " (not in this study)"];
};

const runPanel = (run) => [
  run.error && kd.element("div", { class: "error", role: "alert" }, kd.element("strong", {}, run.error.type ?? "error"),
    kd.element("pre", {}, run.error.message ?? ""), facts(...Object.entries(run.error).filter(([name]) => !["type", "message"].includes(name)))),
  facts(
    ["Status", kd.element("span", { class: "state", "data-state": run.status }, run.status)],
    ["Role", run.role], ["Data", run.data], ["Arm", run.arm], ["Phase", run.phase], ["Teacher quality", run.quality],
    ["Seeds", Object.entries(run.seeds).filter(([, seed]) => seed !== null).map(([who, seed]) => `${who} ${seed}`).join(", ")],
    ["Examples", Object.entries(run.sizes ?? {}).map(([name, size]) => `${name} ${kd.number(size)}`).join(", ")],
    ["Configuration", run.configurations.map((one) => [openButton(one.id, one.label), " "])],
    ["Scratch twin", relative(run.twin)], ["Teacher", relative(run.teacher?.id)], ["Parent", relative(run.parent)],
    ["Serves", servedBy(run)]),
  run.command && part("Run it again", kd.command(run.command)),
  run.curveKeys.length > 0 && part("Training curves", panelCurves(run)),
  run.bins && part("Reliability", panelReliability(run)),
  ...metricParts(run),
  part("What it was asked for with", run.members.length
    ? run.members.map((member) => kd.element("p", {}, [member.arm, member.phase].filter(Boolean).join(", "),
      kd.element("pre", { class: "block" }, member.overrides.join("\n"))))
    : kd.element("p", { class: "muted" }, "It is no point of the study itself; its students brought it along.")),
  run.teacher?.targets && Object.keys(run.teacher.targets).length > 0 && part("The targets it was shown", metricTable(
    Object.entries(run.teacher.targets).map(([key, value]) => ({ key, value, meaning: "" })))),
  run.identity && part("What trains it", tree(run.identity)),
  part("Provenance", facts(["Commit", run.commit && `${run.commit}${run.dirty ? " (with local changes)" : ""}`],
    ["Versions", Object.entries(run.versions ?? {}).map((pair) => pair.join(" ")).join(", ")])),
  kd.element("p", { class: "note" }, `Left out here: ${study.leftOut.join("; ")}. They are in `, kd.element("code", {}, recordPath(run.run_id)),
    " of the store and in the folder around it."),
];

/** The students of a teacher or of a twin, by number. */
const servedBy = (run) => {
  const served = study.runs.filter((one) => one.twin === run.id || one.teacher?.id === run.id || one.parent === run.id);
  if (!served.length) return null;
  const first = served.slice(0, 6).map((one) => [openButton(one.id, one.label), "; "]);
  return [first, served.length > 6 ? `and ${served.length - 6} more` : ""];
};

const configurationPanel = (one) => [
  facts(
    ["Role", one.role], ["Data", one.data], ["Arm", one.arm], ["Phase", one.phase], ["Teacher quality", one.quality],
    ["Knobs", Object.entries(one.knobs).map((pair) => pair.join("=")).join(", ")],
    ["Independent units", String(one.n)], ["Failed runs", one.failed ? String(one.failed) : null],
    ["Scratch twins", one.scratch !== null && one.scratch !== one.place ? openButton(`c${one.scratch}`, study.configurations[one.scratch].label) : null],
    ["Teachers", one.teacher !== null ? openButton(`c${one.teacher}`, study.configurations[one.teacher].label) : null]),
  kd.element("p", {}, kd.element("button", { type: "button", onclick: () => showRunsOf(one) }, `Compare its ${kd.count(one.runs.length, "run")}`)),
  part("Run it again", kd.command(one.command)),
  one.comparisons.length > 0 && part("Paired differences", ...one.comparisons.map(comparisonTable)),
  ...metricParts(one),
  part("Its runs", kd.element("ul", { class: "run-list" }, one.runs.map((run) => kd.element("li", {}, openButton(run.id, run.label), " ",
    kd.element("span", { class: "state", "data-state": run.status }, run.status === "finished" ? "" : run.status))))),
];

/** Over to the runs of a configuration, all of them ticked. */
const showRunsOf = (one) => {
  kd.byId("panel").close();
  change({ level: "runs", query: "", facets: {}, brushes: {}, area: null, ticks: { ...state.ticks, runs: one.runs.map((run) => run.id) } });
};

const comparisonTable = (against) => {
  const frame = kd.element("div", { class: "table-frame" });
  const rows = Object.entries(against.metrics).map(([key, found]) => ({ key, ...found }));
  kd.drawTable(frame, { rows, caption: `to ${against.kind === "scratch" ? "its scratch twins" : against.reference}`, columns: [
    { key: "metric", label: "Metric", header: true, value: (row) => row.key, cell: (row) => kd.element("span", { title: meaningOf(row.key) }, labelOf(row.key)) },
    { key: "n", label: "n", number: true, value: (row) => row.numbers[3] },
    { key: "difference", label: "Difference", number: true, value: (row) => row.text },
    { key: "verdict", label: "Verdict", value: (row) => row.verdict, cell: (row) => (row.verdict ? kd.verdict(row.verdict) : kd.element("span", { class: "muted", title: row.reason ?? "no smallest effect of interest was fixed" }, kd.NOTHING)) },
    { key: "detectable", label: "Detectable", title: "True difference found with 80 % power", number: true, value: (row) => row.detectable, cell: (row) => kd.fixed(row.detectable) },
  ] });
  return frame;
};

// ---- Metrics, by what they speak of.

const SETS = ["test", "validation", "train"];
const FIDELITY = ["agreement", "teacher_kl", "accuracy_vs_teacher", "ece_vs_teacher"];

const metricParts = (item) => {
  const keys = Object.keys(study.keys);
  const split = (key) => [key.slice(0, key.lastIndexOf("/")), key.slice(key.lastIndexOf("/") + 1)];
  const ofSet = (name) => keys.filter((key) => split(key)[0] === name && !FIDELITY.includes(split(key)[1]));
  const fidelity = keys.filter((key) => FIDELITY.includes(split(key)[1]) && SETS.includes(split(key)[0]));
  const slices = Object.keys(study.slices);
  const placed = new Set([...SETS.flatMap(ofSet), ...fidelity, ...keys.filter((key) => slices.includes(split(key)[0]))]);
  const of = (...places) => keys.filter((key) => places.includes(split(key)[0]) && !placed.has(key));
  const others = keys.filter((key) => !placed.has(key) && !["ood", "cost", "latency", "throughput"].includes(split(key)[0]));
  return [
    ...SETS.map((name) => [`On ${name === "train" ? "the training set" : name === "test" ? "the test set" : "validation"}`, ofSet(name)]),
    ["Fidelity to the teacher", fidelity], ["Shifts", of("ood")], ["Cost", of("cost")], ["Latency", of("latency", "throughput")], ["Other", others],
  ].filter(([, found]) => found.some((key) => item.value(key) !== null || item.level === "runs")).map(([title, found]) => part(title, metricTable(
    found.map((key) => ({ key, text: item.value(key) === null ? null : item.shown(key), reason: item.reason(key) }))))).concat(
    slices.length && slices.some((name) => item.value(`${name}/accuracy`) !== null) ? [part("Slices", sliceTable(item, slices, keys))] : []);
};

const metricTable = (rows) => {
  const frame = kd.element("div", { class: "table-frame" });
  const facts = (row) => study.keys[row.key] ?? {};
  const arrow = { higher: "↑", lower: "↓" };
  kd.drawTable(frame, { rows, columns: [
    { key: "key", label: "Key", header: true, value: (row) => row.key, cell: (row) => [kd.element("code", {}, row.key),
      facts(row).direction in arrow ? kd.element("span", { class: "muted", title: `${facts(row).direction} is better` }, ` ${arrow[facts(row).direction]}`) : ""] },
    { key: "value", label: "Value", number: true, value: (row) => row.value, cell: (row) => row.text ?? kd.number(row.value) },
    { key: "unit", label: "Unit", value: (row) => facts(row).unit, cell: (row) => kd.element("span", { class: "muted" }, facts(row).unit ?? "") },
    { key: "meaning", label: "Meaning", value: () => "", cell: (row) => kd.element("span", { class: "meaning", title: facts(row).equation ?? null },
      row.text === null && row.reason ? `undefined: ${row.reason}` : facts(row).meaning ?? "") },
  ] });
  return frame;
};

const sliceTable = (item, slices, keys) => {
  const all = [...new Set(keys.filter((key) => slices.some((name) => key.startsWith(`${name}/`))).map((key) => key.slice(key.lastIndexOf("/") + 1)))];
  const some = (quantity) => slices.some((name) => item.value(`${name}/${quantity}`) !== null);
  const words = (quantity) => quantity.replaceAll("_", " ");
  const missing = all.filter((quantity) => !some(quantity)).map((quantity) => `${words(quantity)} (${item.reason(`${slices[0]}/${quantity}`)})`);
  const quantities = all.filter(some).sort((one, other) => (other === "gap") - (one === "gap") || (other === "accuracy") - (one === "accuracy") || kd.compare(one, other));
  const frame = kd.element("div", { class: "table-frame" });
  kd.drawTable(frame, { rows: slices, columns: [
    { key: "slice", label: "Slice", header: true, value: (name) => name, cell: (name) => [name, study.slices[name].ood ? "" : kd.element("span", { class: "muted" }, " (not OOD)")] },
    ...quantities.map((quantity) => ({ key: quantity, label: words(quantity), title: meaningOf(`${slices[0]}/${quantity}`), number: true,
      value: (name) => item.value(`${name}/${quantity}`), cell: (name) => (item.value(`${name}/${quantity}`) === null
        ? kd.element("span", { class: "muted", title: item.reason(`${name}/${quantity}`) }, kd.NOTHING) : item.shown(`${name}/${quantity}`)) })),
    { key: "reference", label: "Reference", value: (name) => study.slices[name].reference },
  ] });
  return [frame, missing.length > 0 && kd.element("p", { class: "note" }, `Undefined on every slice: ${missing.join("; ")}.`)];
};

/** A config as a tree that folds. */
const tree = (value, name = null, depth = 0) => {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    return kd.element("div", { class: "leaf" }, name !== null && kd.element("span", { class: "muted" }, `${name}: `), kd.element("code", {}, JSON.stringify(value)));
  }
  const inside = Object.entries(value).map(([key, item]) => tree(item, key, depth + 1));
  if (name === null) return kd.element("div", { class: "tree" }, inside);
  return kd.element("details", { open: depth < 2 && inside.length < 8 }, kd.element("summary", {}, name), kd.element("div", { class: "branch" }, inside));
};

// ---- Its charts, small.

const panelChart = (height, option, words) => {
  const element = kd.element("div", { class: "chart", role: "img", "aria-label": words });
  element.style.setProperty("--height", `${height}px`);
  panelCharts.push(kd.chart(element, option));
  return element;
};

/** Curves in small multiples: each has a scale of its own. */
const panelCurves = (run) => {
  const keys = run.curveKeys, columns = innerWidth < 560 ? 1 : 2;
  const rows = Math.ceil(keys.length / columns);
  const height = 150 * rows;
  return panelChart(height, () => ({
    title: keys.map((key, place) => ({ text: key, left: `${(place % columns) * (100 / columns)}%`, top: Math.floor(place / columns) * 150,
      textStyle: { fontSize: 12, fontWeight: 600, color: kd.colour("ink") } })),
    tooltip: { trigger: "axis", confine: true, formatter: ([one]) => kd.tip(one.seriesName, [["step", kd.number(one.value[0])], ["value", kd.number(one.value[1])]]) },
    grid: keys.map((_, place) => ({ left: `${(place % columns) * (100 / columns) + 8}%`, width: `${100 / columns - 12}%`, top: Math.floor(place / columns) * 150 + 28, height: 88 })),
    xAxis: keys.map((_, gridIndex) => ({ type: "value", gridIndex, max: "dataMax", splitLine: { show: false }, axisLabel: { fontSize: 10, hideOverlap: true } })),
    yAxis: keys.map((_, gridIndex) => ({ type: "value", gridIndex, scale: true, splitNumber: 3, axisLine: { show: false }, axisLabel: { fontSize: 10, formatter: (value) => kd.number(value, 2) } })),
    series: keys.map((key, place) => ({ type: "line", name: key, xAxisIndex: place, yAxisIndex: place, symbol: "none", data: pairs(run.curve(key)), color: kd.colour(run.kind), lineStyle: { width: 1.8 } })),
  }), `Training curves of this run: ${keys.join(", ")}`);
};

const panelReliability = (run) => panelChart(240, () => ({
  grid: { left: 44, right: 12, top: 14, bottom: 40 },
  tooltip: { trigger: "item", confine: true, formatter: ({ data }) => kd.tip(`confidence ${kd.fixed(data.confidence, 3)}`, [["accuracy", kd.fixed(data.value[1])], ["examples", kd.number(data.number)]]) },
  xAxis: { type: "value", min: 0, max: 1, name: "confidence", nameLocation: "middle", nameGap: 26 },
  yAxis: { type: "value", min: 0, max: 1, axisLine: { show: false } },
  series: [
    { type: "line", silent: true, symbol: "none", data: [[0, 0], [1, 1]], tooltip: { show: false }, lineStyle: { color: kd.colour("soft"), width: 1, type: "dashed" } },
    { type: "line", color: kd.colour(run.kind), symbol: "circle", symbolSize: 7, data: filledBins(run.bins).map((bin) => ({ value: [bin.confidence, bin.accuracy], ...bin })) },
  ],
}), "Reliability of this run: accuracy against mean confidence");
