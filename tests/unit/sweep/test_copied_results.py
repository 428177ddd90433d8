"""A results folder copied, with open submissions, to a machine without their queue."""

from capacity.cli.main import main
from capacity.study import load_study
from capacity.sweep import submissions
from queues import STUDY, found, submitted  # noqa: F401


def test_other_studies_are_trained_and_the_studys_own_name_the_cure(
    found,
    here,
    monkeypatch,
    capsys,
):
    submitted(found(), here / "results", job="7")
    monkeypatch.setenv("PATH", str(here))  # no squeue
    other = STUDY.replace("train.steps=500", "train.steps=12")
    (here / "other.yaml").write_text(other.replace("[0, 1, 2, 3]", "[8]"))
    line = ["cluster.workers=1", "--results", str(here / "results")]
    assert main(["sweep", "other.yaml", *line]) == 0
    assert main(["status", "other.yaml", "--results", str(here / "results")]) == 0
    assert "queue" not in "".join(capsys.readouterr())
    (s,) = submissions.read_all(here / "results", "s")
    assert not s.tree["over"] and s.elements[0]["end"] is None  # nobody knows how it ended
    for command in (["sweep", "s.yaml", *line], ["sweep", "s.yaml", "--dry-run", *line]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert str(s.folder) in told and "queue cannot be asked: squeue: not found" in told
        assert "if nothing of it is queued any more, remove its folder" in told
    assert main(["status", "s.yaml", *line[1:]]) == 1
    assert "the state of the queue is unknown" in " ".join(capsys.readouterr().out.split())
    assert len(load_study("other.yaml", []).runs) == 2
