"""What the student of a config learns from: the training examples it may see, and the transfer set beside them."""

from typing import Any

from kdlab.data import Dataset
from kdlab.data.transfer_rows import TrainingRows, check_apart, material_of, training_rows, visible_classes
from kdlab.experiments.lab import Lab
from kdlab.experiments.objectives import terms_of
from kdlab.records.identity import canonical_json
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import ShownConfig, TransferConfig, reads_unlabelled
from kdlab.schema.section import identity_view

_KEPT = 2
"""Rows that a process keeps beside its data sets, of which it keeps as many."""


def transfer_of(config: RunConfig) -> TransferConfig | None:
    """The transfer set of a config, where something is learned from it: a term that reads no labels, or its labels.

    So a student with ``alpha = 0`` is its own scratch twin, whatever stands beside the labelled rows.
    """
    transfer = config.data.transfer
    if transfer is None or transfer.labels:
        return transfer
    return transfer if any(map(reads_unlabelled, terms_of(config).values())) else None


def shown_identity(config: RunConfig) -> dict[str, Any]:
    """What of ``data.shown`` trains a student and its twin, as it stands in their identity; empty for nothing."""
    view, neutral = identity_view(config.data.shown), identity_view(ShownConfig())
    told = {name: sorted(value) if isinstance(value, list) else value for name, value in view.items()}
    changed = {name: value for name, value in told.items() if value != neutral[name]}
    return {"shown": changed} if changed else {}


def transfer_identity(config: RunConfig) -> dict[str, Any]:
    """The transfer set of a student, as it stands in its identity; empty for none."""
    transfer = transfer_of(config)
    if transfer is None:
        return {}
    return {"transfer": {"labelled_fraction": transfer.labelled_fraction, "labels": transfer.labels, **transfer.spec}}


def rows_identity(config: RunConfig) -> dict[str, Any]:
    """Which rows a student learns from, whatever batches are made of them; empty for the training set as it is."""
    told = {**shown_identity(config), **transfer_identity(config)}
    beside = ("bias_correction", "labelled_fraction")
    rows = {part: {name: value for name, value in knobs.items() if name not in beside} for part, knobs in told.items()}
    return {part: knobs for part, knobs in rows.items() if knobs}


def rows_of(config: RunConfig, dataset: Dataset) -> TrainingRows:
    """The rows of a config's student, made of its data set.

    Raises:
        UserError: a class that there is not, fewer examples than are asked for, or a transfer set that cannot be made.
    """
    shown, transfer = config.data.shown, transfer_of(config)
    visible = visible_classes(dataset.num_classes, only=shown.only, omit=shown.omit)
    material = material_of(dataset, visible=visible, labelled=shown.labelled, seed=config.data.seed)
    if transfer is None:
        return training_rows(material, transfer=None)
    rows = training_rows(material, transfer=transfer.spec, labels=transfer.labels)
    check_apart(rows, dataset)
    return rows


def kept_rows(config: RunConfig, lab: Lab) -> TrainingRows:
    """The same, once for all who learn from them."""
    dataset, told = lab.dataset(config), rows_identity(config)
    if not told:
        return rows_of(config, dataset)
    key = canonical_json({**told, "data": [config.data.name, config.data.seed, config.data.spec]})
    if key not in lab.rows:
        while len(lab.rows) >= _KEPT:
            lab.rows.pop(next(iter(lab.rows)))
        lab.rows[key] = rows_of(config, dataset)
    return lab.rows[key]


def steps_an_epoch(config: RunConfig, lab: Lab) -> int:
    """Steps of an epoch of a config's student."""
    rows, transfer, batch_size = kept_rows(config, lab), transfer_of(config), config.training.batch_size
    if transfer is None:
        return max(len(rows.train) // batch_size, 1)
    return rows.mixture(batch_size=batch_size, labelled_fraction=transfer.labelled_fraction).steps
