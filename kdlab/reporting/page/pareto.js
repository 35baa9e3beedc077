/* Accuracy against tail latency, with the front that nothing beats in both. */

const KINDS = [
  { kind: "teacher", symbol: "rect" },
  { kind: "student", symbol: "circle" },
  { kind: "uniform", symbol: "triangle" },
  { kind: "scratch", symbol: "diamond" },
];
const MOST_NAMED = 12; // labels on a front of more points would hide it

const hasPoint = (item) => item.value(LATENCY) !== null && item.value(mainAccuracy()) !== null;

const point = (item) => [item.value(LATENCY), item.value(mainAccuracy())];

/** The items that no other beats in both, by rising latency. */
const front = (some) => {
  const order = [...some].sort((one, other) => point(one)[0] - point(other)[0] || point(other)[1] - point(one)[1]);
  const found = [];
  for (const item of order) if (!found.length || point(item)[1] > point(found.at(-1))[1]) found.push(item);
  return found;
};

/** Points inside the area are told apart by those outside being faint. */
const paretoItems = () => passing("area").filter(hasPoint);

/** Whiskers, the intervals of the accuracy: one broken line. */
const whiskers = (some) => ({
  type: "line",
  silent: true,
  symbol: "none",
  z: 1,
  tooltip: { show: false },
  lineStyle: { color: kd.colour("soft"), width: 1, opacity: 0.7 },
  data: some.flatMap((item) => {
    const { low, high } = item.interval(mainAccuracy());
    return low === null ? [] : [[item.value(LATENCY), low], [item.value(LATENCY), high], [NaN, NaN]];
  }),
});

/** The dotted steps of the front, and the area that was drawn. */
const frontLine = (steps) => {
  const corners = state.area && [0, 1].map((end) => ({ coord: [state.area.x[end], state.area.y[end]] }));
  const wash = { color: kd.faded(kd.colour("accent"), 0.1) };
  return {
    type: "line",
    step: "end",
    silent: true,
    symbol: "none",
    z: 1,
    tooltip: { show: false },
    data: steps.map(point),
    lineStyle: { color: kd.colour("ink"), width: 1.2, type: "dotted" },
    markArea: corners ? { silent: true, data: [corners], itemStyle: wash } : undefined,
  };
};

/** One point: large where it is compared, faint outside the area. */
const paretoPoint = (item, { inside, marked, named }) => {
  const runs = state.level === "runs";
  const opacity = runs && !marked ? 0.55 : 0.95;
  return {
    value: point(item),
    id: item.id,
    symbolSize: marked ? 14 : runs ? 7 : 10,
    itemStyle: {
      color: colourOf(item),
      opacity: inside ? opacity : 0.12,
      borderColor: kd.colour(marked ? "ink" : "surface"),
      borderWidth: marked ? 1.6 : 0.8,
    },
    label: { show: named },
  };
};

const paretoSeries = (all) => {
  const marks = slots();
  const runs = state.level === "runs";
  const inside = new Set(all.filter(matchesArea));
  const steps = front([...inside]);
  const named = new Set(!runs && steps.length <= MOST_NAMED ? steps : []);
  const points = (item) => paretoPoint(item, {
    inside: inside.has(item),
    marked: marks.has(item.id) && (ticked().length > 0 || !runs),
    named: named.has(item),
  });
  const scatter = ({ kind, symbol }) => ({
    type: "scatter",
    name: kind,
    symbol,
    z: kind === "scratch" ? 2 : 3,
    itemStyle: { color: kd.colour(kind) },
    data: all.filter((item) => item.kind === kind).map(points),
    label: {
      formatter: ({ data }) => shorten(study.byId.get(data.id).label),
      position: "left",
      distance: 8,
      color: kd.colour("ink"),
      fontSize: 11.5,
    },
    labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
    emphasis: { scale: 1.3 },
  });
  return [frontLine(steps), ...(runs ? [] : [whiskers([...inside])]), ...KINDS.map(scatter)];
};

