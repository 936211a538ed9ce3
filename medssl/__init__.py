"""medssl: self-supervised pretraining and few-label fine-tuning for radiology scans."""

from medssl import torchvision_import

__version__ = "0.1.0"

torchvision_import.install()
