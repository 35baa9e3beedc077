from kdlab.commands.table import Column, cut, table_text


def test_a_table_is_cut_where_it_yields():
    columns = [Column("run"), Column("knob", yields=True), Column("accuracy", "right")]
    text = table_text(columns, [["0123456789abcdef", "x" * 60, "0.5"]], width=50)
    assert max(map(len, text.splitlines())) == 50
    assert "0123456789abcdef" in text
    assert "xxx…" in text
    assert cut([16, 60, 8], [6, 6, 6], width=12) == [6, 6, 6], "all narrow: it does not fit, and ends"
