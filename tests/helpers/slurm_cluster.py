"""A private SLURM for tests, of one node or of several that are daemons of this machine: munged,
slurmctld and slurmd, without systemd, cgroups or a database.

Its files lie in one folder, its daemons listen on the loopback, and a watcher ends what is left if
the tests are killed. Why each setting is as it is: cred_expire is the wait of a requeued job,
config_overrides lets a node have more cores than the machine, and there are no cgroups, so memory
limits do not act. KillWait is what a busy machine may need to save.

By hand: `python tests/helpers/slurm_cluster.py bash` starts a cluster, runs the command inside it
and stops the cluster.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from waiting import patience, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
USER = pwd.getpwuid(os.geteuid()).pw_name

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld_port}
AuthType=auth/munge
# cred_expire is also the delay before a requeued job restarts: default 120 s, minimum 5 (less is
# ignored)
AuthInfo=socket={dir}/munge/sock,cred_expire=5
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/%n.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
{listen}
ReturnToService=2
# accept more CPUs and memory than the machine has
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=20
# finished jobs stay visible in scontrol: there is no accounting database
MinJobAge=3600
MaxArraySize=2001
GresTypes=gpu
{nodes}
PartitionName=debug Nodes={names} Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=low Nodes={names} MaxTime=INFINITE State=UP PriorityTier=1 \
PreemptMode=REQUEUE GraceTime=4
"""
NODE = """\
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 \
SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory_mb} \
Gres=gpu:{gpus} State=UNKNOWN"""


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _listen_option(host):
    """Listen on the loopback only, where the host name resolves to it (the daemons bind to that
    name)."""
    with contextlib.suppress(OSError):
        if socket.gethostbyname(host).startswith("127."):
            return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    return ""


def _poll(condition, every=0.05):
    """The first true value of condition(), or a false one when patience is at an end."""
    try:
        return wait_until(condition, "the cluster", every=every)
    except TimeoutError:
        return condition()


