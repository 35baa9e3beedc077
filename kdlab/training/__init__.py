"""Training: the Lightning module, batches by slicing, callbacks, and ``fit``."""

from kdlab.training.distillation import Distillation
from kdlab.training.fit import Fitted, Recipe, Runtime, fit
from kdlab.training.monitor import NonFiniteLossError

__all__ = ["Distillation", "Fitted", "NonFiniteLossError", "Recipe", "Runtime", "fit"]
