/* Parallel coordinates: the knobs that vary, then what came of it. Drawing along an axis filters everything. */

const OUTCOMES = () => [mainAccuracy(), mainEce(), "ood/mean_gap", LATENCY];
const MOST_PLACES = 14; // distinct numbers of a knob that are spaced evenly, each with its label
const NONE = "none";

/** The items that have a place in it: students and their twins. Teachers have no student's knobs. */
const parallelItems = (some) => some.filter((item) => item.role !== "teacher");

/** The axes of the present level: of a knob the values in order, of a metric a scale. */
const axes = () => {
  const cached = axesCache.get(state.level);
  if (cached) return cached;
  const all = parallelItems(items());
  const arms = all.some((item) => item.role === "student" && item.arm) && new Set(all.map(armOf)).size > 1;
  const ofArms = new Set(Object.values(study.header.arms ?? {}).flat().map((text) => text.split("=")[0].replace(/^[+~]*/, "")));
  const knobs = study.knobs.filter(({ key }) => !(arms && ofArms.has(key)));
  const found = [
    ...(study.datasets.length > 1 ? [placesAxis("data", "data", all, (item) => item.data)] : []),
    ...(arms ? [placesAxis("arm", "arm", all, armOf)] : []),
    ...knobs.map(({ key, name }) => knobAxis(key, name, all)),
    ...OUTCOMES().filter((key) => isMeasured(key, all)).map((key) => scaleAxis(key, labelOf(key), all, (item) => item.value(key))),
  ].filter(Boolean);
  axesCache.set(state.level, found);
  return found;
};
const axesCache = new Map();

const armOf = (item) => item.arm && item.role === "student" ? item.arm : item.role;

const axisOf = (key) => axes().find((axis) => axis.key === key) ?? null;

const knobAxis = (key, name, all) => {
  const values = [...new Set(all.map((item) => item.knob(key)).filter((value) => value !== null))];
  if (values.length < 2) return null;
  if (values.length > MOST_PLACES && values.every(isNumber)) return scaleAxis(key, name, all, (item) => knobValue(item, key));
  return placesAxis(key, name, all, (item) => item.knob(key));
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
    key, label, values: ordered,
    position: (item) => place.get(named(item)) ?? null,
    say: ([low, high]) => ordered.filter((_, number) => low <= number && number <= high).join(", ") || "nothing",
    option: { type: "category", data: ordered.map((value) => shorten(value, 16)), axisLabel: { showMinLabel: true, showMaxLabel: true } },
  };
};

/** A scale of numbers, logarithmic where they span more than a decade and a half. */
const scaleAxis = (key, label, all, read) => {
  const values = all.map(read).filter((value) => typeof value === "number");
  if (new Set(values).size < 2) return null;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const log = low > 0 && high / low > 30;
  const room = (high - low || Math.abs(high) || 1) * 0.04;
  return {
    key, label, read,
    position: (item) => (typeof read(item) === "number" ? read(item) : null),
    say: ([from, to]) => `${kd.number(from, 3)} to ${kd.number(to, 3)}`,
    option: log
      ? { type: "log", min: low / 1.1, max: high * 1.1 }
      : { type: "value", scale: true, min: low - room, max: high + room },
  };
};

/** The items the chart holds: those that pass all but its own ranges, which it greys by itself. */
const parallelShown = () => parallelItems(passing("brushes")).filter((item) => axes().some((axis) => axis.position(item) !== null));

const parallelOption = () => {
  const marks = slots();
  const shown = parallelShown();
  const line = (item) => {
    const marked = marks.has(item.id) && (ticked().length > 0 || state.level === "configurations");
    const many = shown.length > 60;
    return {
      value: axes().map((axis) => axis.position(item) ?? NaN),
      id: item.id,
      lineStyle: { color: colourOf(item), width: marked ? 3 : many ? 1 : 1.5, opacity: marked ? 1 : many ? 0.28 : 0.5 },
      marked,
    };
  };
  const lines = shown.map(line);
  const narrow = kd.byId("parallel").clientWidth < 600;
  const colours = { ink: kd.colour("ink"), soft: kd.colour("soft"), accent: kd.colour("accent") };
  const series = (data, z) => ({ type: "parallel", data, z, smooth: 0.03, inactiveOpacity: 0.04, activeOpacity: 1, progressive: 0,
    emphasis: { lineStyle: { width: 4, opacity: 1 } } });
  return {
    tooltip: { trigger: "item", confine: true,
      formatter: ({ data }) => {
        const item = study.byId.get(data.id);
        return kd.tip(item.label, tipRows(item, OUTCOMES()));
      } },
    parallel: {
      left: axes()[0].values ? 112 : 60, right: narrow ? 46 : 70, top: 42, bottom: 20,
      parallelAxisDefault: {
        realtime: false,
        nameLocation: "end", nameGap: 16, nameTextStyle: { color: colours.ink, fontSize: 13, fontWeight: 600 },
        axisLine: { lineStyle: { color: colours.soft, width: 1.2 } }, axisTick: { show: false },
        axisLabel: { color: colours.soft, fontSize: 11.5, formatter: (value) => (typeof value === "number" ? kd.number(value, 3) : value),
          showMinLabel: false, showMaxLabel: false,
          textBorderColor: kd.colour("surface"), textBorderWidth: 3 },
        areaSelectStyle: { width: 18, borderWidth: 1, borderColor: colours.accent, color: colours.accent, opacity: 0.25 },
      },
    },
    parallelAxis: axes().map((axis, dim) => ({ dim, id: axis.key, name: axis.label, ...axis.option,
      ...(dim === 0 && axis.values ? { axisLabel: { align: "right", margin: -8, showMinLabel: true, showMaxLabel: true } } : {}) })),
    series: [series(lines.filter((one) => !one.marked), 2), series(lines.filter((one) => one.marked), 3)],
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

const parallelFigure = {
  id: "parallel",
  title: "What leads to what",
  wide: true,
  available: () => axes().length > 1 && parallelItems(study.configurations).length > 1,
  height: () => Math.max(380, 90 + 15 * Math.max(...axes().map((axis) => axis.values?.length ?? 0))),
  shows: () => `${state.level}|${idsOf(parallelShown())}|${idsOf(compared())}|${idsOf(ticked())}|${drawnRanges.changes}`,
  option: parallelOption,
  onBegin: (chart) => {
    chart.on("axisareaselected", onAxisDrawn);
    chart.on("click", (event) => event.data?.id && change({ open: event.data.id }));
  },
  afterDraw: (chart) => {
    for (const [key, intervals] of Object.entries(state.brushes)) {
      if (axisOf(key) && intervals.length) chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: key, intervals, restored: true });
    }
  },
  caption: () => `Every line is a ${state.level === "runs" ? "run" : "configuration (mean over its units)"}, from its knobs to what came of ` +
    "it. Draw along an axis to keep only what passes there; click on the axis to let go, on a line to see all of it. " +
    "Wide lines are those compared.",
  numbers: () => ({
    columns: [
      { key: "label", label: state.level === "runs" ? "Run" : "Setting", header: true, value: (item) => item.label },
      ...axes().map((axis) => ({ key: axis.key, label: axis.label, number: Boolean(axis.read), value: (item) => axis.position(item),
        cell: (item) => (axis.read ? kd.number(axis.read(item)) : axis.values[axis.position(item)]) })),
    ],
    rows: parallelItems(shownItems()),
  }),
};
