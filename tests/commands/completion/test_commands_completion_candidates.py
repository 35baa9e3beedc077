"""What may stand at the cursor."""

import os
import time

from kdlab.commands.completion.candidates import candidates, shown
from kdlab.commands.help import COMMANDS
from kdlab.commands.places import configs_in, names_under, resource


def offered(line):
    """What a shell would offer for a line, without the space that ends a word."""
    return [name.rstrip() for name in shown(line)]


def test_bash_is_given_what_follows_its_word_break():
    assert "mlp" in shown("kdlab run student=", breaks="=:")
    assert "mlp,cnn1d" in shown("kdlab run student=mlp,", breaks="=:")
    assert "student=mlp" in shown("kdlab run student=", breaks="")
    assert "student=mlp" in shown("kdlab run 'student=m", breaks="=:")
    assert shown("kdlab run store.root=C:x", breaks="=:") == []


def test_commands_end_their_word_and_keys_do_not():
    assert shown("kdlab ") == [f"{name} " for name in COMMANDS]
    assert shown("kdlab sw") == ["sweep "]
    assert shown("kdlab nope ") == shown("kdlab nope") == []
    assert "student=" in shown("kdlab run s")


def test_sweeps_kdlabs_and_the_users_nested_ones_too(user_conf):
    assert offered("kdlab sweep ") == names_under(resource("sweeps"))
    found = offered(f"kdlab sweep --config-dir {user_conf} ")
    assert {"mine", "deep/er", "quickstart"} <= set(found)
    assert offered(f"kdlab sweep --config-dir={user_conf} deep") == ["deep/er"]
    assert offered("kdlab run sweeps=quick") == ["sweeps=quickstart"]
    assert "quickstart" not in offered("kdlab sweep quickstart "), "one name is enough; overrides follow"


def test_groups_and_their_options(user_conf):
    assert offered("kdlab run student=") == [f"student={name}" for name in configs_in(resource("conf") / "student")]
    groups = {f"teacher/{name}=" for name in ("model", "quality", "ensemble", "chain")}
    assert groups | {"teacher."} == set(offered("kdlab run teacher"))
    assert "training/optimizer@teacher.training.optimizer=adamw" in offered(
        "kdlab run training/optimizer@teacher.training.optimizer="
    )
    assert "data=tiny" in offered(f"kdlab run --config-dir {user_conf} data=")
    assert "data=tiny" not in offered("kdlab run data=")
    assert {"hydra/launcher=basic"} <= set(offered("kdlab run hydra/launcher="))


def test_no_stray_folder_is_a_group():
    """The parent of sweeps/ is on Hydra's search path, and whatever lies beside it is no config."""
    names = {name.split("=")[0].split("@")[0] for name in offered("kdlab run ") if name.endswith("=")}
    groups = {str(path.parent.relative_to(resource("conf"))) for path in resource("conf").rglob("*.yaml")}
    assert not names & {"tests", "reports", "kdlab", "hydra_plugins", "conf"}
    assert {name for name in names if "/" in name} <= groups


def test_a_list_goes_on_after_its_comma():
    assert "student=mlp,cnn1d" in offered("kdlab run -m student=mlp,")
    assert "student=mlp,mlp" not in offered("kdlab run -m student=mlp,")
    assert offered("kdlab run objective/term=[hard_labels,soft") == ["objective/term=[hard_labels,soft_targets"]


def test_keys_are_those_of_the_chosen_groups():
    assert offered("kdlab run objective.temp") == ["objective.temperature="]
    assert "objective.terms." in offered("kdlab run objective.")
    digits, mnist1d = (set(offered(f"kdlab run data={name} data.")) for name in ("digits", "mnist1d"))
    assert "data.padding=" in mnist1d - digits
    assert "data.train=" in mnist1d & digits
    assert offered("kdlab run -m data=digits,mnist1d data.padd") == []
    assert set(offered("kdlab sweep quickstart data.")) == digits, "the sweep's own choice of groups counts"
    assert offered("kdlab run data=nope objective.temp") == ["objective.temperature="], "a wrong choice costs nothing"


