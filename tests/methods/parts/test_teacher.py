import torch
from torch import nn

from medssl.methods.parts.teacher import follow, teacher_of


def test_teacher_starts_equal_follows_by_the_formula_and_takes_no_gradient():
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    teacher = teacher_of(student)
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True)
    )
    before = [p.clone() for p in teacher.parameters()]
    for p in student.parameters():
        p.data += 1
    student(torch.randn(8, 3))
    follow(teacher, student, 0.9)
    for t, old, s in zip(teacher.parameters(), before, student.parameters(), strict=True):
        assert torch.allclose(t, 0.9 * old + 0.1 * s)
        assert not t.requires_grad
    assert teacher[1].num_batches_tracked == student[1].num_batches_tracked
    follow(teacher, student, 0.0)
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True)
    )
