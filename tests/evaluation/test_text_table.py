from medssl.evaluation.text_table import text_table


def test_first_cells_stand_left_and_all_others_right():
    rows = [["group", "Dice", "patients"], ["F", "0.75", "9"], ["not known", "0.5", "12"]]
    assert text_table(rows) == [
        "group      Dice  patients",
        "F          0.75         9",
        "not known   0.5        12",
    ]
