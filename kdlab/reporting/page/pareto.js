/* Accuracy against tail latency, with the front that nothing beats in both. */

const KINDS = [
  { kind: "teacher", symbol: "rect" }, { kind: "student", symbol: "circle" },
  { kind: "uniform", symbol: "triangle" }, { kind: "scratch", symbol: "diamond" },
];

const hasPoint = (item) => item.value(LATENCY) !== null && item.value(mainAccuracy()) !== null;

const point = (item) => [item.value(LATENCY), item.value(mainAccuracy())];

/** The items that no other beats in both, by rising latency. */
const front = (some) => {
  const found = [];
  const order = [...some].sort((one, other) => point(one)[0] - point(other)[0] || point(other)[1] - point(one)[1]);
  for (const item of order) if (!found.length || point(item)[1] > point(found.at(-1))[1]) found.push(item);
  return found;
};

/** Points inside the area are told apart by those outside being faint. */
const paretoItems = () => passing("area").filter(hasPoint);

/** Whiskers, the intervals of the accuracy: one broken line. */
const whiskers = (some) => ({
  type: "line", silent: true, symbol: "none", z: 1, tooltip: { show: false }, lineStyle: { color: kd.colour("soft"), width: 1, opacity: 0.7 },
  data: some.flatMap((item) => {
    const { low, high } = item.interval(mainAccuracy());
    return low === null ? [] : [[item.value(LATENCY), low], [item.value(LATENCY), high], [NaN, NaN]];
  }),
});

const paretoOption = () => {
  const all = paretoItems(), marks = slots();
  const chosen = ticked().length > 0;
  const inside = new Set(all.filter(matchesArea));
  const steps = front([...inside]);
  const runs = state.level === "runs";
  const scatter = ({ kind, symbol }) => ({
    type: "scatter", name: kind, symbol, z: kind === "scratch" ? 2 : 3, itemStyle: { color: kd.colour(kind) },
    data: all.filter((item) => item.kind === kind).map((item) => {
      const marked = marks.has(item.id) && (chosen || !runs);
      return {
        value: point(item), id: item.id, symbolSize: marked ? 14 : runs ? 7 : 10,
        itemStyle: { color: colourOf(item), opacity: inside.has(item) ? (runs && !marked ? 0.55 : 0.95) : 0.12,
          borderColor: marked ? kd.colour("ink") : kd.colour("surface"), borderWidth: marked ? 1.6 : 0.8 },
        label: { show: !runs && steps.includes(item) && steps.length <= 12 },
      };
    }),
    label: { formatter: ({ data }) => shorten(study.byId.get(data.id).label), position: "left", distance: 8, color: kd.colour("ink"), fontSize: 11.5 },
    labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
    emphasis: { scale: 1.3 },
  });
  const { x, y } = paretoRange(all);
  const area = state.area && [[{ coord: [state.area.x[0], state.area.y[0]] }, { coord: [state.area.x[1], state.area.y[1]] }]];
  return {
    toolbox: { show: false },
    legend: { top: 0, right: 0, itemWidth: 10, itemHeight: 10, data: KINDS.filter(({ kind }) => all.some((item) => item.kind === kind))
      .map(({ kind, symbol }) => ({ name: kind, icon: symbol })) },
    grid: { left: 58, right: 24, top: 36, bottom: 48 },
    tooltip: { trigger: "item", confine: true, formatter: ({ data }) => {
      const item = study.byId.get(data.id);
      return kd.tip(item.label, tipRows(item, [mainAccuracy(), LATENCY, mainEce()]));
    } },
    brush: { xAxisIndex: 0, yAxisIndex: 0, brushMode: "single", transformable: false,
      seriesIndex: 0, // it colours the front alone, which has no points: what lies inside is told by this page
      outOfBrush: { colorAlpha: 1 }, inBrush: { colorAlpha: 1 },
      brushStyle: { borderWidth: 1, color: kd.faded(kd.colour("accent"), 0.15), borderColor: kd.colour("accent") } },
    xAxis: { type: "log", name: "p99 latency of one call (ms)", nameLocation: "middle", nameGap: 30, min: x[0], max: x[1],
      axisLabel: { customValues: ticks(x), formatter: (value) => kd.number(value, 2) }, axisTick: { show: true, customValues: ticks(x) },
      splitLine: { show: false } },
    yAxis: { type: "value", name: `${mainAccuracy()}`, nameLocation: "end", nameGap: 12, nameTextStyle: { align: "left", padding: [0, 0, 0, -48] },
      min: y[0], max: y[1], axisLine: { show: false },
      axisLabel: { formatter: (value) => kd.fixed(value, 2), showMinLabel: false, showMaxLabel: false } },
    series: [
      { type: "line", step: "end", silent: true, symbol: "none", z: 1, data: steps.map(point), tooltip: { show: false },
        lineStyle: { color: kd.colour("ink"), width: 1.2, type: "dotted" },
        markArea: area ? { silent: true, data: area, itemStyle: { color: kd.faded(kd.colour("accent"), 0.1) } } : undefined },
      ...(runs ? [] : [whiskers([...inside])]),
      ...KINDS.map(scatter),
    ],
  };
};

