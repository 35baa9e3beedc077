/* Slices: what each shift costs each network, as a map of colours. */

const MOST_MAP_COLUMNS = 60;
const TO_SCRATCH = "gap to scratch";

const SLICE_WORDS = {
  gap: "accuracy lost",
  [TO_SCRATCH]: "accuracy lost more than the scratch twins",
  accuracy: "accuracy",
  ece: "ECE",
  agreement: "agreement with the teacher",
};

const SLICE_CAPTIONS = {
  gap: "Accuracy on the slice's reference minus accuracy on the slice: orange is lost, blue is gained.",
  [TO_SCRATCH]: "Paired difference of the gap to that of the scratch twins: orange loses more than they do, blue less.",
};

const mapRows = () => Object.keys(study.slices);

/** What the colours may show at the present level. */
const sliceMetrics = () => {
  const measured = (quantity) => mapRows().some((name) => isMeasured(`${name}/${quantity}`));
  return Object.keys(SLICE_WORDS).filter((name) =>
    name === TO_SCRATCH ? state.level === "configurations" && measured("gap") : measured(name));
};

const sliceMetric = () => {
  const known = sliceMetrics();
  return known.includes(state.slice) ? state.slice : known[0];
};

/** Where 0 is in the middle of the colours. */
const isSigned = () => ["gap", TO_SCRATCH].includes(sliceMetric());

/** All configurations that are shown or those ticked; of runs, those compared. */
const mapColumns = () => {
  const some = ticked().length || state.level === "runs" ? compared() : shownItems();
  const metric = sliceMetric();
  const filled = some.filter((item) => mapRows().some((name) => cellOf(item, name, metric) !== null));
  return filled.slice(0, MOST_MAP_COLUMNS);
};

const cellOf = (item, name, metric) =>
  (metric === TO_SCRATCH ? item.gaps_to_scratch?.[name]?.[0] : item.value(`${name}/${metric}`)) ?? null;

const sayCell = (item, name, metric) => {
  if (metric !== TO_SCRATCH) return sayInterval(item, `${name}/${metric}`);
  const [estimate, low, high, n] = item.gaps_to_scratch[name];
  return `${kd.signed(estimate)}${low === null ? "" : ` [${kd.signed(low)}, ${kd.signed(high)}]`}, n = ${n}`;
};

/** The colours of a map: of nothing, and from pale to deep on its two sides. */
const mapColours = () => (kd.isDark()
  ? { paper: "#24282d", loss: ["#8a4a1c", "#f08a45"], gain: ["#1d5f86", "#63b9ea"] }
  : { paper: "#f7f4ee", loss: ["#f3b98f", "#c24e00"], gain: ["#9cc8e3", "#00619a"] });

/** Diverging around 0 for what is lost, from pale to deep for what cannot be negative. */
const mapScale = (values) => {
  const { paper, loss, gain } = mapColours();
  if (!isSigned()) return { min: smallest(values), max: largest(values), inRange: { color: [paper, ...gain] } };
  const most = largest(values.map(Math.abs));
  return { min: -most, max: most, inRange: { color: [gain[1], gain[0], paper, ...loss] } };
};

/** Cells with their numbers, in an ink that can be read on their colour. */
const mapCells = (columns, scale, metric) => {
  const most = Math.max(Math.abs(scale.min), Math.abs(scale.max));
  return columns.flatMap((item, x) => mapRows().map((name, y) => {
    const value = cellOf(item, name, metric);
    return value === null ? null : { value: [x, y, value], label: { color: inkOn(Math.abs(value), most) } };
  })).filter(Boolean);
};

