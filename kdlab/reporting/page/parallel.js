/* Parallel coordinates: the knobs that vary, then what came of it. Drawing along an axis filters everything. */

const MOST_PLACES = 14; // distinct numbers of a knob that are spaced evenly, each with its label
const MANY_LINES = 60;
const NONE = "none";

const outcomes = () => [mainAccuracy(), mainEce(), "ood/mean_gap", LATENCY];

/** The items that have a place in it: students and their twins. Teachers have no student's knobs. */
const parallelItems = (some) => some.filter((item) => item.role !== "teacher");

/** The items the chart holds: those that pass all but its own ranges, which it greys by itself. */
const parallelShown = () =>
  parallelItems(passing("brushes")).filter((item) => axes().some((axis) => axis.position(item) !== null));

/** What stands before its arms and knobs: the arm of a student, the role of its twin. */
const armOf = (item) => (item.arm && item.role === "student" ? item.arm : item.role);

// ---- The axes: `{key, label, position(item), say(range), option}`; `values` where they are places, `read` of a scale.

const axesOfLevel = new Map();

/** The axes of the present level. */
const axes = () => {
  if (!axesOfLevel.has(state.level)) axesOfLevel.set(state.level, makeAxes(parallelItems(items())));
  return axesOfLevel.get(state.level);
};

const axisOf = (key) => axes().find((axis) => axis.key === key) ?? null;

const makeAxes = (all) => {
  const arms = all.some((item) => item.role === "student" && item.arm) && new Set(all.map(armOf)).size > 1;
  const overrides = Object.values(study.header.arms ?? {}).flat();
  const ofArms = new Set(overrides.map((text) => text.split("=")[0].replace(/^[+~]*/, "")));
  const knobs = study.knobs.filter(({ key }) => !(arms && ofArms.has(key)));
  return [
    study.datasets.length > 1 && placesAxis("data", "data", all, (item) => item.data),
    arms && placesAxis("arm", "arm", all, armOf),
    ...knobs.map(({ key, name }) => knobAxis(key, name, all)),
    ...outcomes().map((key) => scaleAxis(key, labelOf(key), all, (item) => item.value(key))),
  ].filter(Boolean);
};

const knobAxis = (key, name, all) => {
  const values = [...new Set(all.map((item) => item.knob(key)).filter((value) => value !== null))];
  if (values.length < 2) return null;
  const many = values.length > MOST_PLACES && values.every(isNumber);
  return many
    ? scaleAxis(key, name, all, (item) => knobValue(item, key))
    : placesAxis(key, name, all, (item) => item.knob(key));
};

/** Evenly spaced values, in order; grids of T or width double from value to value, so that reads as a log scale. */
const placesAxis = (key, label, all, read) => {
  const named = (item) => read(item) ?? NONE;
  const values = [...new Set(all.map(named))].filter((value) => value !== NONE).sort(kd.compare);
  const upwards = values.every(isNumber) ? values : values.reverse(); // text reads from the top
  const ordered = all.some((item) => named(item) === NONE) ? [NONE, ...upwards] : upwards;
  if (ordered.length < 2) return null;
  const place = new Map(ordered.map((value, number) => [value, number]));
  return {
    key,
    label,
    values: ordered,
    position: (item) => place.get(named(item)) ?? null,
    say: ([low, high]) => ordered.filter((_, number) => low <= number && number <= high).join(", ") || "nothing",
    option: {
      type: "category",
      data: ordered.map((value) => shorten(value, 16)),
      axisLabel: { showMinLabel: true, showMaxLabel: true },
    },
  };
};

/** A scale of numbers, logarithmic where they span more than a decade and a half; none where all are equal. */
const scaleAxis = (key, label, all, read) => {
  const values = all.map(read).filter((value) => typeof value === "number");
  const [low, high] = [smallest(values), largest(values)];
  if (!values.length || low === high) return null;
  const room = (high - low) * 0.04;
  const isLog = low > 0 && high / low > 30;
  return {
    key,
    label,
    read,
    position: (item) => (typeof read(item) === "number" ? read(item) : null),
    say: ([from, to]) => `${kd.number(from, 3)} to ${kd.number(to, 3)}`,
    option: isLog
      ? { type: "log", min: low / 1.1, max: high * 1.1 }
      : { type: "value", scale: true, min: low - room, max: high + room },
  };
};

// ---- The chart.

const parallelLine = (item, marked, many) => ({
  value: axes().map((axis) => axis.position(item) ?? NaN),
  id: item.id,
  marked,
  lineStyle: {
    color: colourOf(item),
    width: marked ? 3 : many ? 1 : 1.5,
    opacity: marked ? 1 : many ? 0.28 : 0.5,
  },
});

const parallelSeries = (data, z) => ({
  type: "parallel",
  data,
  z,
  smooth: 0.03,
  progressive: 0,
  inactiveOpacity: 0.04,
  activeOpacity: 1,
  emphasis: { lineStyle: { width: 4, opacity: 1 } },
});