@dataclass
class Cluster:
    dir: Path
    host: str = field(default_factory=lambda: socket.gethostname().split(".")[0])
    size: int = 1

    @property
    def nodes(self):
        """Their names; of one node the machine's."""
        return [self.host] if self.size == 1 else [f"node{i}" for i in range(self.size)]

    @property
    def conf(self):
        return self.dir / "slurm.conf"

    @property
    def env(self):
        """The caller's environment without any outer SLURM, pointing at this cluster."""
        env = {
            k: v
            for k, v in os.environ.items()
            if not re.match(r"(SLURM|SBATCH|SQUEUE|SALLOC|SCANCEL)_", k)
        }
        path = os.pathsep.join([env.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # the daemons
        return {**env, "PATH": path, "SLURM_CONF": str(self.conf)}

    def run(self, *cmd, check=True):
        """Run a client command; return its standard output ("" after a failure with
        check=False)."""
        try:  # clients hang when a daemon is gone
            r = subprocess.run(
                cmd, env=self.env, capture_output=True, text=True, timeout=patience(100)
            )
        except subprocess.TimeoutExpired:
            if check:
                raise
            return ""
        if check and r.returncode:
            raise RuntimeError(f"{cmd} -> {r.returncode}: {r.stderr.strip()}")
        return r.stdout.strip()

    def sbatch(self, *options, wrap=None):
        command = [f"--wrap={wrap}"] if wrap is not None else []
        return self.run("sbatch", "--parsable", "--mem=50M", *options, *command)

    def jobs(self, job=None):
        """Records of `scontrol -o show job`: one per job or started array element."""
        out = self.run("scontrol", "-o", "show", "job", *([job] if job else []), check=False)
        return [
            dict(re.findall(r"(\w+)=(\S*)", line)) for line in out.splitlines() if "JobId=" in line
        ]

    def states(self, job):
        return {record["JobState"] for record in self.jobs(job)}

    def wait(self, job, *states):
        """Wait until the job is in one of the states (default: any final one); return its
        states."""
        final = {
            "COMPLETED",
            "FAILED",
            "CANCELLED",
            "TIMEOUT",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "BOOT_FAIL",
            "DEADLINE",
        }
        wanted = set(states) or final

        def reached():
            now = self.states(job)
            return now and now <= wanted

        wait_until(
            reached, lambda: f"job {job}, which is {self.jobs(job)}\n{self.logs()}", every=0.05
        )
        return self.states(job)

    @contextlib.contextmanager
    def closed(self, partition="debug"):
        """No job starts meanwhile, so that a requeued one can be looked at for as long as that
        takes; running ones go on."""
        self.run("scontrol", "update", f"partitionname={partition}", "state=down")
        try:
            yield
        finally:
            self.run("scontrol", "update", f"partitionname={partition}", "state=up")

    def clear(self):
        """Cancel everything and wait until every step has ended; put a drained node back."""
        self.run("scancel", "--user", USER, check=False)

        # a step keeps a socket NODE_JOB.STEP in the spool directory until its slurmstepd has ended
        def idle():
            return not list(self.dir.glob("spool/*/*_[0-9]*.*")) and not self.run(
                "squeue", "-h", check=False
            )

        if not _poll(idle):
            return False
        if "drain" in self.run("sinfo", "-h", "-o", "%T", check=False):
            names = ",".join(self.nodes)
            self.run("scontrol", "update", f"nodename={names}", "state=resume", check=False)
        return True

    def logs(self, chars=3000):
        """The ends of the daemons' logs (of their plain output, where a daemon died before it
        opened its log)."""
        files = {
            p.stem: p for p in sorted(self.dir.glob("log/*"), key=lambda p: p.suffix == ".log")
        }
        return "\n".join(
            f"== {name}\n{p.read_text(errors='replace')[-chars:]}" for name, p in files.items()
        )


def _make_devices(directory, count):
    """Paths of character devices that stand for GPUs; without the right to mknod, existing ones (4
    at most)."""
    paths = [directory / f"nvidia{i}" for i in range(count)]
    try:
        for path in paths:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        paths = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random"][:count]
    return paths


def _reap(conf):
    """Kill whatever runs with this SLURM_CONF: e.g. a slurmstepd that lost munged retries for
    ever."""
    mark = f"SLURM_CONF={conf}".encode()
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(proc.name) != os.getpid() and mark in (proc / "environ").read_bytes().split(
                b"\0"
            ):
                os.kill(int(proc.name), signal.SIGKILL)


@contextlib.contextmanager
def slurm_cluster(directory, cpus=4, gpus=2, memory_mb=4000, nodes=1):
    """Start a cluster whose every file lies in `directory`; stop it at the end. cpus, gpus and
    memory are those of each node."""
    c = Cluster(Path(directory), size=nodes)
    sock = c.dir / "munge/sock"
    if len(str(sock)) > 100:
        raise ValueError(f"{sock}: too long for a Unix socket; use a shorter directory")
    for name in ("munge", "state", "spool", "log"):
        (c.dir / name).mkdir(parents=True)
    (c.dir / "munge").chmod(0o700)
    key = c.dir / "munge/key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    ctld_port, *ports = _free_ports(1 + nodes)
    c.conf.write_text(
        SLURM_CONF.format(
            host=c.host,
            user=USER,
            dir=c.dir,
            ctld_port=ctld_port,
            listen=_listen_option(c.host),
            names=",".join(c.nodes),
            nodes="\n".join(
                NODE.format(
                    name=name,
                    host=c.host,
                    port=port,
                    cpus=cpus,
                    gpus=gpus,
                    memory_mb=memory_mb,
                )
                for name, port in zip(c.nodes, ports, strict=True)
            ),
        )
    )
    (c.dir / "gres.conf").write_text(
        "".join(
            f"NodeName={name} Name=gpu File={device}\n"
            for device in _make_devices(c.dir, gpus)
            for name in c.nodes
        )
    )
    (c.dir / "cgroup.conf").write_text("CgroupAutomount=no\n")

    daemons, started = [], False
    # The reaper wakes when its standard input closes: at the end of the `with`, or when this
    # process is killed.
    reaper = subprocess.Popen(
        [sys.executable, __file__, "--reap", str(c.conf)], stdin=subprocess.PIPE, process_group=0
    )

    def start(*cmd):
        log = (c.dir / "log" / f"{cmd[0]}.out").open("a")
        with (
            log
        ):  # own process group: Ctrl-C reaches pytest only, which then stops the daemons in order
            daemons.append(
                subprocess.Popen(
                    cmd,
                    env=c.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            )

    try:
        start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={sock}",
            f"--pid-file={c.dir}/munge/pid",
            f"--log-file={c.dir}/log/munged.log",
            f"--seed-file={c.dir}/munge/seed",
        )
        _poll(lambda: sock.exists() or daemons[0].poll() is not None)
        start("slurmctld", "-D", "-f", str(c.conf))
        for name in c.nodes:
            start("slurmd", "-D", "-f", str(c.conf), "-N", name)

        def idle():
            nodes = c.run("sinfo", "-h", "-N", "-p", "debug", "-o", "%t", check=False).split()
            return nodes == ["idle"] * len(c.nodes)

        started = _poll(lambda: any(d.poll() is not None for d in daemons) or idle()) and idle()
        if not started:
            raise RuntimeError(f"the cluster did not start\n{c.logs()}")
        yield c
    finally:
        if started:
            c.clear()
        for daemon in reversed(daemons):  # slurmd, slurmctld, munged last
            daemon.terminate()
            try:
                daemon.wait(patience(60))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        reaper.stdin.close()
        reaper.wait(patience(60))


def _missing():
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [p for p in PROGRAMS if not shutil.which(p, path=path)]


@pytest.fixture(scope="session")
def slurm_for_run(tmp_path_factory):
    """One cluster per test run (per worker under pytest-xdist)."""
    if missing := _missing():
        pytest.skip(
            f"SLURM is not installed: no {', '.join(missing)}"
        )  # a failure in CI, see conftest.py
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_for_run, monkeypatch):
    """The cluster, with the environment set for the clients that the test starts; empty again
    afterwards."""
    for name in set(os.environ) - set(slurm_for_run.env):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(slurm_for_run.conf))
    yield slurm_for_run
    assert slurm_for_run.clear(), slurm_for_run.logs()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reap"]:
        sys.stdin.buffer.read()
        sys.exit(_reap(sys.argv[2]))
    if absent := _missing():
        sys.exit(
            f"SLURM is not installed: no {', '.join(absent)} (packages slurmctld, slurmd, "
            f"slurm-client, munge)"
        )
    with tempfile.TemporaryDirectory(prefix="slurm-") as scratch, slurm_cluster(scratch) as started:
        sys.exit(subprocess.run(sys.argv[1:] or ["sinfo"], env=started.env).returncode)
