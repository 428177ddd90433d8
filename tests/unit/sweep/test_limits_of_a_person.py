"""Limits of an account and of a quality of service: asked of the cluster where it keeps accounts,
else silent, so that a refusal names the setting."""

import subprocess

import pytest

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.sweep import plan, plan_text, slurm, submissions
from queues import found  # noqa: F401

TEN = ["cluster.pack_minutes=0.000001", "cluster.stack=1"]


def accounts(monkeypatch, association="", qos="", queued=0):
    """SLURM's commands on a cluster that keeps accounts; the lines that sacctmgr was asked."""
    asked = []

    def run(*command):
        out = ""
        if command[0] == "sacctmgr":
            asked.append(command)
            out = association if "association" in command else qos
        elif command[0] == "squeue":
            out = "3\n" * queued
        return subprocess.CompletedProcess(command, 0, out, "")

    monkeypatch.setattr(slurm, "_run", run)
    return asked


def allowance(*more):
    return slurm.user_limits(load(["cluster=slurm", *more]).cluster)


def test_the_tightest_limit_counts_with_its_name(monkeypatch):
    asked = accounts(monkeypatch, "|normal||\n|normal|50|20\n", "normal|10|\n", queued=4)
    found = allowance()
    assert found.submitted == (10, "MaxSubmitJobsPerUser of QOS normal")
    assert found.running == (20, "MaxJobs of your account")
    assert (found.queued, found.free) == (4, 6)
    assert "name=normal" in asked[1] and f"user={submissions.user()}" in asked[0]
    accounts(monkeypatch, "|normal||\n|normal|5|\n", "normal|10|\n", queued=9)
    assert allowance().submitted == (5, "MaxSubmitJobs of your account")
    assert allowance().free == 0


def test_the_settings_choose_what_is_asked(monkeypatch):
    asked = accounts(monkeypatch, "gpu|normal|7|\nlow|normal|3|\n", "long||\n")
    found = allowance("cluster.partition=gpu", "cluster.qos=long", "cluster.account=lab")
    assert found.submitted == (7, "MaxSubmitJobs of your account")  # of this partition
    assert "name=long" in asked[1] and "account=lab" in asked[0]


def test_a_cluster_without_accounts_limits_nothing(monkeypatch):
    def none(*command):
        if command[0] == "sacctmgr":
            return subprocess.CompletedProcess(command, 1, "", "accounting storage is disabled")
        raise ConfigError(f"{command[0]}: not found")

    monkeypatch.setattr(slurm, "_run", none)
    assert allowance() == submissions.Allowance()

    def absent(*command):
        raise ConfigError(f"{command[0]}: not found")

    monkeypatch.setattr(slurm, "_run", absent)
    assert allowance() == submissions.Allowance()


@pytest.mark.parametrize(
    "most, queued, elements, words",
    [
        ("100", 0, 8, ""),
        ("5", 0, 5, "limit MaxSubmitJobsPerUser of QOS normal: 5 queued or running at once, 0 are"),
        ("5", 3, 2, "3 are there already; so at most 2 elements"),
        ("5", 5, 1, "warning MaxSubmitJobsPerUser of QOS normal: 5 queued or running at once, 5"),
    ],
)
def test_an_array_has_as_many_elements_as_may_be_submitted(
    found, here, monkeypatch, most, queued, elements, words
):
    accounts(monkeypatch, "|normal||\n", f"normal|{most}|2\n", queued)
    made = plan.make_plan(found(*TEN), here / "results", {}, False)
    assert sum(len(job.packs) for job in made.jobs) == elements
    assert sum(len(pack.runs) for job in made.jobs for pack in job.packs) == 8
    told = plan_text.summary(made)
    assert words in " ".join(told.split()) and max(map(len, told.splitlines())) <= 80
    assert ("MaxJobsPerUser of QOS normal: 2 elements at once" in told) == (elements > 2)
