/* Training curves of what is compared: of a run its own, of a configuration all of its runs and their mean. */

const FIRST_CURVES = ["validation/accuracy", "train/loss"];
const MOST_THIN_LINES = 120;

const curveKeys = () => {
  const keys = new Set(study.runs.flatMap((run) => run.curveKeys));
  return [...FIRST_CURVES.filter((key) => keys.has(key)), ...[...keys].filter((key) => !FIRST_CURVES.includes(key)).sort(kd.compare)];
};

const curveKey = () => (curveKeys().includes(state.curve) ? state.curve : curveKeys()[0]);

const withCurve = (item) => (item.level === "runs" ? item.curve(curveKey()) !== null : item.runs.some((run) => run.curve(curveKey())));

const pairs = ([steps, values]) => steps.map((step, place) => [step, values[place]]);

const curveSeries = (item, thin) => {
  const colour = colourOf(item);
  const line = (data, style, more = {}) => ({ type: "line", name: item.label, data, symbol: "none", color: colour, lineStyle: { width: 2.2, ...style },
    ...more });
  if (item.level === "runs") return [line(pairs(item.curve(curveKey())), {}, { endLabel: endLabel(item, colour), id: item.id })];
  const own = item.runs.filter((run) => run.curve(curveKey()));
  const singles = thin ? own.map((run) => line(pairs(run.curve(curveKey())), { width: 1, opacity: 0.22 }, { silent: true, tooltip: { show: false } })) : [];
  const band = item.curve(curveKey());
  if (!band) return singles;
  const [steps, means, lows, highs] = band;
  const stack = `band ${item.id}`;
  const edge = (data, more) => ({ type: "line", stack, data, symbol: "none", silent: true, lineStyle: { opacity: 0 }, tooltip: { show: false }, ...more });
  const bands = lows.some((low) => low === null) ? [] : [
    edge(pairs([steps, lows])),
    edge(pairs([steps, highs.map((high, place) => high - lows[place])]), { areaStyle: { color: colour, opacity: 0.16 } }),
  ];
  return [...singles, ...bands, line(pairs([steps, means]), {}, { endLabel: endLabel(item, colour), z: 4, id: item.id })];
};

const isWide = () => kd.byId("curves").clientWidth > 520;

const endLabel = (item, colour) => ({ show: isWide(), formatter: shorten(item.label, 26), color: colour, fontSize: 11.5, distance: 6 });

const curvesOption = () => {
  const shown = compared().filter(withCurve);
  const lines = shown.reduce((sum, item) => sum + (item.runs?.length ?? 1), 0);
  const wide = isWide();
  return {
    legend: wide ? { show: false } : { top: 0, left: 0, type: "plain", data: [...new Set(shown.map((item) => item.label))] },
    grid: { left: 58, right: wide ? 190 : 16, top: wide ? 24 : 30 + 22 * Math.min(shown.length, 8), bottom: 46 },
    labelLayout: { moveOverlap: "shiftY" },
    tooltip: { trigger: "axis", confine: true, formatter: (points) => {
      const told = points.filter((one) => study.byId.has(one.seriesId));
      return kd.tip(`step ${kd.number(points[0]?.value[0])}`, told.map((one) => [shorten(one.seriesName), kd.number(one.value[1])]));
    } },
    xAxis: { type: "value", name: "optimizer step", nameLocation: "middle", nameGap: 28, max: "dataMax", splitLine: { show: false },
      axisLabel: { showMaxLabel: false } },
    yAxis: { type: "value", scale: true, name: curveKey(), nameGap: 10, nameTextStyle: { align: "left", padding: [0, 0, 0, -48] }, axisLine: { show: false },
      axisLabel: { formatter: (value) => kd.number(value, 3) } },
    series: shown.flatMap((item) => curveSeries(item, lines <= MOST_THIN_LINES)).map((one) => ({ labelLayout: { moveOverlap: "shiftY" }, ...one })),
  };
};

const curvesFigure = {
  id: "curves",
  title: "Training curves",
  wide: true,
  available: () => curveKeys().length > 0,
  controls: () => choice("curve-key", "Which curve", curveKeys().map((key) => [key, key]), curveKey(), (curve) => change({ curve })),
  height: () => 390,
  shows: () => `${state.level}|${curveKey()}|${idsOf(compared())}`,
  option: curvesOption,
  caption: () => {
    const shown = compared().filter(withCurve);
    const rest = compared().length - shown.length;
    const what = state.level === "runs" ? `of ${kd.count(shown.length, "run")}` :
      "of every run (thin), their mean with its interval (wide)";
    return `${curveKey()} while training, ${what}.${rest ? ` Without this curve: ${compared().filter((item) => !withCurve(item)).map((item) => item.label).join(", ")}.` : ""}`;
  },
  numbers: () => {
    const shown = compared().filter(withCurve);
    const known = (item) => (item.level === "runs" ? item.curve(curveKey()) : item.curve(curveKey()) ?? [[], []]);
    const steps = [...new Set(shown.flatMap((item) => known(item)[0]))].sort((one, other) => one - other);
    return {
      columns: [
        { key: "step", label: "Step", header: true, number: true, value: (step) => step, cell: (step) => kd.number(step) },
        ...shown.map((item) => ({ key: item.id, label: item.label, number: true,
          value: (step) => known(item)[1][known(item)[0].indexOf(step)], cell: (step) => kd.number(known(item)[1][known(item)[0].indexOf(step)]) })),
      ],
      rows: steps,
    };
  },
};
