"""Realistic compact records without training: a T x alpha grid, arms, qualities, digits with split per seed."""

import hashlib
import json
from typing import Any

import numpy as np

SETS = ("train", "validation", "test")
SLICES = {
    **{
        f"{kind}_{level}": {"reference": "twins", "ood": True, "size": 2000}
        for kind in ("noise", "shear", "scale", "translate")
        for level in (1, 2, 3)
    },
    "label_shift": {"reference": "test", "ood": False, "size": 2000},
}
SIZES = {
    "mnist1d": {"train": 4000, "validation": 2000, "test": 10000},
    "digits": {"train": 1078, "validation": 359, "test": 360},
}


def run_id(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def six(value: float) -> float:
    return float(f"{value:.6g}")


def bins(rng: np.random.Generator, accuracy: float, sharpness: float, n: int) -> dict[str, list[float]]:
    share = rng.dirichlet(np.linspace(0.2, 4, 15) * 20)
    count = np.floor(share * n).astype(int)
    count[0] = 0
    count[-1] += n - count.sum()
    middle = (np.arange(15) + 0.5) / 15
    correct = np.clip(middle * accuracy / 0.75 - sharpness, 0, 1)
    return {
        "count": [int(c) for c in count],
        "confidence": [six(c) for c in middle],
        "accuracy": [six(a) for a in correct],
    }


def metrics(
    rng: np.random.Generator,
    *,
    accuracy: float,
    ece: float,
    data: str,
    role: str,
    teacher_accuracy: float | None,
    latency_ms: float = 0.023,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*SETS, *SLICES):
        drop = {"train": -0.06, "validation": -0.002, "test": 0.0, "label_shift": 0.01}.get(
            name, 0.05 * int(name[-1]) if name[-1].isdigit() else 0.0
        )
        found[f"{name}/accuracy"] = six(accuracy - drop + rng.normal(0, 0.004))
        found[f"{name}/nll"] = six(1.1 + drop + rng.normal(0, 0.01))
        found[f"{name}/brier"] = six(0.5 + drop)
        found[f"{name}/ece"] = six(abs(ece + drop / 5 + rng.normal(0, 0.003)))
        student = teacher_accuracy is not None
        found[f"{name}/agreement"] = six(0.72 - drop + rng.normal(0, 0.01)) if student else None
        found[f"{name}/teacher_kl"] = six(0.4 + drop) if student else None
        found[f"{name}/accuracy_vs_teacher"] = (
            six(found[f"{name}/accuracy"] - teacher_accuracy) if teacher_accuracy else None
        )
        found[f"{name}/ece_vs_teacher"] = 0.01 if student else None
    found["test/accuracy"] = six(accuracy)
    for name in SLICES:
        found[f"{name}/gap"] = six(found["test/accuracy"] - found[f"{name}/accuracy"])
    gaps = [found[f"{name}/gap"] for name, facts in SLICES.items() if facts["ood"]]
    found |= {
        "ood/mean_gap": six(float(np.mean(gaps))),
        "ood/worst_gap": max(gaps),
        "test/ece": six(abs(ece + rng.normal(0, 0.004))),
        "test/log_fitted_temperature": six(rng.normal(0.3, 0.05)),
        "test/fitted_temperature": 1.3,
        "transfer/target_entropy": 0.4 if role == "teacher" else None,
        "latency/p50_ms": six(latency_ms),
        "latency/p99_ms": six(latency_ms * 1.6),
        "latency/p99_ms_low": six(latency_ms * 1.4),
        "latency/p99_ms_high": six(latency_ms * 1.9),
        "cost/num_params": 13110,
        "cost/macs": 12800.0,
    }
    return found


def curves(rng: np.random.Generator, accuracy: float) -> dict[str, list[list[float]]]:
    steps = np.arange(1, 21) * 100
    values = accuracy - 0.45 * np.exp(-steps / 350) + rng.normal(0, 0.004, len(steps))
    return {
        "validation/accuracy": [[int(s), six(v)] for s, v in zip(steps, values, strict=False)],
        "validation/nll": [[int(s), six(2 - v)] for s, v in zip(steps, values, strict=False)],
    }


def run(
    role: str,
    *,
    data: str,
    seeds: dict[str, int | None],
    identity: dict[str, Any],
    members: list[dict[str, Any]],
    values: dict[str, Any],
    rng: np.random.Generator,
    accuracy: float,
    sharpness: float = 0.0,
    teacher: Any = None,
    twin: str | None = None,
    status: str = "finished",
) -> dict[str, Any]:
    failed = status == "failed"
    return {
        "kind": "run",
        "run_id": run_id(role == "teacher", identity),
        "role": role,
        "status": status,
        "data": data,
        "seeds": seeds,
        "members": members,
        "identity": identity,
        "metrics": {} if failed else values,
        "undefined": {},
        "sizes": SIZES[data],
        "bins": {} if failed else {"test": bins(rng, accuracy, sharpness, SIZES[data]["test"])},
        "slices": {} if failed else SLICES,
        "curves": {} if failed else curves(rng, accuracy),
        "teacher": teacher,
        "parent": None,
        "twin": twin,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "versions": {"kdlab": "0.1.0", "torch": "2.13.0"},
        "error": {"type": "FloatingPointError", "message": "loss of term soft_targets is nan at step 12"}
        if failed
        else None,
    }


class Maker:
    """Makes the runs of a study: teachers and twins once each, students for every point."""

    def __init__(self, *, data: str = "mnist1d", seed: int = 0, resplit: bool = False) -> None:
        self.data, self.rng, self.resplit = data, np.random.default_rng(seed), resplit
        self.runs: dict[str, dict[str, Any]] = {}
        self.unit = np.random.default_rng(seed + 1).normal(0, 0.006, 1000)

    def _data_seed(self, seed: int) -> int:
        return seed if self.resplit else 0

    def teacher(
        self, seed: int, *, quality: str = "standard", accuracy: float = 0.9, ece: float = 0.03
    ) -> dict[str, Any]:
        identity = {
            "role": "teacher",
            "data": {"name": self.data},
            "model": {"name": "cnn1d", "width": 50},
            "quality": quality,
            "seeds": {"teacher": seed, "data": self._data_seed(seed)},
        }
        key = run_id(True, identity)
        if key not in self.runs:
            value = accuracy + self.rng.normal(0, 0.003)
            self.runs[key] = run(
                "teacher",
                data=self.data,
                seeds={"student": None, "teacher": seed, "data": self._data_seed(seed)},
                identity=identity,
                members=[],
                rng=self.rng,
                accuracy=value,
                sharpness=ece,
                values=metrics(
                    self.rng,
                    accuracy=value,
                    ece=ece,
                    data=self.data,
                    role="teacher",
                    teacher_accuracy=None,
                    latency_ms=0.19,
                ),
            )
        return self.runs[key]

    def scratch(self, seed: int, *, width: int = 100, members: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        identity = {
            "role": "student",
            "data": {"name": self.data},
            "model": {"name": "mlp", "width": width},
            "teacher": None,
            "terms": {"hard_labels": {"weight": 1.0}},
            "seeds": {"student": seed, "data": self._data_seed(seed)},
        }
        key = run_id(False, identity)
        if key not in self.runs:
            accuracy = 0.63 + 0.03 * np.log2(width / 100) + self.unit[seed % 1000]
            self.runs[key] = run(
                "scratch",
                data=self.data,
                seeds={"student": seed, "teacher": None, "data": self._data_seed(seed)},
                identity=identity,
                members=[],
                rng=self.rng,
                accuracy=accuracy,
                sharpness=0.08,
                values=metrics(
                    self.rng,
                    accuracy=accuracy,
                    ece=0.09,
                    data=self.data,
                    role="scratch",
                    teacher_accuracy=None,
                    latency_ms=0.023 * (width / 100) ** 0.3,
                ),
            )
        known = self.runs[key]["members"]
        known += [member for member in members or [] if member not in known]
        return self.runs[key]

    def student(
        self,
        seed: int,
        *,
        overrides: list[str],
        T: float = 4,
        alpha: float = 0.9,
        width: int = 100,
        quality: str = "standard",
        teacher_seed: int | None = None,
        gain: float = 0.012,
        arm: str | None = None,
        phase: str | None = None,
        status: str = "finished",
    ) -> dict[str, Any]:
        teacher_seed = seed if teacher_seed is None else teacher_seed
        member = {"arm": arm, "phase": phase, "overrides": overrides}
        if alpha == 0:
            return self.scratch(seed, width=width, members=[member])
        taught = None if quality == "uniform" else self.teacher(teacher_seed, quality=quality)
        twin = self.scratch(seed, width=width, members=[])
        identity = {
            **twin["identity"],
            "terms": {"hard_labels": {"weight": 1 - alpha}, "soft_targets": {"weight": alpha, "T": T}},
            "teacher": taught["identity"] if taught else {"quality": "uniform", "data": {"name": self.data}},
        }
        accuracy = twin["metrics"]["test/accuracy"] + gain + self.rng.normal(0, 0.01)
        teacher_accuracy = taught["metrics"]["test/accuracy"] if taught else None
        made = run(
            "student",
            data=self.data,
            seeds={"student": seed, "teacher": teacher_seed if taught else None, "data": self._data_seed(seed)},
            identity=identity,
            members=[member],
            rng=self.rng,
            accuracy=accuracy,
            sharpness=0.02,
            status=status,
            twin=twin["run_id"],
            teacher={
                "id": taught["run_id"] if taught else None,
                "quality": quality,
                "targets": {"transfer/accuracy": 0.98},
            },
            values=metrics(
                self.rng,
                accuracy=accuracy,
                ece=0.035,
                data=self.data,
                role="student",
                teacher_accuracy=teacher_accuracy,
                latency_ms=0.023 * (width / 100) ** 0.3,
            ),
        )
        known = self.runs.setdefault(made["run_id"], made)
        known["members"] += [item for item in made["members"] if item not in known["members"]]
        return known

    def lines(self, **header: Any) -> list[dict[str, Any]]:
        first = {
            "kind": "study",
            "name": "synthetic",
            "sweep": "synthetic",
            "command": "kdlab sweep synthetic",
            "question": "Does it help?",
            "hypothesis": "Soft targets help a small student.",
            "says": None,
            "arms": {},
            "compare": [],
            "sesoi": {"test/accuracy": 0.005},
            "data": self.data,
        } | header
        return [first, *(self.runs[key] for key in sorted(self.runs))]


def grid(
    *,
    seeds: int = 10,
    temperatures: tuple[float, ...] = (1, 2, 4, 8),
    alphas: tuple[float, ...] = (0, 0.3, 0.6, 0.9, 1.0),
    data: str = "mnist1d",
    failed: int = 0,
    uniform: bool = False,
    resplit: bool = False,
) -> list[dict[str, Any]]:
    """A T x alpha sweep."""
    maker = Maker(data=data, resplit=resplit)
    for seed in range(seeds):
        for T in temperatures:
            for alpha in alphas:
                gain = 0.02 * alpha * (1 - abs(np.log2(T) - 2) / 4)
                status = "failed" if seed < failed and temperatures[0] == T and alpha == alphas[-1] else "finished"
                maker.student(
                    seed,
                    overrides=[f"seed={seed}", f"objective.temperature={T}", f"objective.alpha={alpha}"],
                    T=T,
                    alpha=alpha,
                    gain=gain,
                    status=status,
                )
        if uniform:
            maker.student(
                seed,
                quality="uniform",
                gain=0.002,
                overrides=[f"seed={seed}", "objective.temperature=4", "objective.alpha=0.9", "teacher/quality=uniform"],
            )
    return maker.lines(
        name="temperature_alpha",
        sweep="temperature_alpha",
        command="kdlab sweep temperature_alpha",
        question="Which temperature and which alpha?",
    )


def arms(*, seeds: int = 12) -> list[dict[str, Any]]:
    """Arms kd, weak, uniform over two widths, with a comparison."""
    maker = Maker(seed=3)
    spec = {"kd": [], "weak": ["teacher/quality=weak"], "uniform": ["teacher/quality=uniform"]}
    for seed in range(seeds):
        for width in (50, 100, 200):
            for arm, extra in spec.items():
                maker.student(
                    seed,
                    width=width,
                    arm=arm,
                    quality={"kd": "standard"}.get(arm, arm),
                    gain={"kd": 0.014, "weak": 0.004, "uniform": 0.0}[arm],
                    overrides=[f"seed={seed}", f"student.width={width}", *extra],
                )
    return maker.lines(arms=spec, compare=[["kd", "weak"], ["kd", "uniform"]], question="Does a weak teacher help?")


def qualities(*, seeds: int = 8) -> list[dict[str, Any]]:
    """Named arms without a grid: teacher qualities with their doses, and controls, each with its own gain."""
    maker = Maker(seed=5)
    spec = {
        "standard": ("standard", 0.02),
        "weak_25": ("weak", -0.03),
        "weak_100": ("weak", 0.0),
        "low_bit_2": ("low_bit", 0.004),
        "permuted": ("permuted", 0.06),
        "uniform": ("uniform", -0.01),
    }
    arms = {name: [f"teacher/quality={quality}", f"teacher.quality.dose={name}"] for name, (quality, _) in spec.items()}
    for seed in range(seeds):
        for name, (quality, gain) in spec.items():
            maker.student(seed, arm=name, quality=quality, gain=gain, overrides=[f"seed={seed}", *arms[name]], T=gain)
    return maker.lines(arms=arms, compare=[[name, "standard"] for name in arms if name != "standard"])
