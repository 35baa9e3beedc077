/* Training curves of what is compared: of a run its own, of a configuration all of its runs and their mean. */

const FIRST_CURVES = ["validation/accuracy", "train/loss"];
const MOST_THIN_LINES = 120;

const curveKeys = () => (study.curveKeys ??= sortedCurveKeys());

const sortedCurveKeys = () => {
  const keys = new Set(study.runs.flatMap((run) => run.curveKeys));
  const others = [...keys].filter((key) => !FIRST_CURVES.includes(key)).sort(kd.compare);
  return [...FIRST_CURVES.filter((key) => keys.has(key)), ...others];
};

const curveKey = () => (curveKeys().includes(state.curve) ? state.curve : curveKeys()[0]);

/** The runs whose curves an item shows. */
const curveRuns = (item) =>
  (item.level === "runs" ? [item] : item.runs).filter((run) => run.curve(curveKey()) !== null);

const hasCurve = (item) => curveRuns(item).length > 0;

const pairs = ([steps, values]) => steps.map((step, place) => [step, values[place]]);

const isWide = () => kd.byId("curves").clientWidth > 520;

const curveLine = (item, data, more = {}) => ({
  type: "line",
  name: item.label,
  data,
  symbol: "none",
  color: colourOf(item),
  lineStyle: { width: 2.2 },
  labelLayout: { moveOverlap: "shiftY" },
  ...more,
});

/** A line with its name at its end, where there is room; its id tells the tooltip whose it is. */
const namedLine = (item, data) => curveLine(item, data, {
  id: item.id,
  z: 4,
  endLabel: {
    show: isWide(),
    formatter: shorten(item.label, 26),
    color: colourOf(item),
    fontSize: 11.5,
    distance: 6,
  },
});

/** The interval of a mean, as an area between two lines that are not seen. */
const bandLines = (item, steps, lows, highs) => {
  if (lows.some((low) => low === null)) return [];
  const edge = (values, more) => curveLine(item, pairs([steps, values]), {
    stack: `band ${item.id}`,
    silent: true,
    lineStyle: { opacity: 0 },
    tooltip: { show: false },
    ...more,
  });
  const area = { areaStyle: { color: colourOf(item), opacity: 0.16 } };
  return [edge(lows), edge(highs.map((high, place) => high - lows[place]), area)];
};

const thinLine = (item, run) => curveLine(item, pairs(run.curve(curveKey())), {
  lineStyle: { width: 1, opacity: 0.22 },
  silent: true,
  tooltip: { show: false },
});

const curveSeries = (item, thin) => {
  if (item.level === "runs") return [namedLine(item, pairs(item.curve(curveKey())))];
  const singles = thin ? curveRuns(item).map((run) => thinLine(item, run)) : [];
  const band = item.curve(curveKey());
  if (!band) return singles;
  const [steps, means, lows, highs] = band;
  return [...singles, ...bandLines(item, steps, lows, highs), namedLine(item, pairs([steps, means]))];
};

const curvesTip = (points) => {
  const told = points.filter((one) => study.byId.has(one.seriesId));
  const rows = told.map((one) => [shorten(one.seriesName), kd.number(one.value[1])]);
  return kd.tip(`step ${kd.number(points[0]?.value[0])}`, rows);
};

const curvesOption = () => {
  const shown = compared().filter(hasCurve);
  const thin = shown.reduce((sum, item) => sum + curveRuns(item).length, 0) <= MOST_THIN_LINES;
  const legend = { top: 0, left: 0, data: [...new Set(shown.map((item) => item.label))] };
  const top = 30 + 22 * Math.min(shown.length, 8); // below the legend
  return {
    legend: isWide() ? { show: false } : legend,
    grid: { left: 58, right: isWide() ? 190 : 16, top: isWide() ? 24 : top, bottom: 46 },
    tooltip: { trigger: "axis", confine: true, formatter: curvesTip },
    xAxis: {
      type: "value",
      name: "optimizer step",
      nameLocation: "middle",
      nameGap: 28,
      max: "dataMax",
      splitLine: { show: false },
      axisLabel: { showMaxLabel: false },
    },
    yAxis: {
      type: "value",
      scale: true,
      name: curveKey(),
      nameGap: 10,
      nameTextStyle: { align: "left", padding: [0, 0, 0, -48] },
      axisLine: { show: false },
      axisLabel: { formatter: (value) => kd.number(value, 3) },
    },
    series: shown.flatMap((item) => curveSeries(item, thin)),
  };
};

const curvesFigure = {
  id: "curves",
  title: "Training curves",
  wide: true,
  available: () => curveKeys().length > 0,
  controls: () => {
    const options = curveKeys().map((key) => [key, key]);
    return choice("curve-key", "Which curve", options, curveKey(), (curve) => change({ curve }));
  },
  height: () => 390,
  shows: () => [state.level, curveKey(), idsOf(compared())].join("|"),
  option: curvesOption,
  caption: () => {
    const shown = compared().filter(hasCurve);
    const without = compared().filter((item) => !hasCurve(item)).map((item) => item.label);
    const whose = state.level === "runs"
      ? `of ${kd.count(shown.length, "run")}`
      : "of every run (thin), their mean with its interval (wide)";
    const rest = without.length ? ` Without this curve: ${without.join(", ")}.` : "";
    return `${curveKey()} while training, ${whose}.${rest}`;
  },
  numbers: () => {
    const shown = compared().filter(hasCurve);
    const known = new Map(shown.map((item) => [item, new Map(pairs(item.curve(curveKey()) ?? [[], []]))]));
    const column = (item) => ({
      key: item.id,
      label: item.label,
      number: true,
      value: (step) => known.get(item).get(step),
      cell: (step) => kd.number(known.get(item).get(step)),
    });
    const steps = new Set([...known.values()].flatMap((values) => [...values.keys()]));
    return {
      columns: [
        { key: "step", label: "Step", header: true, number: true, value: (step) => step, cell: kd.number },
        ...shown.map(column),
      ],
      rows: [...steps].sort((one, other) => one - other),
    };
  },
};