def test_values():
    assert offered("kdlab run tracker.mode=o") == ["tracker.mode=offline", "tracker.mode=online"]
    assert offered("kdlab run training.precision=") == [
        f"training.precision={name}" for name in ("16-mixed", "32-true", "64-true", "bf16-mixed")
    ]
    assert offered("kdlab run force=") == ["force=true", "force=false"]
    assert offered("kdlab run objective.temperature=1,") == []
    assert offered("kdlab run teacher.seed=") == [], "an interpolation is nothing to start from"


def test_signs_of_hydra_and_terms_with_their_place():
    assert "+objective/term@objective.terms.soft_targets=soft_targets" in offered("kdlab run +objective/term@")
    assert "+objective/term@objective.terms.x=soft_targets" in offered("kdlab run +objective/term@objective.terms.x=s")
    assert offered("kdlab run ++objective.temp") == ["++objective.temperature="]


def test_options_and_their_values(desk):
    (desk / "folder").mkdir()
    (desk / "file.npz").touch()
    assert {"-m", "--cfg", "--config-dir", "--dry-run"} <= set(offered("kdlab run -"))
    assert offered("kdlab run --cfg ") == ["job", "hydra", "all"]
    assert shown("kdlab run --config-dir f") == ["file.npz ", "folder/"]
    assert shown("kdlab run store.root=fo") == ["store.root=folder/"]
    assert shown("kdlab run data.path=fi") == ["data.path=file.npz "]
    assert offered("kdlab run store.root=nowhere/") == []


def test_studies_and_runs_of_the_store_on_the_line(desk):
    for root in ("runs", "other/runs"):
        (desk / root / "studies" / "deep").mkdir(parents=True)
    for path in ("runs/studies/first.jsonl", "other/runs/studies/deep/second.jsonl"):
        (desk / path).write_text('{"kind": "study", "name": "x"}\n')
    (desk / "reports" / "told").mkdir(parents=True)
    (desk / "reports" / "told" / "records.jsonl").touch()
    (desk / "runs" / ("a1" * 8)).mkdir()
    (desk / "runs" / ("a1" * 8) / "record.json").touch()
    (desk / "runs" / "hydra").mkdir()
    assert offered("kdlab report ")[:2] == ["first", "told"]
    assert offered("kdlab list ")[0] == "first"
    assert offered("kdlab list store.root=other/runs d")[0] == "deep/second"
    assert offered("kdlab evaluate a") == ["a1" * 8, "allow_targets="]
    assert offered("kdlab evaluate store.root=other/runs a1") == []
    assert offered("kdlab evaluate a1 evaluation.keep_predictions=") == [
        f"evaluation.keep_predictions={name}" for name in ("all", "none", "test")
    ]
    assert offered("kdlab evaluate a1 student.w") == [], "the network is trained"
    assert offered("kdlab list first role=s") == ["role=student", "role=scratch"]
    assert offered("kdlab list first quality=over") == ["quality=overconfident"]
    assert offered("kdlab list study=") == ["study=first"]
    assert "objective.temperature=" in offered("kdlab list first objective.")


def test_an_edited_config_is_seen_at_once(desk):
    path = desk / "conf" / "data" / "own.yaml"
    path.parent.mkdir(parents=True)
    line = f"kdlab run --config-dir {desk / 'conf'} data=own data."
    for key in ("depth", "height"):
        path.write_text(f"name: own\n{key}: 1\n")
        os.utime(path, ns=(time.time_ns(), time.time_ns() + len(key)))
        assert f"data.{key}=" in offered(line)


def test_a_cache_that_cannot_be_written_costs_no_answer(monkeypatch, desk):
    (desk / "taken").touch()
    monkeypatch.setenv("KDLAB_CACHE_DIR", str(desk / "taken"))
    assert offered("kdlab run objective.temp") == ["objective.temperature="]


def test_every_candidate_is_an_override_that_hydra_reads():
    from kdlab.commands.composing import parse_overrides

    names = [name.strip() for name in candidates(["kdlab", "run"], "") if "=" in name]
    assert len(names) > 10
    assert all(one.key_or_group for one in parse_overrides([name + "null" * name.endswith("=") for name in names]))
