"""The help pages, written by hand and printed without importing anything heavy."""

import itertools
import textwrap

from kdlab.commands.places import configs_in, names_under, resource

COMMANDS = {
    "run": "train and measure one student, or many with -m",
    "sweep": "run a sweep file: a question, its grid and its arms",
    "teacher": "train and measure a teacher alone",
    "evaluate": "measure a finished run again from its weights",
    "diagnose": "name the failure that a student shows, the evidence, and what repairs it",
    "report": "write the tables, the figures and the page of a study",
    "list": "show the runs of the store, or of a study",
    "sync": "send what Weights & Biases lacks of your runs, and see that it arrived",
    "pull": "fetch the records of runs that other machines sent to Weights & Biases",
    "board": "show all studies in the browser, a running sweep while it runs",
    "view": "save a workspace and a report of a study in Weights & Biases, or write them to a file",
    "completion": "print the completion of your shell: bash, zsh or fish",
}


def main_help() -> str:
    """The first page."""
    commands = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
    return f"""kdlab: when does knowledge distillation help, when does it fail, and what fixes it?

Usage:  kdlab COMMAND [options] [key=value ...]

Commands:
{commands}

First steps:
  kdlab run                                     distil one student on mnist1d, with its teacher and its scratch twin
  kdlab run data=digits student.width=32        another data set; teacher and recipe follow it
  kdlab run -m objective.temperature=1,2,4      a grid
  kdlab sweep temperature_alpha                 a question with its grid; then: kdlab report temperature_alpha

kdlab COMMAND --help says more. Runs are kept in ./runs (store.root=...), reports in ./reports (report.root=...);
every run is mirrored to Weights & Biases, offline unless tracker.mode=online."""


def command_help(name: str) -> str:
    """The page of a command."""
    return {
        "run": _run_help,
        "sweep": _sweep_help,
        "teacher": _teacher_help,
        "evaluate": _evaluate_help,
        "diagnose": _diagnose_help,
        "report": _report_help,
        "list": _list_help,
        "sync": _sync_help,
        "pull": _pull_help,
        "board": _board_help,
        "view": _view_help,
        "completion": _completion_help,
    }[name]()


def _run_help() -> str:
    groups = "\n".join(_group_row(group) for group in _GROUPS)
    return f"""kdlab run: train and measure one student; its teacher and its scratch twin are found or made.

Usage:  kdlab run [-m] [--dry-run[=all]] [--cfg job] [--config-dir DIR] [key=value ...]

Choices:
{groups}

Knobs:
  objective.temperature=4   T, softens teacher and student          objective.alpha=0.9   weight of the soft targets
  student.width=64          student size                            seed=0                student; teacher.seed follows
  training.steps=2000       equal for student and twin              training.optimizer.lr=0.003
  teacher.quality.scale=3   dose of the chosen quality              teacher.checkpoint=FILE   weights of your own
  teacher.ensemble.count=4  teachers by seed, answering as one      teacher.generations=2     of the student, before it

  loss = (1 - alpha) CE(labels, student) + alpha T^2 KL(teacher_T || student_T)

Options:
  -m                  every combination of the values: kdlab run -m objective.temperature=1,2,4 student.width=32,64
  --dry-run           check everything and print what would be trained, with time and disk (=all: every point)
  --cfg job           print the whole config and stop
  --config-dir DIR    your own configs, in the same folders (DIR/data/mine.yaml gives data=mine)
  force=true          train again what is finished

Further:
  '+objective/term@objective.terms.hint=hint'   adds one term to the objective
  evaluation.keep_predictions=all|test|none     what is kept of the forward passes
  tracker.mode=offline|online|auto|disabled     Weights & Biases

The folder of the run is the last line printed."""


def _group_row(group: str) -> str:
    options = ", ".join(configs_in(resource("conf") / group))
    return textwrap.fill(options, 110, initial_indent=f"  {group + '=':<22}", subsequent_indent=" " * 24)


_GROUPS = (
    "data",
    "data/transfer",
    "student",
    "teacher/model",
    "teacher/quality",
    "teacher/ensemble",
    "teacher/chain",
    "objective",
    "training/optimizer",
    "training/schedule",
    "training/augmentation",
)


def _sweep_help() -> str:
    rows = "\n".join(_sweep_row(name) for name in names_under(resource("sweeps")))
    return f"""kdlab sweep: run a sweep file. Every point is checked before the first trains; what is done is skipped.

Usage:  kdlab sweep NAME [--dry-run[=all]] [--cfg job] [--config-dir DIR] [key=value ...]

Sweeps:
{rows}

A value on the command line replaces the file's grid for that key:
  kdlab sweep temperature_alpha seed='range(0,16)' objective.temperature=1,4
  kdlab sweep temperature_alpha data=digits study.name=digits/temperature_alpha
  kdlab sweep temperature_alpha hydra/launcher=joblib hydra.launcher.n_jobs=2

kdlab sweep NAME --dry-run checks all of it and prints the points, what is finished, and the time and disk that the rest
will take; it trains nothing and writes nothing into the store.

A point that fails does not stop the others; the exit code is then 1 and the same command runs what is missing
(kdlab list NAME shows it). A file of your own, DIR/sweeps/mine.yaml, runs with: kdlab sweep mine --config-dir DIR
Afterwards: kdlab report NAME."""


