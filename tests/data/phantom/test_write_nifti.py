import nibabel as nib
import numpy as np

from medssl.data.phantom import write_nifti


def test_reads_back_and_repeats_its_bytes(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = -5, 6, 7
    write_nifti.volume(tmp_path / "a/one.nii.gz", array, affine)
    write_nifti.volume(tmp_path / "b/two.nii.gz", array, affine)
    image = nib.load(tmp_path / "a/one.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, affine)
    assert image.get_data_dtype() == np.int16
    assert (tmp_path / "a/one.nii.gz").read_bytes() == (tmp_path / "b/two.nii.gz").read_bytes()
