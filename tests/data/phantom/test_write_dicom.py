import nibabel as nib
import numpy as np
import pydicom
import pytest

from medssl.data.phantom import ct, film, mr, write_dicom, write_nifti


def world_centre(array, affine):
    return (affine @ [*np.argwhere(array).mean(0), 1])[:3]


@pytest.fixture(scope="module")
def volumes():
    return {"CT": ct.torso(0, 0, 0), "MR": mr.head(0, 0, 0)}


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_series_reads_back_in_the_same_place(tmp_path, volumes, modality):
    import SimpleITK as sitk

    array, mask, affine = volumes[modality]
    folder = tmp_path / "series"
    write_dicom.series(folder, array, affine, modality, "PHANTOM-000")
    write_dicom.series(tmp_path / "mask", mask.astype(np.int16), affine, "MR", "PHANTOM-000")
    write_nifti.volume(tmp_path / "image.nii.gz", array, affine)

    def read(where):
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(where))
        image = sitk.ReadImage(names)
        step = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        lps = np.eye(4)
        lps[:3, :3], lps[:3, 3] = step, image.GetOrigin()
        return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ lps

    values, placed = read(folder)
    nifti = nib.load(tmp_path / "image.nii.gz")
    assert sorted(np.unique(values)) == sorted(np.unique(array))
    np.testing.assert_array_equal(values[::-1, ::-1], np.asarray(nifti.dataobj))
    labels, labels_placed = read(tmp_path / "mask")
    np.testing.assert_allclose(
        world_centre(labels == 1, labels_placed), world_centre(mask == 1, nifti.affine), atol=1e-3
    )
    np.testing.assert_allclose(placed, labels_placed, atol=1e-6)


def test_series_has_one_identity(tmp_path, volumes):
    array, _, affine = volumes["CT"]
    for seed in (0, 1):
        write_dicom.series(
            tmp_path / str(seed), array[:8, :8, :5], affine, "CT", "PHANTOM-003", 1, seed
        )
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "0").iterdir())]
    assert len({f.SOPInstanceUID for f in files}) == 5
    assert (
        len({(f.SeriesInstanceUID, f.StudyInstanceUID, f.FrameOfReferenceUID) for f in files}) == 1
    )
    assert {f.PatientID for f in files} == {"PHANTOM-003"}
    assert all(f.SOPInstanceUID.is_valid for f in files)
    assert files[0].file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert files[0].SOPClassUID == pydicom.uid.CTImageStorage
    assert files[0].RescaleIntercept == -1024
    other = pydicom.dcmread(tmp_path / "1/0001.dcm")
    assert other.SeriesInstanceUID != files[0].SeriesInstanceUID


@pytest.mark.parametrize("inverted", [False, True])
def test_film_reads_back(tmp_path, inverted):
    picture, _ = film.chest(0, 0, 0)
    path = tmp_path / "film.dcm"
    write_dicom.film(path, picture, film.spacing("small"), "PHANTOM-FILM-000", inverted=inverted)
    read = pydicom.dcmread(path)
    stored = read.pixel_array
    assert read.Modality == "DX" and read.BitsStored == 12
    assert read.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    np.testing.assert_array_equal(4095 - stored if inverted else stored, picture)
    assert float(read.ImagerPixelSpacing[0]) == pytest.approx(360 / 256)
