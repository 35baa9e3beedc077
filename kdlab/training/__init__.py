"""Training: Lightning modules, batches by slicing, and ``fit``, which trains one learner or a stack of them.

``fit`` is kdlab's own way. In a Trainer and DataModule of your own, with ``student`` and ``network`` any ``nn.Module``
that returns logits::

    from functools import partial

    import pytorch_lightning as pl
    import torch
    from kdlab.objectives import distillation
    from kdlab.teachers import OnlineTeacher
    from kdlab.training import Distillation

    module = Distillation(
        student,
        distillation(temperature=4, alpha=0.9),
        teacher=OnlineTeacher(network, num_classes=10),  # a frozen copy, in no checkpoint and no optimizer
        num_classes=10,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        schedule={"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"},
    )
    trainer = pl.Trainer(max_epochs=2)
    trainer.fit(module, datamodule=datamodule)  # batches (inputs, labels) or (inputs, labels, index)
    trainer.test(module, datamodule=datamodule)
"""

from kdlab.errors import NonFiniteLossError
from kdlab.outputs import Batch
from kdlab.training.distillation import Distillation
from kdlab.training.fit import fit
from kdlab.training.learner import Fitted, Learner, Recipe, Runtime

__all__ = ["Batch", "Distillation", "Fitted", "Learner", "NonFiniteLossError", "Recipe", "Runtime", "fit"]
