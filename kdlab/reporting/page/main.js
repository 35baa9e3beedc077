/* From the packed records to the page: the table first, then the plotting library, then the figures. */

const loadLibrary = async () => {
  const source = await kd.unpack(kd.byId("library").textContent);
  document.head.append(kd.element("script", {}, source)); // allowed by its hash in the policy of the page
  kd.byId("library").remove();
};

const dressHead = () => {
  for (const element of document.querySelectorAll("[data-command]")) {
    element.replaceWith(...element.textContent.split("\n").filter(Boolean).map(kd.command));
  }
  for (const element of document.querySelectorAll(".interval-plot")) {
    const one = study.configurations[Number(element.dataset.configuration)];
    element.append(intervalPlot(one.against("scratch").metrics["test/accuracy"].numbers, "scratch", 320, 30));
  }
  const path = kd.element("code", {}, "runs/<run id>/record.json");
  kd.byId("left-out").append(kd.element("p", { class: "note" }, leftOutWords("of this page"), path, LEFT_OUT_END));
};

/** To the table without a word in the address, where the view stands. */
const skipToTable = (event) => {
  event.preventDefault();
  kd.byId("table").focus();
};

const begin = async () => {
  kd.byId("theme").append(kd.themeButton());
  kd.byId("loading").hidden = false;
  study = readStudy(JSON.parse(await kd.unpack(kd.byId("payload").textContent)));
  readAddress();
  dressHead();
  kd.byId("explorer").hidden = false;
  buildExplorer(kd.byId("explorer"));
  document.querySelector(".skip").addEventListener("click", skipToTable);
  kd.byId("loading").hidden = true;
  performance.mark("kdlab-table");
  await loadLibrary();
  kd.byId("figures").hidden = false;
  const described = [parallelFigure, paretoFigure, reliabilityFigure, slicesFigure, curvesFigure, darkKnowledgeFigure];
  buildFigures(kd.byId("figures"), described);
  buildPanel(kd.byId("panel"));
  addEventListener("hashchange", () => {
    readAddress();
    change({ ...state });
  });
  performance.mark("kdlab-figures");
  document.documentElement.dataset.ready = "";
};

begin().catch((error) => {
  kd.byId("loading").hidden = false;
  const where = "README.md beside this page has the same numbers.";
  kd.byId("loading").textContent = `This browser cannot show the records (${error.message}). ${where}`;
  throw error;
});
