/* Columns of the two tables: who an item is, the knobs that vary, its numbers, what it gains and the verdict. */

const LATENCY = "latency/p99_ms";
const RUN_METRICS = ["test/accuracy", "test/ece", "ood/mean_gap", "test/agreement", "latency/p50_ms", LATENCY];
const TUNING_METRICS = ["validation/accuracy", "validation/ece"];

/** The metrics every table begins with. */
const defaultMetrics = () => {
  const found = RUN_METRICS.filter((key) => isMeasured(key));
  const tuned = study.configurations.some((one) => one.role !== "teacher" && one.value("test/accuracy") === null &&
    one.value("validation/accuracy") !== null);
  return tuned ? [...TUNING_METRICS.filter((key) => isMeasured(key)), ...found] : found;
};

const metricColumn = (key) => ({
  key,
  label: labelOf(key),
  title: meaningOf(key),
  number: true,
  smallFirst: study.keys[key]?.direction === "lower",
  value: (item) => item.value(key),
  cell: (item) => {
    if (item.value(key) !== null) return item.shown(key);
    return kd.element("span", { title: item.reason(key), class: "muted" }, kd.NOTHING);
  },
});

const knobColumns = () => study.knobs.map(({ key, name }) => ({
  key: `knob:${key}`,
  label: name,
  title: key,
  number: items().every((item) => item.knob(key) === null || isNumber(item.knob(key))),
  smallFirst: true,
  value: (item) => knobValue(item, key),
  cell: (item) => item.knob(key) ?? kd.NOTHING,
}));

const textColumn = (key, label, title = null) =>
  ({ key, label, title, value: (item) => item[key], cell: (item) => item[key] ?? kd.NOTHING });

const tickColumn = {
  key: "tick",
  label: kd.element("span", { class: "visually-hidden" }, "Compare"),
  unsorted: true,
  class: "tick-cell",
  value: () => null,
  cell: (item) => {
    const on = state.ticks[state.level].includes(item.id);
    return kd.element("input", {
      type: "checkbox",
      "data-tick": item.id,
      "aria-label": `Compare ${item.label}`,
      checked: on,
      colour: on ? colourOf(item) : null,
    });
  },
};

/** The name of an item opens the panel. */
const nameCell = (item) => [
  kd.element("span", { class: "swatch", colour: colourOf(item), "data-swatch": item.id }),
  kd.element("button", { type: "button", class: "link name", "data-open": item.id }, item.label),
  item.best && kd.element("span", { class: "best" }, "best on validation"),
];

const nameColumn = (label) =>
  ({ key: "label", label, header: true, value: (item) => item.label, cell: nameCell });

const runColumns = () => {
  const varies = (key) => new Set(study.runs.map((run) => run[key])).size > 1;
  return [
    tickColumn,
    nameColumn("Run"),
    ...(varies("data") ? [textColumn("data", "Data")] : []),
    textColumn("role", "Role"),
    ...(varies("arm") ? [textColumn("arm", "Arm")] : []),
    ...knobColumns(),
    { ...textColumn("seed", "Seed"), number: true, smallFirst: true },
    { key: "status", label: "Status", value: (run) => run.status, cell: statusCell },
    ...defaultMetrics().map(metricColumn),
    ...state.extra.filter((key) => !defaultMetrics().includes(key)).map(metricColumn),
    {
      key: "run_id", label: "Id", value: (run) => run.run_id,
      cell: (run) => kd.element("code", {}, run.run_id.slice(0, 8)),
    },
  ];
};

const statusCell = (run) =>
  kd.element("span", { class: "state", "data-state": run.status, title: run.error?.message }, run.status);

const DIFFERENCE_TITLES = {
  scratch: "Paired difference of test accuracy to the scratch twins; the band is the smallest effect of interest",
  uniform: "Paired difference of test accuracy to the uniform control; the band is the smallest effect of interest",
};

/** A paired difference: its interval drawn, its numbers, its verdict. */
const differenceColumns = (kind) => {
  const found = (one) => one.against(kind)?.metrics["test/accuracy"];
  return [
    {
      key: `difference:${kind}`,
      label: `Δ accuracy to ${kind}`,
      title: DIFFERENCE_TITLES[kind],
      number: true,
      class: "difference-cell",
      value: (one) => found(one)?.numbers[0],
      cell: (one) => (found(one) ? kd.element(
        "span", { class: "with-plot" }, intervalPlot(found(one).numbers, kind), found(one).text) : null),
    },
    {
      key: `verdict:${kind}`,
      label: "Verdict",
      value: (one) => found(one)?.verdict?.split(" (")[0],
      cell: (one) => kd.verdict(found(one)?.verdict),
    },
  ];
};

const configurationColumns = () => {
  const some = (test) => study.configurations.some(test);
  const kinds = ["scratch", "uniform"].filter((kind) => some((one) => one.against(kind)?.metrics["test/accuracy"]));
  const metrics = [...defaultMetrics(), ...state.extra.filter((key) => !defaultMetrics().includes(key))];
  return [
    tickColumn,
    nameColumn("Setting"),
    ...(study.datasets.length > 1 ? [textColumn("data", "Data")] : []),
    { key: "n", label: "n", title: "Independent units", number: true, value: (one) => one.n },
    ...(some((one) => one.failed) ? [{
      key: "failed", label: "Failed", number: true, value: (one) => one.failed,
    }] : []),
    ...metrics.slice(0, 1).map(metricColumn),
    ...kinds.slice(0, 1).flatMap(differenceColumns),
    ...(some((one) => one.retained) ? [retainedColumn] : []),
    ...metrics.slice(1).map(metricColumn),
    ...kinds.slice(1).flatMap(differenceColumns),
  ];
};

const retainedColumn = {
  key: "retained",
  label: "Retained",
  title: "Mean test accuracy over that of the network that taught (ratio, Fieller interval)",
  number: true,
  value: (one) => one.retained?.numbers[0],
  cell: (one) => one.retained?.text,
};

const columnsOf = (level = state.level) => (level === "runs" ? runColumns() : configurationColumns());

/** The largest difference of a kind, so that all its intervals are drawn to one scale. */
const reach = (kind) => Math.max(...study.configurations.flatMap((one) => {
  const found = one.against(kind)?.metrics["test/accuracy"]?.numbers;
  return found ? [0, 1, 2].map((part) => Math.abs(found[part] ?? 0)) : [];
}), 1e-9);

/** An interval on a line: zero, the band of the smallest effect of interest, estimate and ends. */
const intervalPlot = ([estimate, low, high], kind, width = 110, height = 18) => {
  const most = reach(kind) * 1.06, middle = height / 2;
  const at = (value) => (width / 2) * (1 + Math.max(-1, Math.min(1, value / most)));
  const band = Number(study.header.sesoi?.["test/accuracy"] ?? study.header.sesoi?.accuracy ?? 0.005);
  const line = (x1, x2, y1, y2, name) => kd.svg("line", { x1, x2, y1, y2, class: name });
  return kd.svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    kd.svg("rect", { x: at(-band), width: at(band) - at(-band), y: 1, height: height - 2, class: "plot-band" }),
    line(at(0), at(0), 1, height - 1, "plot-zero"),
    ...(low === null ? [] : [line(at(low), at(high), middle, middle, "plot-line")]),
    kd.svg("circle", { cx: at(estimate), cy: middle, r: height / 5, class: "plot-dot" }));
};
