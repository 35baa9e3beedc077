"""The batches of one learner, flat: what a loop of a user's own would see."""

import torch

from kdlab.training.batches import Source, TrainingBatches


class Flat:
    def __init__(self, examples, *, batch_size, role="student", seed=0, augment=None):
        source = Source(examples, role=role, seed=seed, augment=augment)
        self.batches = TrainingBatches([source], batch_size=batch_size, device=torch.device("cpu"))
        self.epoch = 0

    def __len__(self):
        return self.batches.steps

    def __iter__(self):
        self.batches.epoch = self.epoch
        return (batch for chunk in self.batches for batch in chunk)
