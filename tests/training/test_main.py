"""The command line tells a person what is wrong in one line."""

import pytest

from training import __main__ as command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.toml"], "none.toml: no such file"),
        (["export", "no-run", "artifact"], "no-run/config.toml: no such file"),
        (["evaluate", "no-artifact", "--data-root", "."], "no-artifact: no such model directory"),
        (["import-weights", "none.pth", "artifact"], "none.pth: no such file"),
    ],
)
def test_errors_are_one_line_and_exit_1(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["training", *arguments])
    with pytest.raises(SystemExit) as exit_:
        command.main()
    assert exit_.value.code == 1
    out = capsys.readouterr().out
    assert message in out.replace("\n", "")
    assert "Traceback" not in out


def test_a_document_without_data_asks_for_it(monkeypatch, capsys, tmp_path):
    (tmp_path / "run.toml").write_text("phases = [{ input_size = 32, steps = 1 }]")
    monkeypatch.setattr("sys.argv", ["training", "train", str(tmp_path / "run.toml")])
    with pytest.raises(SystemExit):
        command.main()
    assert "give --data-root DIR, or data_root in the document" in capsys.readouterr().out.replace("\n", "")
