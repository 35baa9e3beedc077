"""The cached teacher: the live one's answers, by index, from files that are renewed when they no longer are."""

import itertools

import numpy as np
import pytest
import torch

from kdlab.data import Examples
from kdlab.errors import UserError
from kdlab.models import MLP
from kdlab.outputs import TeacherOutput
from kdlab.teachers import (
    CachedTeacher,
    OnlineTeacher,
    PermutedTeacher,
    ScaledTeacher,
    answers_by_index,
    cached,
    refuses_augmentation,
)

CLASSES, ROWS = 5, 60
COMPACT, SPREAD = "compact", "spread"


def examples(kind=SPREAD, *, rows=ROWS, seed=0):
    draws = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=draws)
    index = order + 40 if kind == COMPACT else order * 10**9 - 10**10  # the second: no table could hold it
    return Examples(3 * torch.randn(rows, 1, 12, generator=draws), torch.arange(rows) % CLASSES, index)


def live(seed=0):
    torch.manual_seed(seed)
    return OnlineTeacher(MLP(input_shape=(1, 12), num_classes=CLASSES, width=8))


def make(tmp_path, teacher, shown, **knobs):
    said = []
    found = cached(
        teacher, shown, folder=tmp_path, described={"teacher": "one"}, say=said.append, batch_size=7, **knobs
    )
    return found, said


