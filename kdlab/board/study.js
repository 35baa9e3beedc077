/* One study while it goes on: how far it is, arm by arm; what runs; what failed; curves; results so far; members. */

const showStudy = (content, name) => {
  document.title = `${name} · kdlab board`;
  const view = { name, ticked: new Map(), planned: false };
  const drawer = runDrawer(view);
  view.open = drawer.open;
  const lead = leadPart(name);
  const arms = armsPart();
  const running = runningPart(view);
  const failures = failuresPart(view);
  const curves = curvesPart(view);
  const results = resultsPart(name);
  const members = membersPart(view);
  view.tick = (row, on) => {
    if (on) view.ticked.set(row.id, row);
    else view.ticked.delete(row.id);
    curves.again();
  };
  view.untick = () => {
    view.ticked.clear();
    members.redraw();
    curves.again();
  };
  const columns = kd.element("div", { class: "columns" }, arms.element, running.element);
  const body = kd.element("div", { class: "study-body", hidden: true }, columns, failures.element, curves.element, results.element, members.element);
  content.replaceChildren(lead.element, body);
  let told = null;
  follow(() => `/api/study/${encodeURI(name)}`, (study) => {
    lead.update(study);
    body.hidden = Boolean(study.waiting);
    if (study.waiting) return;
    if (!view.planned && study.total) {
      view.planned = true;
      members.again();
    }
    for (const part of [columns, curves.element, members.element]) part.hidden = !study.total; // known from its report alone
    for (const part of [arms, running, failures, curves, results]) part.update(study);
    columns.classList.toggle("quiet", !study.counts.running);
    const ended = study.counts.finished + study.counts.failed;
    if (told !== null && told !== ended) announce(toldOf(study));
    told = ended;
  });
};

/** The question, where it stands, and what to do where nothing runs. */
const leadPart = (name) => {
  const title = kd.element("h1", {}, name);
  const hypothesis = kd.element("p", { class: "hypothesis" });
  const facts = kd.element("p", { class: "muted" });
  const waiting = kd.element("p", { hidden: true });
  const problem = kd.element("p", { class: "problem", hidden: true });
  const share = kd.element("span", { class: "share" });
  const when = going(progressWords, { class: "when" });
  const meter = stateMeter();
  const words = stateWords();
  const report = kd.element("a", { href: pageAddress(name), class: "button" }, "Report page");
  const command = kd.element("div", { class: "go-on", hidden: true });
  const progress = kd.element("div", { class: "progress card" },
    kd.element("div", { class: "progress-head" }, share, when.element, kd.element("span", { class: "spacer" }), report),
    meter.element, words.element, command);
  const element = kd.element("div", { class: "lead" },
    kd.element("nav", { "aria-label": "Where you are" }, kd.element("a", { href: "/" }, "Studies"), " / ", kd.element("span", {}, name)),
    title, hypothesis, facts, waiting, problem, progress);
  let shownCommand = null;
  const update = (study) => {
    setText(waiting, study.waiting ? `${study.waiting}. This page fills by itself when its sweep starts.` : "");
    waiting.hidden = !study.waiting;
    setText(problem, study.problem ?? "");
    problem.hidden = !study.problem;
    progress.hidden = Boolean(study.waiting);
    if (study.waiting) return;
    setText(title, study.question || name);
    setText(hypothesis, study.hypothesis ?? "");
    hypothesis.hidden = !study.hypothesis;
    setText(facts, [study.data?.length ? `on ${study.data.join(", ")}` : "", study.cost ?? ""].filter(Boolean).join(" · "));
    setText(share, study.total
      ? `${study.counts.finished.toLocaleString("en-US")} of ${study.total.toLocaleString("en-US")} finished`
      : `${kd.count(study.reported, "record")} in its report; its runs are not in this store`);
    when.update(study);
    meter.element.hidden = words.element.hidden = !study.total;
    meter.update(study.counts, study.total);
    words.update(study.counts);
    report.hidden = !study.reported && !study.counts.finished;
    const wanted = study.total > study.counts.finished && !study.counts.running ? study.command : null;
    if (wanted !== shownCommand) {
      command.replaceChildren(...(wanted ? [kd.element("p", {}, "No run goes on at the moment. This makes what is missing:"), kd.command(wanted)] : []));
      command.hidden = !wanted;
      shownCommand = wanted;
    }
  };
  return { element, update };
};

