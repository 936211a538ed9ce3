from medssl.interop.ledger import Ledger


def made() -> Ledger:
    ledger = Ledger()
    ledger.add("loaded", weight="a", in_file="m.a", shape=(2, 3), before=(2, 3), n=60)
    ledger.add("adapted", weight="b", in_file="m.b", how="cut", shape=(2,), before=(3,), n=30)
    ledger.add("missing", weight="c", how="not in the file", shape=(10,), n=10)
    for i in range(5):
        ledger.add("skipped", in_file=f"head.{i}", how="no part of the encoder", before=(9,), n=9)
    return ledger


def test_shares_are_of_the_network_by_parameters():
    assert made().share == 0.9 and made().count("skipped") == 45
    assert Ledger().share == 0.0


def test_the_table_has_a_row_a_tensor():
    table = made().table
    assert len(table) == 8 and table.loc[0, "shape"] == "2x3" and table.loc[2, "in_file"] == ""


def test_it_is_printed_a_line_a_kind_and_reason():
    lines = str(made()).splitlines()
    assert [line.split()[0] for line in lines] == ["loaded", "adapted", "missing", "skipped"]
    assert "60.00%" in lines[0] and "30 in    1 tensors: cut (b)" in lines[1]
    assert "45 in    5 tensors" in lines[3] and lines[3].endswith("(head.0, head.1, head.2, ...)")
    assert "%" not in lines[3]


def test_a_card_keeps_the_sums_and_the_rules():
    assert made().summary == {
        "loaded": 60, "adapted": 30, "missing": 10, "skipped": 45, "share": 0.9, "rules": {"cut": 30}
    }  # fmt: skip
