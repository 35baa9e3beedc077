"""The names that torchdistill looks up when it is imported."""

from torchvision.models import densenet as densenet
from torchvision.models import detection as detection
from torchvision.models import quantization as quantization
from torchvision.models import resnet as resnet
from torchvision.models import segmentation as segmentation