/** How all axes look; labels have a rim, for lines pass behind them. */
const axisStyle = () => ({
  realtime: false,
  nameLocation: "end",
  nameGap: 16,
  nameTextStyle: { color: kd.colour("ink"), fontSize: 13, fontWeight: 600 },
  axisLine: { lineStyle: { color: kd.colour("soft"), width: 1.2 } },
  axisTick: { show: false },
  axisLabel: {
    color: kd.colour("soft"),
    fontSize: 11.5,
    formatter: (value) => (typeof value === "number" ? kd.number(value, 3) : value),
    showMinLabel: false,
    showMaxLabel: false,
    textBorderColor: kd.colour("surface"),
    textBorderWidth: 3,
  },
  areaSelectStyle: {
    width: 18,
    borderWidth: 1,
    borderColor: kd.colour("accent"),
    color: kd.colour("accent"),
    opacity: 0.25,
  },
});

/** The first axis has its names on its left, where no line passes. */
const FIRST_LABELS = { axisLabel: { align: "right", margin: -8, showMinLabel: true, showMaxLabel: true } };

const parallelOption = () => {
  const marks = slots();
  const shown = parallelShown();
  const telling = ticked().length > 0 || state.level === "configurations";
  const lines = shown.map((item) => parallelLine(item, telling && marks.has(item.id), shown.length > MANY_LINES));
  const named = axes()[0].values !== undefined;
  return {
    tooltip: {
      trigger: "item",
      confine: true,
      formatter: ({ data }) => {
        const item = study.byId.get(data.id);
        return kd.tip(item.label, tipRows(item, outcomes()));
      },
    },
    parallel: { left: named ? 112 : 60, right: 70, top: 42, bottom: 20, parallelAxisDefault: axisStyle() },
    parallelAxis: axes().map((axis, dim) => ({
      dim,
      id: axis.key,
      name: axis.label,
      ...axis.option,
      ...(dim === 0 && named ? FIRST_LABELS : {}),
    })),
    series: [
      parallelSeries(lines.filter((one) => !one.marked), 2),
      parallelSeries(lines.filter((one) => one.marked), 3),
    ],
  };
};

/** What the chart shows as drawn along its axes, and how often that was changed from elsewhere: only then it is drawn
    anew, since drawing takes away the range under the hand. */
const drawnRanges = { text: "{}", changes: 0 };
onChange(() => {
  if (JSON.stringify(state.brushes) === drawnRanges.text) return;
  drawnRanges.text = JSON.stringify(state.brushes);
  drawnRanges.changes += 1;
});

const onAxisDrawn = (event) => {
  if (event.restored) return;
  const ranges = (event.intervals ?? []).map((range) => range.map(sixDigits));
  const brushes = { ...state.brushes, [event.parallelAxisId]: ranges };
  if (!ranges.length) delete brushes[event.parallelAxisId];
  drawnRanges.text = JSON.stringify(brushes);
  setTimeout(() => change({ brushes })); // not from within the chart, which draws itself just now
};

const restoreRanges = (chart) => {
  for (const [key, intervals] of Object.entries(state.brushes)) {
    if (!axisOf(key) || !intervals.length) continue;
    chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: key, intervals, restored: true });
  }
};

const parallelFigure = {
  id: "parallel",
  title: "What leads to what",
  wide: true,
  available: () => axes().length > 1 && parallelItems(study.configurations).length > 1,
  height: () => Math.max(380, 90 + 15 * largest(axes().map((axis) => axis.values?.length ?? 0))),
  shows: () =>
    [state.level, idsOf(parallelShown()), idsOf(compared()), ticked().length, drawnRanges.changes].join("|"),
  option: parallelOption,
  onBegin: (chart) => {
    chart.on("axisareaselected", onAxisDrawn);
    chart.on("click", ({ data }) => data?.id && change({ open: data.id }));
  },
  afterDraw: restoreRanges,
  caption: () => {
    const line = state.level === "runs" ? "run" : "configuration (mean over its units)";
    return `Every line is a ${line}, from its knobs to what came of it. Draw along an axis to keep only what passes ` +
      "there; click on the axis to let go, on a line to see all of it. Wide lines are those compared.";
  },
  numbers: () => {
    const column = (axis) => ({
      key: axis.key,
      label: axis.label,
      number: Boolean(axis.read),
      value: (item) => axis.position(item),
      cell: (item) => (axis.read ? kd.number(axis.read(item)) : axis.values[axis.position(item)]),
    });
    return {
      columns: [
        { key: "label", label: state.level === "runs" ? "Run" : "Setting", header: true, value: (item) => item.label },
        ...axes().map(column),
      ],
      rows: parallelItems(shownItems()),
    };
  },
};
