from medssl.data.dicom_codes import coded


def test_names_are_coded_where_they_are_clear():
    assert coded("Left kidney")[1].meaning == coded("kidney R")[1].meaning == "Kidney"
    assert coded("brainstem")[1].meaning == "Brain Stem"
    assert coded("ventricle L")[1].scheme_designator == "99MEDSSL"  # of the heart or of the brain
    assert "bnormal" in coded("tumour")[0].meaning
    own = coded("ventricle L", {"ventricle L": "SCT:66720007:Lateral Ventricle"})[1]
    assert (own.value, own.scheme_designator) == ("66720007", "SCT")
    assert coded("!?")[1].value == "unnamed"