const slicesOption = () => {
  const [columns, rows, metric] = [mapColumns(), mapRows(), sliceMetric()];
  const values = columns.flatMap((item) => rows.map((name) => cellOf(item, name, metric)));
  const scale = mapScale(values.filter((value) => value !== null));
  const room = (kd.byId("slices").clientWidth - 170) / Math.max(1, columns.length); // pixels for a column
  const steep = room < 110;
  const decimals = room > 44 ? 3 : 2;
  const write = (value) => (metric === TO_SCRATCH ? kd.signed(value, decimals) : kd.fixed(value, decimals));
  const marks = slots();
  return {
    grid: { left: 128, right: steep ? 70 : 12, top: steep ? 110 : 44, bottom: 56 },
    tooltip: {
      trigger: "item",
      confine: true,
      formatter: ({ value: [x, y] }) => {
        const [item, name] = [columns[x], rows[y]];
        const accuracy = item.interval(`${name}/accuracy`);
        return kd.tip(item.label, [
          [`${name}, ${SLICE_WORDS[metric]}`, sayCell(item, name, metric)],
          ...(accuracy && metric !== "accuracy" ? [["accuracy", sayInterval(item, `${name}/accuracy`)]] : []),
          ["reference", study.slices[name].reference ?? kd.NOTHING],
        ]);
      },
    },
    xAxis: {
      type: "category",
      position: "top",
      data: columns.map((item) => item.id),
      axisLine: { show: false },
      axisLabel: {
        interval: 0,
        rotate: steep ? -50 : 0,
        width: steep ? 120 : room - 8,
        overflow: steep ? "truncate" : "break",
        hideOverlap: room < 12,
        formatter: (id) => study.byId.get(id).label,
        color: (id) => kd.colour(marks.has(id) ? "ink" : "soft"),
        fontSize: 11.5,
      },
    },
    yAxis: {
      type: "category",
      inverse: true,
      data: rows,
      axisLine: { show: false },
      axisLabel: {
        interval: 0,
        width: 118,
        overflow: "truncate",
        color: (name) => kd.colour(study.slices[name]?.ood ? "ink" : "soft"),
      },
    },
    ...heatMap({ scale, left: 120, data: mapCells(columns, scale, metric), numbered: room >= 34, write }),
  };
};

const slicesFigure = {
  id: "slices",
  title: "What each shift costs",
  wide: true,
  available: () => sliceMetrics().length > 0,
  controls: () => kd.element("span", { id: "slice-choice" }),
  refreshControls: () => {
    const options = sliceMetrics().map((name) => [name, SLICE_WORDS[name]]);
    const choose = (slice) => change({ slice });
    const select = choice("slice-metric", "What the colours show", options, sliceMetric(), choose);
    kd.byId("slice-choice").replaceChildren(select);
  },
  height: () => 180 + 24 * mapRows().length,
  shows: () => [state.level, sliceMetric(), idsOf(mapColumns()), idsOf(compared())].join("|"),
  option: slicesOption,
  onBegin: (chart) => chart.on("click", ({ value }) => change({ open: mapColumns()[value[0]].id })),
  caption: () => {
    const meaning = SLICE_CAPTIONS[sliceMetric()] ?? `${SLICE_WORDS[sliceMetric()]} on every slice: deeper is more.`;
    const columns = state.level === "runs"
      ? "Columns are the runs compared."
      : "Columns are the configurations shown, or those ticked; means over units.";
    const someDoNot = Object.values(study.slices).some((facts) => !facts.ood);
    return `${meaning} ${columns}${someDoNot ? " Slices in grey do not count into the mean OOD gap." : ""}`;
  },
  numbers: () => {
    const metric = sliceMetric();
    const column = (item) => ({
      key: item.id,
      label: item.label,
      number: true,
      value: (name) => cellOf(item, name, metric),
      cell: (name) => (cellOf(item, name, metric) === null ? kd.NOTHING : sayCell(item, name, metric)),
    });
    return {
      columns: [
        { key: "slice", label: "Slice", header: true, value: (name) => name },
        { key: "ood", label: "OOD", value: (name) => (study.slices[name].ood ? "yes" : "no") },
        ...mapColumns().map(column),
      ],
      rows: mapRows(),
    };
  },
};
