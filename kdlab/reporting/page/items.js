/* Items: what the table lists and the figures draw, either runs or configurations, in one shape.

   An item has `id`, `label`, `kind` (student, uniform, scratch, teacher), the facets it is filtered by, `value(key)`
   and `interval(key)` of any metric, `knob(key)`, its curves and its bins. Nothing is averaged here: the numbers of a
   configuration were made with the tables. */

let study = null; // {header, keys, knobs, slices, datasets, leftOut, runs, configurations}

/** Columns of a payload as plain lists. */
const expand = (column, length) => {
  if (Array.isArray(column)) return column;
  if (column.at) return column.at.map((place) => column.of[place]);
  return Array(length).fill(column.all);
};

const expandAll = (columns, length) =>
  Object.fromEntries(Object.entries(columns).map(([key, column]) => [key, expand(column, length)]));

const kindOf = (item) => (item.role === "student" && item.quality === "uniform" ? "uniform" : item.role);

/** Everything the page knows, from its payload. */
const readStudy = (data) => {
  const several = data.datasets.length > 1; // then a label is told with its data
  const configurations = data.configurations.map((one, place) =>
    makeConfiguration({ ...one, label: several ? `${one.label} on ${one.data}` : one.label }, place));
  const runs = makeRuns(data.runs, data.num_runs, configurations);
  const order = (run) => run.configurations[0]?.place ?? configurations.length;
  runs.sort((one, other) => order(one) - order(other) || one.seed - other.seed);
  for (const run of runs) run.configurations.forEach((one) => one.runs.push(run));
  return {
    header: data.study, keys: data.keys, knobs: data.knobs, slices: data.slices, datasets: data.datasets,
    leftOut: data.left_out, runs, configurations,
    byId: new Map([...runs, ...configurations].map((one) => [one.id, one])),
    measured: measuredKeys(data.runs.metrics),
    mainSet: mainSetOf(configurations),
  };
};

const measuredKeys = (metrics) => new Set(Object.entries(metrics).filter(([, column]) =>
  (Array.isArray(column) ? column.some((value) => value !== null) : column.all !== null)).map(([key]) => key));

const mainSetOf = (configurations) => {
  const students = configurations.filter((one) => one.role !== "teacher");
  const tested = (students.length ? students : configurations).some((one) => one.value("test/accuracy") !== null);
  return tested || !students.length ? "test" : "validation";
};

const makeConfiguration = (one, place) => ({
  ...one,
  level: "configurations",
  id: `c${place}`,
  place,
  kind: kindOf(one),
  arm: one.arms.join(", ") || null,
  status: one.failed ? "some failed" : "finished",
  runs: [],
  value: (key) => one.metrics[key]?.[0] ?? null,
  interval: (key) => {
    const found = one.metrics[key];
    return found ? { estimate: found[0], low: found[1], high: found[2], n: found[3] } : null;
  },
  shown: (key) => one.shown[key] ?? showInterval(one.metrics[key]),
  reason: (key) => one.reasons[key] ?? (one.metrics[key] ? null : "not measured, or undefined for all of its runs"),
  knob: (key) => one.knobs[key] ?? null,
  against: (kind) => one.comparisons.find((found) => found.kind === kind) ?? null,
  bins: one.bins,
  curve: (key) => one.curves[key] ?? null,
});

const showInterval = (found) => {
  if (!found) return kd.NOTHING;
  const [estimate, low, high] = found;
  const small = Math.abs(estimate) < 1000;
  const text = small ? kd.fixed(estimate) : kd.number(estimate);
  return low === null || !small ? text : `${text} ± ${kd.fixed((high - low) / 2)}`;
};

/** Fractions and nats with four decimals, so that a column lines up; other units with four digits. */
const showNumber = (key, value) => {
  const lined = ["fraction", "nats"].includes(study.keys[key]?.unit) && value !== null && Math.abs(value) < 100;
  return lined ? kd.fixed(value) : kd.number(value);
};