/** 1, 2 and 5 of every decade within a range: a log axis has labels however short it is. */
const ticks = ([low, high]) => [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power))
  .filter((value) => low <= value && value <= high);

/** Room around the points, and ends of the scale that can be written short. */
const paretoRange = (all) => {
  const xs = all.map((item) => point(item)[0]);
  const ys = all.flatMap((item) => [item.interval(mainAccuracy()).low ?? point(item)[1], item.interval(mainAccuracy()).high ?? point(item)[1]]);
  if (!xs.length) return { x: [0.01, 1], y: [0, 1] };
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const room = Math.max((high - low) * 0.08, 0.002);
  return {
    x: [Math.min(...xs) / 1.6, Math.max(...xs) * 1.35],
    y: [Math.max(0, Math.floor((low - room) * 50) / 50), Math.min(1, Math.ceil((high + room) * 50) / 50)],
  };
};

let paretoChart = null, selecting = false;

const selectArea = (on) => {
  selecting = on;
  kd.byId("select-area").setAttribute("aria-pressed", String(on));
  paretoChart?.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption: { brushType: on ? "rect" : false, brushMode: "single" } });
};

const paretoFigure = {
  id: "pareto",
  title: "Accuracy against tail latency",
  available: () => study.configurations.filter(hasPoint).length + (study.configurations.length ? 0 : study.runs.filter(hasPoint).length) > 1,
  controls: () => kd.element("button", { type: "button", class: "chip", id: "select-area", "aria-pressed": "false",
    title: "Then draw a rectangle: only what lies in it is kept", onclick: () => selectArea(!selecting) }, "Select an area"),
  height: () => 380,
  shows: () => `${state.level}|${idsOf(paretoItems())}|${idsOf(compared())}|${idsOf(ticked())}|${JSON.stringify(state.area)}`,
  option: paretoOption,
  onBegin: (chart) => {
    paretoChart = chart;
    chart.on("brushEnd", ({ areas }) => {
      const [x, y] = areas[0]?.coordRange ?? [];
      setTimeout(() => {
        selectArea(false);
        if (x) change({ area: { x: x.map(sixDigits), y: y.map(sixDigits) } });
      });
    });
    chart.on("click", (event) => event.data?.id && change({ open: event.data.id }));
  },
  caption: () => `${mainAccuracy()} against the 99th percentile of the time of one call. ` +
    (state.level === "runs" ? "Every point is a run; " : "Every point is a mean over units, whiskers are its interval; ") +
    "the dotted line is the Pareto front: nothing shown is both faster and more accurate. Latency belongs to an architecture, so its runs share one measurement.",
  numbers: () => ({
    columns: [
      { key: "label", label: "Setting", header: true, value: (item) => item.label },
      ...[mainAccuracy(), LATENCY].map((key) => ({ key, label: labelOf(key), number: true, value: (item) => item.value(key), cell: (item) => sayInterval(item, key) })),
      { key: "front", label: "On the front", value: (item) => (front(shownItems().filter(hasPoint)).includes(item) ? "yes" : "no") },
    ],
    rows: kd.sorted(shownItems().filter(hasPoint), [{ key: "x", value: (item) => point(item)[0] }], { key: "x" }),
  }),
};