def _sweep_row(name: str) -> str:
    row = f"{name:<21} {sweep_question(name)}"
    return textwrap.fill(row, 110, initial_indent="  ", subsequent_indent=" " * 24, break_on_hyphens=False)


def sweep_question(name: str) -> str:
    """The question of a sweep file, without a YAML parser (this page is instant)."""
    lines = (resource("sweeps") / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    at = next((at for at, line in enumerate(lines) if line.strip().startswith("question:")), None)
    if at is None:
        return ""
    said = lines[at].split(":", 1)[1].strip()
    if said != ">-":
        return said.strip("'\"")
    deeper = _indent(lines[at])
    return " ".join(line.strip() for line in itertools.takewhile(lambda line: _indent(line) > deeper, lines[at + 1 :]))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _teacher_help() -> str:
    return """kdlab teacher: train and measure a teacher alone (a student's run does this by itself when it needs one).

Usage:  kdlab teacher [-m] [--dry-run[=all]] [key=value ...]

  kdlab teacher data=digits teacher.seed=3
  kdlab teacher teacher/quality=weak teacher.quality.steps=100
  kdlab teacher -m teacher.seed='range(0,8)'
  kdlab teacher teacher/ensemble=seeds teacher.ensemble.count=4

The folder of the teacher is the last line printed."""


def _evaluate_help() -> str:
    return """kdlab evaluate: measure a finished run again from its weights, and write its record anew.

Usage:  kdlab evaluate RUN [store.root=DIR] [evaluation.key=value ...]

RUN is the path of a run folder, a run id, or a unique prefix of one.

  kdlab evaluate 3fa1
  kdlab evaluate runs/3fa1b2c4d5e6f708 evaluation.keep_predictions=all

Nothing from a run folder is executed: a config that names other code than the building blocks of kdlab, torch, timm,
transformers and kornia is refused, unless allow_targets=[my.package] says that you trust it."""


def _diagnose_help() -> str:
    return """kdlab diagnose: name the failure that a student shows, with the evidence, the harm, and what repairs it.

Usage:  kdlab diagnose RUN [--probe] [--deploy WHERE] [--json] [store.root=DIR] [report.root=DIR]
        kdlab diagnose STUDY [--probe]

RUN is the path of a run folder, a run id, or a unique prefix of one. Train and validation are read, never the test set.

  kdlab diagnose 3fa1                       from the records alone; a rule that lacks a measurement says what it needs
  kdlab diagnose 3fa1 --probe               trains what is lacking: scratch twin, a student four times as wide, one
                                            of four times the steps, one without regularisation; stacked where they
                                            fit together, and only what is not in the store
  kdlab diagnose 3fa1 --deploy noise_mild   a slice of the data set, made of validation examples
  kdlab diagnose 3fa1 --deploy field.npz    a sample of your own: inputs, and labels where they are known
  kdlab diagnose 3fa1 --deploy shift:0.5    data.shift at that severity; --deploy pool: the pool as it is

The failures, in the order in which the first that fires names the run: quantised_teacher, weak_teacher,
teacher_miscalibrated, domain_shift, over_regularised, under_trained, student_too_small. The fix is what the
failure x fix matrix supports (report.root). STUDY diagnoses its students one by one and writes diagnoses.jsonl beside
its report, in which a study of planted failures shows how often the diagnosis is right: kdlab report STUDY."""


def _report_help() -> str:
    return """kdlab report: write tables (Markdown, CSV, LaTeX), figures, a page and records.jsonl of a study.

Usage:  kdlab report [STUDY] [--prune] [store.root=DIR] [report.root=DIR]

Reads the store and the records.jsonl that is already there, merges them by run id and drops nothing, unless --prune
asks to forget the runs that the store's study no longer lists. Without runs (a fresh clone) it rebuilds the same bytes
from records.jsonl alone. A finding brings the index in finding/ up to date, and what README.md and docs quote; without
STUDY every folder with a records.jsonl is rebuilt, and the overview. What a study predicted (study.predictions) stands
beside what was seen.

index.html is one file that opens from disk and asks the network for nothing: sort, filter and tick configurations and
runs, see them side by side, click on one for all that its record knows. Its address holds the view, to be sent on."""


def _list_help() -> str:
    return """kdlab list: show the runs of the store, or of one study with what is still missing.

Usage:  kdlab list [STUDY] [FILTER ...] [sort=KEY] [columns=KEY,...] [--csv] [store.root=DIR]

  kdlab list temperature_alpha role=student objective.temperature=4
  kdlab list role=student,scratch data=digits seed=3 status=failed
  kdlab list temperature_alpha 'test/accuracy>0.65' sort=-test/accuracy
  kdlab list temperature_alpha columns=role,seed,provenance.seconds --csv

A filter is KEY=value (several: a,b), KEY!=value, KEY>value, KEY>=, KEY<, KEY<= (quote < and > for the shell). KEY is
  run role status data arm quality seed study phase error   status: finished, failed, running, killed, missing
  a key that was measured                                   test/accuracy, ood/mean_gap, latency/p50_ms, ...
  a key of the config                                       student.width, training.steps, teacher.quality.scale, ...

What all runs share is told once above the table; what they were asked for with makes the columns. On a terminal the
table is cut to its width; in a pipe it is whole, with full keys as headings. sort=-KEY sorts downwards."""


def _board_help() -> str:
    return """kdlab board: all studies in the browser, a running sweep while it runs.

Usage:  kdlab board [STUDY] [--port 8765] [--host 127.0.0.1] [--open] [store.root=runs] [report.root=reports]

What is done, running, failed, stopped and waiting, arm by arm, and when it will be through; curves as they grow;
errors; results so far; the report page. It refreshes by itself, works without a network, and only reads: start and end
it (Ctrl-C) whenever you like, beside a sweep or without one.

  kdlab board --open                     opens the browser
  kdlab board teacher_quality            prints the address of one study
  kdlab board --port 9000                another port; without --port the first free one from 8765 on

Only this machine can reach it. --host 0.0.0.0 lets everyone read who can reach the machine: there is no password. From
elsewhere, rather: ssh -L 8765:localhost:8765 MACHINE, then http://localhost:8765 in the browser there."""


def _sync_help() -> str:
    return """kdlab sync: send what Weights & Biases lacks of your runs, then ask its server whether all of it arrived.

Usage:  kdlab sync [STUDY] [store.root=runs] [tracker.sync_timeout_seconds=120]

Runs made with tracker.mode=offline (the default) wait in runs/wandb; so do those whose upload broke off. Config, final
numbers, length of the history and files are compared with what was written here, tags gained since are set, and
records that were measured again take the place of the old ones. What did not arrive is named, and the exit code is 1;
run again, it sends the rest. Nothing is sent twice. It needs a key: wandb login, or WANDB_API_KEY."""


def _pull_help() -> str:
    return """kdlab pull: fetch the records of runs that other machines sent to W&B, so that one report covers all.

Usage:  kdlab pull [ENTITY/]PROJECT [STUDY] [store.root=runs]

Every run that kdlab mirrors carries its record and the studies it belongs to. They are kept in runs/pulled and count in
kdlab report and kdlab list. Weights do not travel: a sweep that needs such a run trains it here."""


def _view_help() -> str:
    return """kdlab view: the workspace and the report in which Weights & Biases shows a study, as code.

Usage:  kdlab view push [STUDY] [tracker.project=kdlab] [tracker.entity=TEAM] [store.root=runs] [report.root=reports]
        kdlab view dump [STUDY] [--output FILE]

The workspace has parallel coordinates over the study's knobs, accuracy against p99 latency, ECE against accuracy, bars
of what each shift costs, reliability diagrams, curves, and runs side by side. The report has the question, the
hypothesis, what the sweep file says of the result, the table of verdicts, the same panels, and the commands. Both show
the students and scratch twins tagged with the study. Without STUDY: a workspace over all runs, and both for each study
of the store.

push saves them in the project, where runs have to be (kdlab sync). Pushed again, they take the place of what was there,
changes made by hand included: a workspace is known by its address, a report by its title. It needs a key: wandb login.
dump writes the same as JSON, the same bytes each time, without a server or a key.
Both need an extra: pip install 'kdlab[wandb-views]'."""


def _completion_help() -> str:
    return """kdlab completion: print the completion of commands, sweeps, groups, keys, studies and runs for your shell.

Usage:  kdlab completion bash|zsh|fish

  eval "$(kdlab completion bash)"     in this bash; the same line in ~/.bashrc for every bash
  eval "$(kdlab completion zsh)"      in this zsh; the same line in ~/.zshrc for every zsh
  kdlab completion fish | source      in this fish; kdlab completion fish > ~/.config/fish/completions/kdlab.fish

Then: kdlab sweep <TAB>, kdlab run student=<TAB>, kdlab run data=digits objective.<TAB>, kdlab report <TAB>."""
