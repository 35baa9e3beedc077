"""A stand-in: torchdistill imports torchvision for architectures that no benchmark uses."""

from torchvision import datasets as datasets
from torchvision import models as models

__version__ = "0.0.0"
