"""medssl: self-supervised pretraining and few-label fine-tuning for radiology scans."""

import warnings

from medssl import torchvision_import

__version__ = "0.1.0"

torchvision_import.install()
# Of bars for downloads, said in Jupyter when timm is imported; nothing is downloaded here.
warnings.filterwarnings("ignore", message="IProgress not found")
