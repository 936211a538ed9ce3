import pytest
import torch
import torch.nn.functional as F

from medssl.curation import windows


@pytest.mark.parametrize(("axes", "pool"), [(2, F.avg_pool2d), (3, F.avg_pool3d)])
def test_means_are_torchs_pooling_and_the_images_stay(axes, pool):
    images = torch.rand(2, 3, *[13, 9, 11][:axes])
    before = images.clone()
    assert torch.allclose(windows.means(images, 5), pool(images, 5, 1), atol=1e-6)
    assert torch.equal(windows.means(images, 1), images) and torch.equal(images, before)
