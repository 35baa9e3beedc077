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


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",))
def same_scale(student, teacher, batch, step, *, teacher_layer, student_layer):
    """Squared difference of the lengths of two layers' outputs: the layers are named by module path."""
    lengths = [
        output.features[layer].flatten(1).norm(dim=1)
        for output, layer in ((student, student_layer), (teacher, teacher_layer))
    ]
    return (lengths[0] - lengths[1]) ** 2
