/* The first page: every study with its question, how far it is, and when it will be through. */

/** What goes on first, then what is not through, then the others; the newest first, reports without runs last. */
const inOrder = (studies) => {
  const rank = ({ counts, total }) => (counts.running ? 0 : !total ? 3 : counts.finished < total ? 1 : 2);
  return [...studies].sort((one, other) =>
    rank(one) - rank(other) || (other.active ?? 0) - (one.active ?? 0) || kd.compare(one.name, other.name));
};

const studyAddress = (name) => `/study/${name.split("/").map(encodeURIComponent).join("/")}`;
const pageAddress = (name) => `/page/${name.split("/").map(encodeURIComponent).join("/")}`;

const studyCard = () => {
  const link = kd.element("a", {});
  const question = kd.element("p", { class: "question" });
  const data = kd.element("span", { class: "muted" });
  const problem = kd.element("p", { class: "problem" });
  const meter = stateMeter();
  const words = stateWords();
  const share = kd.element("span", { class: "share" });
  const when = going((study) => progressWords(study), { class: "muted when" });
  const report = kd.element("a", { class: "report" }, "Report page");
  const records = kd.element("span", { class: "muted" });
  const progress = kd.element("div", { class: "progress" },
    kd.element("div", { class: "progress-head" }, share, when.element), meter.element, words.element);
  const element = kd.element("li", { class: "card study" },
    kd.element("div", { class: "what" }, kd.element("h2", {}, link), question, data, problem),
    kd.element("div", { class: "how-far" }, progress, kd.element("div", { class: "row" }, records, report)));
  const update = (study) => {
    setText(link, study.name);
    link.href = studyAddress(study.name);
    setText(question, study.question ?? "");
    question.hidden = !study.question;
    setText(data, study.data.length ? `on ${study.data.join(", ")}` : "");
    setText(problem, study.problem ?? "");
    problem.hidden = !study.problem;
    progress.hidden = !study.total;
    meter.update(study.counts, study.total);
    words.update(study.counts);
    setText(share, `${study.counts.finished.toLocaleString("en-US")} of ${study.total.toLocaleString("en-US")} finished`);
    when.update(study);
    setText(records, study.total || !study.reported ? "" : `${kd.count(study.reported, "record")} in its report, no run in this store`);
    report.hidden = !study.reported && !study.counts.finished;
    report.href = pageAddress(study.name);
    element.classList.toggle("live", Boolean(study.counts.running));
  };
  return { element, update };
};

/** What a listener hears when the number of ended runs changes. */
const toldOf = (study) => `${study.name}: ${countsText(study.counts)}`;

const showStudies = (content) => {
  document.title = "Studies · kdlab board";
  const summary = kd.element("p", { class: "muted" });
  const list = kd.element("ul", { class: "studies" });
  const empty = kd.element("div", { class: "card empty", hidden: true },
    kd.element("h2", {}, "Nothing here yet"),
    kd.element("p", {}, "No study in the store and no report. This page fills by itself when a sweep starts:"),
    kd.command("kdlab sweep quickstart"));
  content.replaceChildren(kd.element("div", { class: "lead" }, kd.element("h1", {}, "Studies"), summary), empty, list);
  const ended = new Map();
  follow(() => "/api/studies", ({ studies }) => {
    const running = studies.filter((study) => study.counts.running).length;
    setText(summary, studies.length ? `${kd.count(studies.length, "study", "studies")}, ${running || "none"} running` : "");
    empty.hidden = studies.length > 0;
    keep(list, inOrder(studies), (study) => study.name, studyCard);
    for (const study of studies) {
      const now = study.counts.finished + study.counts.failed;
      if (ended.has(study.name) && ended.get(study.name) !== now) announce(toldOf(study));
      ended.set(study.name, now);
    }
  });
};