const armsPart = () => {
  const list = kd.element("ul", { class: "arms" });
  const element = kd.element("section", { class: "card", "aria-labelledby": "arms-title" },
    kd.element("h2", { id: "arms-title" }, "Arms"), list);
  const make = () => {
    const swatch = kd.element("span", { class: "swatch" });
    const name = kd.element("span", { class: "name" });
    const count = kd.element("span", { class: "muted" });
    const meter = stateMeter();
    const row = kd.element("li", {}, kd.element("div", { class: "row" }, swatch, name, count), meter.element);
    return { element: row, update: ({ arm, counts, total, colour }) => {
      swatch.style.setProperty("--colour", `var(--${colour})`);
      setText(name, arm);
      setText(count, `${counts.finished} of ${total}`);
      meter.update(counts, total);
    } };
  };
  const update = (study) => {
    const colours = armColours(study.arms);
    keep(list, study.arms.map((row) => ({ ...row, colour: colours[row.arm] })), ({ arm }) => arm, make);
  };
  return { element, update };
};

const MOST_SHOWN = 8;

const runningPart = (view) => {
  const list = kd.element("ul", { class: "running" });
  const all = { shown: false };
  const more = kd.element("button", { type: "button", class: "link" });
  const element = kd.element("section", { class: "card", "aria-labelledby": "running-title" },
    kd.element("h2", { id: "running-title" }, "Running now"), list, more);
  const make = () => {
    let id = null;
    const name = kd.element("button", { type: "button", class: "link", onclick: () => view.open(id) });
    const steps = kd.element("span", { class: "muted" });
    const accuracy = kd.element("span", { class: "accuracy" });
    const meter = stepMeter();
    const row = kd.element("li", {}, kd.element("div", { class: "row" }, name, steps, accuracy), meter.element);
    return { element: row, update: (run) => {
      id = run.id;
      setText(name, `${run.arm} ${run.label || run.id}`);
      setText(steps, stepsText(run));
      setText(accuracy, run.accuracy === null ? "" : `validation ${kd.fixed(run.accuracy, 3)}`);
      meter.update(run.steps ? Math.min(run.step / run.steps, 1) : 1, `${run.arm} ${run.label}`);
    } };
  };
  let last = null;
  const update = (study) => {
    last = study;
    const shown = all.shown ? study.running : study.running.slice(0, MOST_SHOWN);
    keep(list, shown, ({ id }) => id, make);
    element.hidden = !study.running.length;
    more.hidden = study.counts.running <= MOST_SHOWN;
    setText(more, all.shown ? "Fewer" : `All ${study.counts.running} that run`);
  };
  more.addEventListener("click", () => {
    all.shown = !all.shown;
    update(last);
  });
  return { element, update };
};

const failuresPart = (view) => {
  const list = kd.element("ul", { class: "failures" });
  const element = kd.element("section", { class: "card", hidden: true, "aria-labelledby": "failed-title" },
    kd.element("h2", { id: "failed-title" }, "Failed"), list);
  const make = () => {
    let id = null;
    const name = kd.element("button", { type: "button", class: "link", onclick: () => view.open(id) });
    const message = kd.element("pre", { class: "error" });
    const row = kd.element("li", {}, name, message);
    return { element: row, update: (run) => {
      id = run.id;
      setText(name, `${run.arm} ${run.label || run.id}`);
      setText(message, [run.error?.type, run.error?.message].filter(Boolean).join(": "));
    } };
  };
  const update = ({ failed }) => {
    element.hidden = !failed.length;
    keep(list, failed, ({ id }) => id, make);
  };
  return { element, update };
};
