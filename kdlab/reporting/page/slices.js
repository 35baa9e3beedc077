/* Slices: what each shift costs each network, as a map of colours. */

const MOST_MAP_COLUMNS = 60;
const TO_SCRATCH = "gap to scratch";

const sliceMetrics = () => {
  const names = Object.keys(study.slices);
  const quantities = ["gap", "accuracy", "ece", "agreement"].filter((part) => names.some((name) => isMeasured(`${name}/${part}`, study.runs)));
  return state.level === "configurations" && quantities.includes("gap") ? [TO_SCRATCH, ...quantities] : quantities;
};

const sliceMetric = () => (sliceMetrics().includes(state.slice) ? state.slice : sliceMetrics().includes("gap") ? "gap" : sliceMetrics()[0]);

const SLICE_WORDS = {
  gap: "accuracy lost", accuracy: "accuracy", ece: "ECE", agreement: "agreement with the teacher", [TO_SCRATCH]: "accuracy lost more than the scratch twins",
};

/** All configurations that are shown, or the runs compared. */
const mapColumns = () => {
  const some = ticked().length || state.level === "runs" ? compared() : shownItems();
  return some.filter((item) => mapRows().some((name) => cellOf(item, name) !== null)).slice(0, MOST_MAP_COLUMNS);
};

const mapRows = () => Object.keys(study.slices);

const cellOf = (item, name) => {
  if (sliceMetric() === TO_SCRATCH) return item.gaps_to_scratch?.[name]?.[0] ?? null;
  return item.value(`${name}/${sliceMetric()}`);
};

const sayCell = (item, name) => {
  if (sliceMetric() !== TO_SCRATCH) return sayInterval(item, `${name}/${sliceMetric()}`);
  const [estimate, low, high, n] = item.gaps_to_scratch[name];
  return `${kd.signed(estimate)}${low === null ? "" : ` [${kd.signed(low)}, ${kd.signed(high)}]`}, n = ${n}`;
};

/** Diverging around 0 for what is lost, from pale to deep for what cannot be negative. */
const mapScale = (values) => {
  const most = Math.max(...values.map(Math.abs), 1e-6);
  const paper = kd.isDark() ? "#24282d" : "#f7f4ee";
  const loss = kd.isDark() ? ["#8a4a1c", "#f08a45"] : ["#f3b98f", "#c24e00"];
  const gain = kd.isDark() ? ["#1d5f86", "#63b9ea"] : ["#9cc8e3", "#00619a"];
  if (["gap", TO_SCRATCH].includes(sliceMetric())) return { min: -most, max: most, inRange: { color: [gain[1], gain[0], paper, loss[0], loss[1]] } };
  return { min: Math.min(...values), max: Math.max(...values), inRange: { color: [paper, ...gain] } };
};