const makeRuns = (columns, length, configurations) => {
  const { metrics, curves, seeds, ...facts } = columns;
  const plain = expandAll(facts, length);
  const numbers = expandAll(metrics, length);
  const seed = expandAll(seeds, length);
  const lines = Object.fromEntries(Object.entries(curves).map(([key, curve]) => [key, expandAll(curve, length)]));
  return Array.from({ length }, (_, place) => {
    const row = Object.fromEntries(Object.entries(plain).map(([key, values]) => [key, values[place]]));
    const own = row.configurations.map((number) => configurations[number]);
    const run = {
      ...row,
      level: "runs",
      id: row.run_id,
      place,
      configurations: own,
      kind: kindOf(row),
      seeds: { student: seed.student[place], teacher: seed.teacher[place], data: seed.data[place] },
      arms: distinct(row.members.map((member) => member.arm)),
      phase: distinct(row.members.map((member) => member.phase)).join(", ") || null,
      value: (key) => numbers[key]?.[place] ?? null,
      interval: (key) => runInterval(numbers, key, place),
      shown: (key) => showNumber(key, numbers[key]?.[place] ?? null),
      reason: (key) => (row.status === "finished" ? undefinedReason(row.undefined, key) : `this run ${row.status}`),
      knob: (key) => agreed(own.map((one) => one.knob(key))),
      curveKeys: Object.keys(lines).filter((key) => lines[key].values[place].length > 0),
      curve: (key) => (lines[key]?.values[place].length ? [lines[key].steps[place], lines[key].values[place]] : null),
      bins: row.bins ?? null,
    };
    run.arm = run.arms.join(", ") || null;
    run.seed = row.role === "teacher" ? run.seeds.teacher : run.seeds.student;
    run.label = `${own[0]?.label ?? row.role}${run.seed === null ? "" : ` · seed ${run.seed}`}`;
    return run;
  });
};

const distinct = (words) => [...new Set(words.filter(Boolean))].sort(kd.compare);

/** The value on which all agree, else nothing. */
const agreed = (values) => (new Set(values).size === 1 ? values[0] : null);

/** Only the tail of the latency has an interval within one run: over the blocks of its measurement. */
const runInterval = (numbers, key, place) => {
  const estimate = numbers[key]?.[place] ?? null;
  if (estimate === null) return null;
  return { estimate, low: numbers[`${key}_low`]?.[place] ?? null, high: numbers[`${key}_high`]?.[place] ?? null, n: 1 };
};

/** Why a metric is null in a record: reasons are kept by key, and by last part for keys that share it. */
const undefinedReason = (reasons, key) => {
  const end = `*/${key.split("/").at(-1)}`;
  const found = Object.entries(reasons ?? {}).find(([, keys]) => keys.includes(key) || keys.includes(end));
  return found ? found[0] : "not measured";
};

/** Six significant digits: enough for what is drawn by hand. */
const sixDigits = (value) => Number(value.toPrecision(6));

/** The ends of many numbers; Math.min takes only so many arguments. */
const smallest = (values) => values.reduce((one, other) => Math.min(one, other), Infinity);
const largest = (values) => values.reduce((one, other) => Math.max(one, other), -Infinity);

const isNumber = (text) => text !== null && text !== "" && Number.isFinite(Number(text));

/** A knob as a number where it is one. */
const knobValue = (item, key) => {
  const text = item.knob(key);
  return isNumber(text) ? Number(text) : text;
};

const labelOf = (key) => study.keys[key]?.label ?? key;

/** What a key means, in one line. */
const meaningOf = (key) => {
  const found = study.keys[key];
  if (!found?.meaning) return key;
  const better = found.direction === "none" ? "" : `; ${found.direction} is better`;
  return `${key} (${found.unit}${better}): ${found.meaning}`;
};

/** Whether any run has a number of this key. */
const isMeasured = (key) => study.measured.has(key);

/** What a study judges by: its students on the test set; of a tuning phase, on validation. */
const mainAccuracy = () => `${study.mainSet}/accuracy`;
const mainEce = () => `${study.mainSet}/ece`;
