/* Curves as they grow: of ticked runs, and, while that is wanted, of those that go on and of the newest. */

const MOST_FOLLOWED = 12;
const MOST_NAMED = 10;
/** Runs of one arm have its colour; up to so many lines each has a pattern of its own, further ones repeat them. */
const PATTERNS = [[], [7, 4], [2, 3], [10, 3, 2, 3], [16, 4], [10, 3, 2, 3, 2, 3]];
const USUAL_KEYS = ["validation/accuracy", "train/loss", "validation/nll"];

/** The part with the chart; `view` has `ticked` (id -> row) and `untick()`. */
const curvesPart = (view) => {
  const chosen = { key: USUAL_KEYS[0], keys: [], followed: [], colours: {}, answer: null };
  const keys = kd.element("select", { "aria-label": "Which curve" });
  const newest = kd.element("input", { type: "checkbox", checked: true });
  const zoom = kd.element("input", { type: "checkbox" });
  const clear = kd.element("button", { type: "button", onclick: () => view.untick() }, "Untick all");
  const place = kd.element("div", { class: "chart", role: "img" });
  const hint = kd.element("p", { class: "note" });
  const legend = kd.element("ul", { class: "legend" });
  const numbers = kd.element("div", { class: "table-frame" });
  const element = kd.element("section", { class: "card curves", "aria-labelledby": "curves-title" },
    kd.element("div", { class: "toolbar" },
      kd.element("h2", { id: "curves-title" }, "Curves"), keys,
      kd.element("label", { class: "choice" }, newest, "running and newest runs"),
      kd.element("label", { class: "choice", title: "the vertical axis spans the second half of the curves" }, zoom, "zoom on the end"), clear),
    hint, place, legend,
    kd.element("details", {}, kd.element("summary", {}, "The last numbers as a table"), numbers));

  const rows = () => [...view.ticked.values(), ...(newest.checked ? chosen.followed : [])]
    .filter((row, at, all) => all.findIndex((other) => other.id === row.id) === at);
  const address = () => {
    const ids = rows().map((row) => ["run", row.id]);
    return ids.length ? `/api/curves?${new URLSearchParams([["key", chosen.key], ...ids])}` : null;
  };

  const lines = () => {
    const found = rows().filter((row) => chosen.answer?.curves[row.id]?.length);
    const ofArm = {};
    return found.map((row) => {
      ofArm[row.arm] = (ofArm[row.arm] ?? -1) + 1;
      return {
        row,
        name: `${row.arm} ${row.label || row.id}`,
        token: chosen.colours[row.arm] ?? kd.SERIES[0],
        pattern: found.length <= MOST_NAMED ? PATTERNS[ofArm[row.arm] % PATTERNS.length] : PATTERNS[0],
        points: chosen.answer.curves[row.id],
      };
    });
  };

  const chart = kd.chart(place, () => {
    const shown = lines();
    return {
      grid: { left: 8, right: 16, top: 34, bottom: 30, containLabel: true },
      xAxis: { type: "value", name: "step", nameLocation: "middle", nameGap: 28, splitLine: { show: false } },
      yAxis: { type: "value", scale: true, ...(zoom.checked ? lateRange(shown) : {}), name: chosen.key, nameTextStyle: { align: "left" } },
      tooltip: { trigger: "axis", confine: true, formatter: (items) => tipOf(items, shown) },
      series: shown.map(({ row, name, token, pattern, points }) => ({
        type: "line",
        name,
        data: points,
        color: kd.colour(token),
        showSymbol: points.length === 1,
        symbolSize: 6,
        lineStyle: { width: row.state === "running" ? 2.4 : 1.4, type: pattern.length ? pattern : "solid" },
        emphasis: { focus: "series" },
        ...(row.state === "running" ? head(points) : {}),
      })),
    };
  });

  /** The least and the largest value of the second half of the curves: early values are far from all later ones. */
  const lateRange = (shown) => {
    const values = shown.flatMap(({ points }) =>
      points.filter(([step]) => step >= points.at(-1)[0] / 2).map(([, value]) => value));
    const [least, largest] = [Math.min(...values), Math.max(...values)];
    const room = (largest - least) * 0.05 || Math.abs(largest) * 0.01 || 1;
    return { min: Number((least - room).toPrecision(3)), max: Number((largest + room).toPrecision(3)) };
  };

  /** The end of a curve that goes on. */
  const head = (points) => ({
    markPoint: { silent: true, symbol: "circle", symbolSize: 9, label: { show: false }, data: [{ coord: points.at(-1) }] },
  });

  const tipOf = (items, shown) => {
    const told = items.slice(0, MOST_FOLLOWED).map(({ seriesIndex, value }) => [shown[seriesIndex].name, kd.number(value[1])]);
    const more = items.length - told.length;
    return kd.tip(`step ${kd.number(items[0]?.value[0])}`, more > 0 ? [...told, [`and ${more} more`, ""]] : told);
  };

  const drawKeys = () => {
    const known = [...USUAL_KEYS.filter((key) => chosen.keys.includes(key)),
      ...chosen.keys.filter((key) => !USUAL_KEYS.includes(key))];
    const all = known.length ? known : [chosen.key];
    if ([...keys.options].map((option) => option.value).join() !== all.join()) {
      keys.replaceChildren(...all.map((key) => kd.element("option", { value: key }, key)));
    }
    keys.value = chosen.key;
  };

  const drawLegend = () => {
    const shown = lines();
    const entries = shown.length <= MOST_NAMED
      ? shown
      : [...new Map(shown.map(({ row, token, pattern }) => [row.arm, { name: row.arm, token, pattern }])).values()];
    legend.replaceChildren(...entries.map(({ name, token, pattern }) => {
      const line = kd.svg("line", { x1: 0, y1: 4, x2: 26, y2: 4, "stroke-dasharray": pattern.join(" ") });
      const item = kd.element("li", { colour: `var(--${token})` }, kd.svg("svg", { "aria-hidden": true }, line), name);
      item.addEventListener("pointerenter", () => chart.chart?.dispatchAction({ type: "highlight", seriesName: name }));
      item.addEventListener("pointerleave", () => chart.chart?.dispatchAction({ type: "downplay" }));
      return item;
    }));
    kd.drawTable(numbers, {
      columns: [
        { key: "run", label: "Run", value: ({ name }) => name, header: true },
        { key: "state", label: "State", value: ({ row }) => row.state },
        { key: "step", label: "Step", number: true, value: ({ points }) => points.at(-1)[0], cell: ({ points }) => kd.number(points.at(-1)[0]) },
        { key: "value", label: chosen.key, number: true, value: ({ points }) => points.at(-1)[1], cell: ({ points }) => kd.number(points.at(-1)[1]) },
      ],
      rows: shown,
    });
    place.setAttribute("aria-label", `${chosen.key} of ${kd.count(shown.length, "run")}; the last numbers stand in the table below`);
    setText(hint, shown.length ? "" : rows().length
      ? `None of these runs has logged ${chosen.key} yet.`
      : "Tick runs among the members to see their curves.");
    hint.hidden = shown.length > 0;
    place.hidden = legend.hidden = !shown.length;
    clear.hidden = !view.ticked.size;
  };

  const draw = () => {
    drawKeys();
    drawLegend();
    if (!place.hidden) chart.draw();
  };

  const following = follow(address, (answer, status) => {
    if (status !== 200) return;
    chosen.answer = answer;
    chosen.keys = answer.keys;
    draw();
  });
  keys.addEventListener("change", () => {
    chosen.key = keys.value;
    following.now();
  });
  newest.addEventListener("change", () => again());
  zoom.addEventListener("change", () => draw());

  const again = () => {
    draw();
    following.now();
  };
  draw();
  return {
    element,
    again,
    /** What goes on and what ended last; the curve of a run that just ended stays. */
    update: (study) => {
      chosen.colours = armColours(study.arms);
      const followed = [...study.running, ...study.latest].slice(0, MOST_FOLLOWED);
      const changed = JSON.stringify(followed.map(({ id, state }) => [id, state])) !==
        JSON.stringify(chosen.followed.map(({ id, state }) => [id, state]));
      chosen.followed = followed;
      if (changed) again();
    },
  };
};