const slicesOption = () => {
  const columns = mapColumns(), rows = mapRows();
  const cells = columns.flatMap((item, x) => rows.map((name, y) => [x, y, cellOf(item, name)])).filter(([, , value]) => value !== null);
  const room = (kd.byId("slices").clientWidth - 170) / Math.max(1, columns.length);
  const written = room >= 34;
  const scale = mapScale(cells.map(([, , value]) => value));
  const deep = (value) => Math.abs(value) > 0.78 * Math.max(Math.abs(scale.min), Math.abs(scale.max));
  const signed = sliceMetric() === TO_SCRATCH;
  const write = (value) => (signed ? kd.signed(value, room > 50 ? 3 : 2) : kd.fixed(value, room > 44 ? 3 : 2));
  const marks = slots();
  const steep = room < 110;
  return {
    grid: { left: 128, right: steep ? 70 : 12, top: steep ? 110 : 44, bottom: 56 },
    tooltip: { trigger: "item", confine: true, formatter: ({ value: [x, y] }) => kd.tip(columns[x].label, [
      [rows[y], sayCell(columns[x], rows[y])], ["reference", study.slices[rows[y]].reference ?? ""],
      ["accuracy", columns[x].value(`${rows[y]}/accuracy`) === null ? kd.NOTHING : sayInterval(columns[x], `${rows[y]}/accuracy`)]]) },
    xAxis: { type: "category", position: "top", data: columns.map((item) => item.id), axisLine: { show: false },
      axisLabel: { interval: 0, rotate: steep ? -50 : 0, width: steep ? 120 : room - 8, overflow: steep ? "truncate" : "break",
        hideOverlap: room < 12, formatter: (id) => study.byId.get(id).label,
        color: (id) => (marks.has(id) ? kd.colour("ink") : kd.colour("soft")), fontSize: 11.5 } },
    yAxis: { type: "category", inverse: true, data: rows, axisLine: { show: false },
      axisLabel: { interval: 0, width: 118, overflow: "truncate", color: (name) => kd.colour(study.slices[name].ood ? "ink" : "soft") } },
    visualMap: { type: "continuous", ...scale, calculable: false, orient: "horizontal", left: 120, bottom: 4, itemWidth: 12, itemHeight: 160,
      text: [kd.number(scale.max, 2), kd.number(scale.min, 2)], textStyle: { color: kd.colour("soft") } },
    series: [{ type: "heatmap", data: cells, itemStyle: { borderColor: kd.colour("surface"), borderWidth: 1 }, progressive: 0,
      label: { show: written, fontSize: 10.5, formatter: ({ value }) => write(value[2]) },
      emphasis: { itemStyle: { borderColor: kd.colour("ink"), borderWidth: 1.5 } } }].map((one) => ({ ...one,
      data: cells.map((value) => ({ value, label: { color: deep(value[2]) === kd.isDark() ? "#141619" : deep(value[2]) ? "#ffffff" : kd.colour("ink") } })) })),
  };
};

const slicesFigure = {
  id: "slices",
  title: "What each shift costs",
  wide: true,
  available: () => Object.keys(study.slices).length > 0 && sliceMetrics().length > 0,
  controls: () => kd.element("span", { id: "slice-choice" }),
  refreshControls: () => kd.byId("slice-choice").replaceChildren(choice("slice-metric", "What the colours show",
    sliceMetrics().map((name) => [name, SLICE_WORDS[name]]), sliceMetric(), (slice) => change({ slice }))),
  height: () => 180 + 24 * mapRows().length,
  shows: () => `${state.level}|${sliceMetric()}|${idsOf(mapColumns())}|${idsOf(compared())}`,
  option: slicesOption,
  onBegin: (chart) => chart.on("click", ({ value }) => change({ open: mapColumns()[value[0]].id })),
  caption: () => {
    const meaning = { gap: "Accuracy on the slice's reference minus accuracy on the slice: orange is lost, blue is gained.",
      [TO_SCRATCH]: "Paired difference of the gap to that of the scratch twins: orange loses more than they do, blue less." }[sliceMetric()] ??
      `${SLICE_WORDS[sliceMetric()]} on every slice: deeper is more.`;
    const ood = Object.values(study.slices).some((facts) => !facts.ood) ? " Slices in grey do not count into the mean OOD gap." : "";
    return `${meaning}${state.level === "runs" ? " Columns are the runs compared." : " Columns are the configurations shown, or those ticked; means over units."}${ood}`;
  },
  numbers: () => ({
    columns: [
      { key: "slice", label: "Slice", header: true, value: (name) => name },
      { key: "ood", label: "OOD", value: (name) => (study.slices[name].ood ? "yes" : "no") },
      ...mapColumns().map((item) => ({ key: item.id, label: item.label, number: true, value: (name) => cellOf(item, name),
        cell: (name) => (cellOf(item, name) === null ? kd.NOTHING : sayCell(item, name)) })),
    ],
    rows: mapRows(),
  }),
};
