"""The demo's own folders, and nothing else, are replaced."""

from __future__ import annotations

from lmms_causal import demo


def test_a_folder_that_holds_other_things_keeps_them(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "old_results.json").write_text("{}")
    commands = []
    monkeypatch.setattr("sys.argv", ["demo", "--output", str(tmp_path)])
    monkeypatch.setattr(demo, "_run", lambda command, log=None: commands.append(command) or 0)
    assert demo.main() == 0
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert not (tmp_path / "plain").exists()
    assert [command[0] for command in commands] == ["lmms-eval", "lmms-eval", "lmms-causal"]
