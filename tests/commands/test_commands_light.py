"""Commands that only read start without torch: what that costs is two seconds of every ``kdlab report``."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "pytorch_lightning", "wandb", "pandas", "netcal"}
SCRIPT = """
import json, sys
from kdlab.commands.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


@pytest.mark.parametrize("words", [["report", "s", "report.root=reports"], ["list", "store.root=none"]])
def test_what_only_reads_starts_without_torch(tmp_path, words):
    study = tmp_path / "reports" / "s"
    study.mkdir(parents=True)
    (study / "records.jsonl").write_text('{"kind":"study","name":"s"}\n', encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, env=os.environ, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert "kdlab" in modules
    assert not HEAVY & set(modules)
    if words[0] == "report":
        assert code == 0


def test_what_cannot_be_set_there_and_what_is_wrong_are_still_refused(tmp_path):
    from kdlab.commands.reading import settings
    from kdlab.errors import UserError

    for words in (["student.width=3"], ["store.root=[1]"]):
        with pytest.raises(UserError, match=words[0].split("=")[0]):
            settings(words, command="report", reads=("store.root", "report.root"))