const paretoOption = () => {
  const all = paretoItems();
  const { x, y } = paretoRange(all);
  const kinds = KINDS.filter(({ kind }) => all.some((item) => item.kind === kind));
  return {
    toolbox: { show: false },
    legend: {
      top: 0,
      right: 0,
      itemWidth: 10,
      itemHeight: 10,
      data: kinds.map(({ kind, symbol }) => ({ name: kind, icon: symbol })),
    },
    grid: { left: 58, right: 24, top: 36, bottom: 48 },
    tooltip: {
      trigger: "item",
      confine: true,
      formatter: ({ data }) => {
        const item = study.byId.get(data.id);
        return kd.tip(item.label, tipRows(item, [mainAccuracy(), LATENCY, mainEce()]));
      },
    },
    brush: {
      xAxisIndex: 0,
      yAxisIndex: 0,
      seriesIndex: 0, // it colours the front alone, which has no points: what lies inside is told by this page
      brushMode: "single",
      transformable: false,
      inBrush: { colorAlpha: 1 },
      outOfBrush: { colorAlpha: 1 },
      brushStyle: { borderWidth: 1, borderColor: kd.colour("accent"), color: kd.faded(kd.colour("accent"), 0.15) },
    },
    xAxis: {
      type: "log",
      name: "p99 latency of one call (ms)",
      nameLocation: "middle",
      nameGap: 30,
      min: x[0],
      max: x[1],
      axisLabel: { customValues: ticks(x), formatter: (value) => kd.number(value, 2) },
      axisTick: { show: true, customValues: ticks(x) },
      splitLine: { show: false },
    },
    yAxis: {
      type: "value",
      name: mainAccuracy(),
      nameGap: 12,
      nameTextStyle: { align: "left", padding: [0, 0, 0, -48] },
      min: y[0],
      max: y[1],
      axisLine: { show: false },
      axisLabel: { formatter: (value) => kd.fixed(value, 2), showMinLabel: false, showMaxLabel: false },
    },
    series: paretoSeries(all),
  };
};

const POWERS = [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6];

/** 1, 2 and 5 of every decade within a range: a log axis has labels however short it is. */
const ticks = ([low, high]) => {
  const all = POWERS.flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  return all.filter((value) => low <= value && value <= high);
};

/** Room around the points, and ends of the scale that can be written short. */
const paretoRange = (all) => {
  if (!all.length) return { x: [0.01, 1], y: [0, 1] };
  const xs = all.map((item) => point(item)[0]);
  const ys = all.flatMap((item) => {
    const { estimate, low, high } = item.interval(mainAccuracy());
    return [low ?? estimate, high ?? estimate];
  });
  const [low, high] = [smallest(ys), largest(ys)];
  const room = Math.max((high - low) * 0.08, 0.002);
  return {
    x: [smallest(xs) / 1.6, largest(xs) * 1.35],
    y: [Math.max(0, Math.floor((low - room) * 50) / 50), Math.min(1, Math.ceil((high + room) * 50) / 50)],
  };
};

let paretoChart = null;
let selecting = false;

/** Whether the mouse draws an area. */
const selectArea = (on) => {
  selecting = on;
  kd.byId("select-area").setAttribute("aria-pressed", String(on));
  const brushOption = { brushType: on ? "rect" : false, brushMode: "single" };
  paretoChart?.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption });
};

const onAreaDrawn = ({ areas }) => {
  const [x, y] = areas[0]?.coordRange ?? [];
  setTimeout(() => { // not from within the chart, which draws itself just now
    selectArea(false);
    if (x) change({ area: { x: x.map(sixDigits), y: y.map(sixDigits) } });
  });
};

const paretoFigure = {
  id: "pareto",
  title: "Accuracy against tail latency",
  available: () => study.configurations.filter(hasPoint).length > 1,
  controls: () => kd.element("button", {
    type: "button",
    class: "chip",
    id: "select-area",
    "aria-pressed": "false",
    title: "Then draw a rectangle: only what lies in it is kept",
    onclick: () => selectArea(!selecting),
  }, "Select an area"),
  height: () => 380,
  shows: () => {
    const area = JSON.stringify(state.area);
    return [state.level, idsOf(paretoItems()), idsOf(compared()), ticked().length, area].join("|");
  },
  option: paretoOption,
  onBegin: (chart) => {
    paretoChart = chart;
    chart.on("brushEnd", onAreaDrawn);
    chart.on("click", ({ data }) => data?.id && change({ open: data.id }));
  },
  caption: () => {
    const points = state.level === "runs" ? "is a run" : "is a mean over units, whiskers are its interval";
    return `${mainAccuracy()} against the 99th percentile of the time of one call. Every point ${points}; the dotted ` +
      "line is the Pareto front: nothing shown is both faster and more accurate. Latency belongs to an architecture, " +
      "so its runs share one measurement.";
  },
  numbers: () => {
    const shown = shownItems().filter(hasPoint);
    const best = new Set(front(shown));
    const metric = (key) => ({
      key,
      label: labelOf(key),
      number: true,
      value: (item) => item.value(key),
      cell: (item) => sayInterval(item, key),
    });
    return {
      columns: [
        { key: "label", label: "Setting", header: true, value: (item) => item.label },
        metric(mainAccuracy()),
        metric(LATENCY),
        { key: "front", label: "On the front", value: (item) => (best.has(item) ? "yes" : "no") },
      ],
      rows: [...shown].sort((one, other) => point(one)[0] - point(other)[0]),
    };
  },
};