@pytest.mark.parametrize("kind", [COMPACT, SPREAD])
@pytest.mark.parametrize("small", [True, False])
def test_it_says_what_the_live_teacher_says(tmp_path, kind, small, monkeypatch):
    if not small:
        monkeypatch.setattr(CachedTeacher.__init__, "__kwdefaults__", {**CachedTeacher.__init__.__kwdefaults__,
                                                                       "in_memory_bytes": 0})  # fmt: skip
    asked, teacher = examples(kind), ScaledTeacher(live(), scale=3.0)
    name = next(path for path, module in teacher.teacher.model.named_modules() if isinstance(module, torch.nn.Linear))
    found, said = make(tmp_path, teacher, asked, features=[name])
    assert said == []
    assert found.provides == {"logits", f"features.{name}"}
    assert found.num_classes == CLASSES
    for rows in (torch.randperm(ROWS)[:9], torch.tensor([3, 3, 0]), torch.arange(ROWS)):
        expected = teacher(asked.inputs[rows], asked.index[rows])
        answer = found(torch.zeros(len(rows), 1, 12), asked.index[rows])
        torch.testing.assert_close(answer.logits, expected.logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(answer.features[name], expected.features[name], rtol=1e-5, atol=1e-6)
        assert not answer.logits.requires_grad


def test_leading_axes_of_a_stack_are_a_loop(tmp_path):
    asked = examples()
    found, _ = make(tmp_path, live(), asked)
    index = asked.index[torch.randint(ROWS, (3, 4))]
    together = found(torch.zeros(3, 4, 1, 12), index)
    assert torch.equal(together.logits, torch.stack([found(torch.zeros(4), one).logits for one in index]))


def test_float16_is_within_its_rounding_and_answers_in_float32(tmp_path):
    asked, teacher = examples(), live()
    found, _ = make(tmp_path, teacher, asked, dtype="float16")
    answer = found(asked.inputs, asked.index).logits
    assert answer.dtype == torch.float32
    expected = teacher(asked.inputs, asked.index).logits
    torch.testing.assert_close(answer, expected, rtol=2**-10, atol=1e-6)
    assert not torch.equal(answer, expected)
    (file,) = tmp_path.glob("*/logits.npy")
    assert np.load(file).dtype == np.float16


def test_it_answers_in_the_dtype_it_was_moved_to_and_back(tmp_path):
    asked = examples()
    found, _ = make(tmp_path, live(), asked)
    before = found(asked.inputs, asked.index).logits
    moved = found.to("cpu", torch.float64)
    assert moved is found
    assert found(asked.inputs, asked.index).logits.dtype == torch.float64
    assert torch.equal(found.to("cpu", torch.float32)(asked.inputs, asked.index).logits, before)


@pytest.mark.parametrize("kind", [COMPACT, SPREAD])
@pytest.mark.parametrize("small", [True, False])
def test_an_index_without_an_entry_is_named(kind, small):
    asked = examples(kind)
    index = asked.index[asked.index != asked.index[7]]  # a hole in the middle
    found = CachedTeacher(torch.zeros(ROWS - 1, 3), index, in_memory_bytes=10**6 if small else 0)
    for wrong in (-1, int(asked.index[7]), int(asked.index.min()) - 1, int(asked.index.max()) + 1, 2**62, -(2**62)):
        with pytest.raises(UserError, match=rf"no answer for example index {wrong} .*teacher\.cache\.mode=never"):
            found(torch.zeros(2), torch.tensor([int(index[0]), wrong]))
    found(torch.zeros(2), index[:2])


def test_an_index_that_occurs_twice_is_refused():
    with pytest.raises(UserError, match="all different"):
        CachedTeacher(torch.zeros(2, 3), torch.tensor([4, 4]))
    with pytest.raises(UserError, match="2 index values and 3 rows of logits"):
        CachedTeacher(torch.zeros(3, 3), torch.tensor([4, 5]))


def test_augmentation_beside_it_is_refused_unless_meant():
    index = torch.arange(2)
    assert answers_by_index(CachedTeacher(torch.zeros(2, 3), index))
    assert refuses_augmentation(CachedTeacher(torch.zeros(2, 3), index))
    assert not refuses_augmentation(CachedTeacher(torch.zeros(2, 3), index, fixed_targets=True))
    assert refuses_augmentation(PermutedTeacher(live(), seed=0))
    assert not refuses_augmentation(live())


class Counted:
    """A teacher that counts the rows it is asked for."""

    def __init__(self, teacher):
        self.teacher, self.rows = teacher, 0
        self.num_classes, self.provides = teacher.num_classes, teacher.provides

    def __call__(self, inputs, index):
        self.rows += len(index)
        return self.teacher(inputs, index)

    def to(self, device, dtype=None):
        return self


def test_what_is_there_is_not_asked_again_but_for_a_few(tmp_path):
    asked = examples(rows=2000)
    first, second = Counted(live()), Counted(live())
    make(tmp_path, first, asked)
    found, said = make(tmp_path, second, asked)
    assert first.rows >= 2000
    assert second.rows == 1 + 16  # the shape, and the entries that are checked
    assert said == []
    assert len(list(tmp_path.glob("*/logits.npy"))) == 1
    assert torch.equal(found(asked.inputs, asked.index).logits, make(tmp_path, live(), asked)[0](None, asked.index)[0])


def test_other_weights_under_the_same_name_renew_it(tmp_path):
    asked = examples()
    make(tmp_path, live(0), asked)
    found, said = make(tmp_path, live(1), asked)
    assert len(said) == 1
    assert "outputs of the teacher one: logits differ from the live teacher's by" in said[0]
    assert "written anew" in said[0]
    torch.testing.assert_close(found(None, asked.index).logits, live(1)(asked.inputs, asked.index).logits)


def test_a_difference_below_the_tolerance_is_none(tmp_path):
    asked = examples()
    make(tmp_path, live(), asked)
    assert make(tmp_path, ScaledTeacher(live(), scale=1 + 1e-6), asked)[1] == []
    assert len(make(tmp_path, ScaledTeacher(live(), scale=1 + 1e-3), asked)[1]) == 1


def test_other_data_dtype_or_outputs_are_other_files(tmp_path):
    asked = examples()
    changed = Examples(asked.inputs.clone(), asked.labels, asked.index)
    changed.inputs[17, 0, 3] += 1e-3  # one value of one example that no check looks at
    renamed = Examples(asked.inputs, asked.labels, asked.index + 1)
    name = next(path for path, module in live().model.named_modules() if isinstance(module, torch.nn.Linear))
    for one in (asked, changed, renamed):
        make(tmp_path, live(), one)
    make(tmp_path, live(), asked, dtype="float16")
    make(tmp_path, live(), asked, features=[name])
    assert len(list(tmp_path.glob("*/logits.npy"))) == 5


def test_a_damaged_file_is_renewed(tmp_path):
    asked = examples()
    make(tmp_path, live(), asked)
    (file,) = tmp_path.glob("*/logits.npy")
    content = bytearray(file.read_bytes())
    content[-5] ^= 64
    file.write_bytes(content)
    found, said = make(tmp_path, live(), asked)
    assert said == ["  outputs of the teacher one: a file is damaged; written anew"]
    torch.testing.assert_close(found(None, asked.index).logits, live()(asked.inputs, asked.index).logits)


class Says:
    """A teacher that says fixed logits."""

    num_classes, provides = 3, frozenset({"logits"})

    def __init__(self, logits):
        self.logits = torch.tensor(logits)

    def __call__(self, inputs, index):
        return TeacherOutput(self.logits.expand(len(index), 3), {})

    def to(self, device, dtype=None):
        return self


def test_what_half_precision_cannot_hold_and_what_is_no_number_is_refused(tmp_path):
    asked = examples()
    with pytest.raises(UserError, match=r"teacher\.cache\.dtype = 'float16': logits go up to 1e\+05; float32"):
        make(tmp_path, Says([1e5, 0.0, 0.0]), asked, dtype="float16")
    with pytest.raises(UserError, match=r"logits for example index .* are not a number"):
        make(tmp_path, Says([float("nan"), 0.0, 0.0]), asked)
    assert not list(tmp_path.glob("*/logits.npy"))


def test_a_class_that_is_masked_out_is_kept(tmp_path):
    asked = examples()
    for _ in range(2):
        found, said = make(tmp_path, Says([float("-inf"), 0.0, 1.0]), asked)
        assert said == []
    assert found(None, asked.index[:2]).logits.tolist() == [[float("-inf"), 0.0, 1.0]] * 2


def test_a_teacher_by_index_is_asked_by_the_index_of_the_example(tmp_path):
    asked, teacher = examples(COMPACT), PermutedTeacher(live(), seed=3)
    shown = Examples(asked.inputs, asked.labels, torch.arange(ROWS))
    found, _ = make(tmp_path, teacher, shown, asked=asked.index)
    expected = teacher(asked.inputs, asked.index).logits
    torch.testing.assert_close(found(None, torch.arange(ROWS)).logits, expected)


def test_a_feature_that_the_teacher_lacks_is_told(tmp_path):
    with pytest.raises(UserError, match="no such feature or submodule"):
        make(tmp_path, live(), examples(), features=["nowhere"])
    with pytest.raises(UserError, match="does not give features"):
        make(tmp_path, Says([0.0, 0.0, 0.0]), examples(), features=["nowhere"])


def test_what_is_written_is_what_stored_arrays_reads(tmp_path):
    """The files hold nothing but arrays and text: opening them with pickle forbidden is all that reading needs."""
    make(tmp_path, live(), examples())
    names = sorted(path.name for path in tmp_path.glob("*/*"))
    assert names == ["logits.npy", "manifest.json"]
    assert all(np.load(path, allow_pickle=False).shape == (ROWS, CLASSES) for path in tmp_path.glob("*/*.npy"))


def test_missing_rows_are_nan_where_asking_would_wait(monkeypatch):
    """What an accelerator answers: a NaN stops the run at that step without a synchronisation in every other one."""
    found = CachedTeacher(torch.arange(6.0).reshape(2, 3), torch.tensor([4, 6]))
    padded = torch.cat([found._values["logits"], torch.full((1, 3), torch.nan)])
    monkeypatch.setitem(found._values, "logits", padded)
    answer = found(None, torch.tensor([6, 5, 3, 99, 4])).logits
    assert torch.equal(answer.isnan().all(-1), torch.tensor([False, True, True, True, False]))
    assert answer[0].tolist() == [3.0, 4.0, 5.0]


def test_every_row_is_its_own(tmp_path):
    """Against a slow loop over rows, in an order that is not sorted."""
    asked = examples(COMPACT)
    found, _ = make(tmp_path, live(), asked)
    teacher = live()
    for row in itertools.islice(range(ROWS), 0, ROWS, 11):
        one = slice(row, row + 1)
        torch.testing.assert_close(found(None, asked.index[one]).logits, teacher(asked.inputs[one], None).logits)
