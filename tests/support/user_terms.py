"""Terms as a user writes them: one that works, one that breaks in the middle with an error that cannot travel."""

from kdlab.objectives import non_negative, term


@term(needs=("logits",), knobs={"margin": non_negative})
def hint(student, teacher, batch, step, *, margin=0.0):
    return ((student.logits - teacher.logits).abs() - margin).clamp(min=0).mean(-1)


class OddError(Exception):
    """Cannot be unpickled: its constructor wants two arguments and its state holds one."""

    def __init__(self, what, where):
        super().__init__(f"{what} at step {where}")


@term(needs=("logits",), knobs={"patience": non_negative})
def fragile(student, teacher, batch, step, *, patience=5):
    if step >= patience:
        raise OddError("broken", step)
    return (student.logits - teacher.logits).abs().mean(-1)
