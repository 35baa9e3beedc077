/* One run, in a drawer: who it is, what it measured, what went wrong, its files. */

const runDrawer = (view) => {
  const drawer = kd.byId("drawer");
  const focusable = () => [...drawer.querySelectorAll("button, a, summary")];
  let following = null;
  const close = () => {
    following?.stop();
    following = null;
  };
  drawer.onclose = close;
  drawer.onclick = (event) => event.target === drawer && drawer.close(); // beside it
  const open = (id) => {
    close();
    drawer.replaceChildren(kd.element("p", { class: "muted drawer-body" }, "Reading the run"));
    if (!drawer.open) drawer.showModal();
    following = follow(() => `/api/run/${id}`, (facts, status) => {
      const at = drawer.scrollTop;
      const metricsOpen = drawer.querySelector("details")?.open;
      const focused = Math.max(0, focusable().indexOf(document.activeElement));
      drawer.replaceChildren(status === 200 ? runBody(facts, view) : kd.element("p", { class: "problem drawer-body" }, facts.error));
      if (metricsOpen) drawer.querySelector("details").open = true;
      focusable()[focused]?.focus({ preventScroll: true });
      drawer.scrollTop = at;
    });
  };
  return { open };
};

const fact = (name, value) =>
  value === null || value === undefined || value === "" ? [] : [kd.element("dt", {}, name), kd.element("dd", {}, value)];

const HEADLINE = ["test/accuracy", "validation/accuracy", "test/ece", "ood/mean_gap", "test/agreement", "latency/p50_ms"];

const runBody = (facts, view) => {
  const { id, state, error, provenance = {}, metrics = {}, seeds = {} } = facts;
  const close = kd.element("button", { type: "button", class: "icon", "aria-label": "Close", onclick: () => kd.byId("drawer").close() }, "✕");
  const all = Object.entries(metrics);
  return kd.element("div", { class: "drawer-body" },
    kd.element("div", { class: "toolbar" },
      kd.element("h2", { id: "drawer-title" }, `${facts.arm} ${facts.label}`), kd.element("span", { class: "spacer" }), close),
    kd.element("p", {}, kd.element("span", { class: "state", "data-state": state }, state),
      kd.element("span", { class: "muted" }, ` · ${MEANING[state]}`)),
    (error || facts.problem) && kd.element("pre", { class: "error" }, error ? `${error.type}: ${error.message}` : facts.problem),
    kd.element("dl", { class: "facts" },
      fact("Run", kd.element("code", {}, id)), fact("Role", facts.role), fact("Data", facts.data),
      fact("Seeds", Object.entries(seeds).filter(([, seed]) => seed !== null).map(([name, seed]) => `${name} ${seed}`).join(", ")),
      fact("Asked for with", facts.overrides?.join(" ")),
      fact("Begun", facts.begun && day(facts.begun)), fact("Ended", facts.ended && day(facts.ended)),
      fact("Steps", state === "running" || state === "stopped" ? stepsText(facts) : null),
      fact("Trained and measured in", provenance.seconds && (provenance.seconds < 10 ? `${kd.number(provenance.seconds, 2)} s` : kd.duration(provenance.seconds))),
      fact("Students in its stack", provenance.stack_size > 1 ? String(provenance.stack_size) : null),
      fact("Attempt", provenance.attempt > 1 ? String(provenance.attempt) : null),
      fact("Teacher", facts.teacher && relative(facts.teacher, view, facts.quality)),
      fact("Scratch twin", facts.twin && facts.twin !== id ? relative(facts.twin, view) : null),
      fact("W&B run", facts.tracker && kd.element("code", {}, facts.tracker)),
      fact("Commit", provenance.commit && kd.element("code", {}, provenance.commit.slice(0, 10))),
      fact("Files", facts.files.length
        ? facts.files.map((name) => [kd.element("a", { href: `/runs/${id}/${name}`, target: "_blank" }, name), " "]) : null)),
    all.length ? [
      kd.element("h3", {}, "Measured"),
      metricsTable(all.filter(([key]) => HEADLINE.includes(key))),
      kd.element("details", {}, kd.element("summary", {}, `All ${all.length} numbers`), metricsTable(all)),
    ] : null,
    facts.log ? [kd.element("h3", {}, "Log"), kd.element("pre", { class: "log" }, facts.log)] : null);
};

const relative = (id, view, words = null) =>
  [kd.element("button", { type: "button", class: "link", onclick: () => view.open(id) }, kd.element("code", {}, id)),
    words ? ` ${words}` : null];

const metricsTable = (entries) => {
  const frame = kd.element("div", { class: "table-frame" });
  kd.drawTable(frame, {
    columns: [
      { key: "key", label: "Key", header: true, value: ([key]) => key, cell: ([key]) => kd.element("code", {}, key) },
      { key: "value", label: "Value", number: true, value: ([, value]) => value, cell: ([, value]) => kd.number(value, 5) },
    ],
    rows: entries,
  });
  return frame;
};
