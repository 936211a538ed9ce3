import numpy as np
import pandas as pd

from medssl.reports.answers import MOST_CLASSES, MOST_CURVES, overlaid, results


def cases(n=40):
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(n) < 0.4, "yes", "no")
    score = rng.random(n)
    return pd.DataFrame({"truth": truth, "predicted": np.where(score > 0.5, "yes", "no"),
                         "score_no": 1 - score, "score_yes": score})  # fmt: skip


def test_two_classes_have_a_table_and_a_curve_of_the_second():
    words, tables, drawn = results(cases(), ["no", "yes"])
    assert words == "" and len(drawn) == 3 and all("for yes" in caption for _, caption, _ in drawn)
    counts = tables[0][0].set_index("truth")
    assert counts.to_numpy().sum() == 40 and list(counts) == ["predicted no", "predicted yes"]


def test_one_class_is_said_and_not_drawn():
    same = cases().assign(truth="no")
    words, tables, drawn = results(same, ["no", "yes"])
    assert "not defined" in words and len(tables) == 1 and drawn == []


def test_labels_that_are_unknown_or_always_there_are_left_out_of_the_curves():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"score_{k}": rng.random(30) for k in "abc"})
    table["truth_a"], table["truth_b"] = rng.integers(0, 2, 30).astype(float), 1.0
    table["truth_c"] = np.nan
    table.loc[:9, "truth_a"] = np.nan
    _, tables, drawn = results(table, list("abc"))
    assert tables == [] and len(drawn) == 3 and "for a." in drawn[0][1]


def test_numbers_are_a_scatter_plot():
    table = pd.DataFrame({"truth": [1.0, 2.0], "predicted": [1.1, 1.7], "usual": [1.5, 1.5]})
    _, _, drawn = results(table, ["age"])
    assert [what for *_, what in drawn] == ["scatter plot of predictions"]


def of_boxes(found: bool) -> pd.DataFrame:
    rows = [
        {"id": "a", "box": "truth", "class": "mass", "x0": 0.0, "y0": 0.0, "x1": 9.0, "y1": 9.0},
        {"id": "b", "box": "truth", "class": "cyst", "x0": 0.0, "y0": 0.0, "x1": 9.0, "y1": 9.0},
        {"id": "c", "box": "empty", "class": ""},
    ]
    told = {"id": "a", "box": "found", "class": "mass", "x0": 1.0, "y0": 0.0, "x1": 9.0, "y1": 9.0}
    rows += [{**told, "score": 0.8}, {**told, "id": "c", "score": 0.6}] if found else []
    return pd.DataFrame(rows).assign(patient=lambda t: t["id"], iou=0.5).reindex(
        columns=["id", "patient", "box", "class", "score", "x0", "y0", "x1", "y1", "iou"]
    )  # fmt: skip


def test_boxes_have_a_table_and_curves_of_the_classes_that_were_told():
    text, tables, drawn = results(of_boxes(True), [])
    assert "at least 0.5" in text and [kind for *_, kind in drawn] == [
        "FROC curve", "precision-recall curve of boxes"
    ]  # fmt: skip
    counts = tables[0][0].set_index("class")
    assert counts.loc["mass"].tolist() == [1, 1, 2, 1] and counts.loc["cyst"].tolist() == [
        1,
        1,
        0,
        0,
    ]
    assert "for mass" in drawn[0][1] and "cyst" not in drawn[0][1]


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_legends_and_tables_have_the_order_of_the_classes():
    names = ["mass", "cyst", "node"]  # neither by letters nor by how many there are
    rows, counts = [], {"mass": 2, "cyst": 3, "node": 1}
    for name, n in counts.items():
        for k in range(n):
            box = {"id": f"{name}{k}", "class": name, "x0": 0.0, "y0": 0.0, "x1": 9.0, "y1": 9.0}
            rows += [{**box, "box": "truth"}, {**box, "box": "found", "score": 0.5}]
    table = pd.DataFrame(rows).assign(patient=lambda t: t["id"], iou=0.5)
    _, tables, drawn = results(table, names)
    assert tables[0][0]["class"].tolist() == names
    assert [legend_of(figure) for figure, *_ in drawn] == [names] * 2
    assert all(f"for {', '.join(names)}" in caption for _, caption, _ in drawn)

    rng = np.random.default_rng(0)
    truth = [name for name, n in counts.items() for _ in range(10 * n)]
    table = pd.DataFrame({"truth": truth, "predicted": truth}).assign(
        **{f"score_{name}": rng.random(len(truth)) for name in names}
    )
    _, _, drawn = results(table, names)
    assert [legend_of(figure) for figure, *_ in drawn] == [names] * 3


def test_of_many_classes_the_most_frequent_are_drawn_in_their_order():
    names = [f"class {k}" for k in range(MOST_CURVES + 2)]
    truth = [name for k, name in enumerate(names) for _ in range(k + 2)]
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"truth": truth, "predicted": truth}).assign(
        **{f"score_{name}": rng.random(len(truth)) for name in names}
    )
    _, _, drawn = results(table, names)
    assert legend_of(drawn[0][0]) == names[2:] and "(the most frequent)" in drawn[0][1]


def test_nothing_found_is_a_table_without_curves():
    _, tables, drawn = results(of_boxes(False), [])
    assert len(tables[0][0]) == 2 and not drawn


def test_curves_of_several_runs_are_laid_over_each_other_by_class():
    one, two = cases(), cases().assign(score_yes=lambda t: (t["truth"] == "yes") * 0.5 + 0.1)
    [(figure, words, alt)] = overlaid({"first": one, "second": two}, ["no", "yes"])
    assert words == "Receiver operating characteristic of yes." and alt == "ROC curves"
    assert [t.get_text() for t in figure.axes[0].get_legend().texts] == ["first", "second"]
    x, y = figure.axes[0].lines[2].get_data()
    assert np.trapezoid(y, x) == 1  # that of the second run, which knows

    labels = pd.DataFrame({f"{k}_{n}": (np.arange(30) % m == 0) * 1.0
                           for m, n in enumerate("abcdef", 2) for k in ("truth", "score")})  # fmt: skip
    drawn = overlaid({"first": labels, "second": labels}, list("abcdef"))
    assert [words[-2] for _, words, _ in drawn] == list("abcd") and len(drawn) == MOST_CLASSES


def test_boxes_have_froc_curves_of_those_runs_that_told_of_a_class():
    [(figure, words, alt)] = overlaid({"first": of_boxes(True), "second": of_boxes(True)}, [])
    assert "mass" in words and alt == "FROC curves" and len(figure.axes[0].get_legend().texts) == 2
    [(figure, *_)] = overlaid({"first": of_boxes(True), "second": of_boxes(False)}, [])
    assert figure.axes[0].get_legend() is None


def test_numbers_and_masks_have_no_such_curves():
    table = pd.DataFrame({"truth": [1.0, 2.0], "predicted": [1.1, 1.7], "usual": [1.5, 1.5]})
    assert overlaid({"a": table, "b": table}, ["age"]) == []
    assert overlaid({"a": pd.DataFrame({"dice": [0.5]})}, ["liver"]) == []
