"""The command line of each process of Leukoscope, the same under the supervisor and in a container.

``python -m webapp.processes NAME`` becomes that process: web, analysis, upkeep or beat.
"""

from __future__ import annotations

import os
import sys

from webapp.env import Env, EnvironmentProblem

# Workers find their work through the broker; the chatter between them would only slow their start.
_QUIET_WORKER = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def analysis_workers(env: Env) -> int:
    """Return how many analysis workers run beside each other (``LEUKOSCOPE_ANALYSIS_WORKERS``).

    Two processes of one thread analyse more images a second than one of two, so: one a core, at most two
    unless asked.
    """
    return env.integer("LEUKOSCOPE_ANALYSIS_WORKERS", min(cores(), 2), minimum=1, maximum=64)


def training_workers(env: Env) -> int:
    """Return how many training workers run beside each other (``LEUKOSCOPE_TRAINING_WORKERS``); 0 for none.

    Each runs trials of a shared search, judges new model versions and runs shadows, all at a low priority.
    """
    return env.integer("LEUKOSCOPE_TRAINING_WORKERS", 1, minimum=0, maximum=64)


def web_command(env: Env, bind: str) -> list[str]:
    """Return gunicorn's command line, listening at ``bind`` (``host:port`` or ``fd://N``).

    Sync workers: the fastest here for pages that ask a database, and a crash takes one request with it. A
    proxy in front should buffer slow clients.
    """
    workers = env.integer("LEUKOSCOPE_WEB_WORKERS", min(cores() + 1, 5), minimum=1, maximum=64)
    return [
        *(sys.executable, "-m", "gunicorn", "webapp.wsgi:application"),
        *("--bind", bind, "--worker-class", "sync", "--workers", str(workers), "--preload"),
        *(
            "--timeout",
            "120",
            "--graceful-timeout",
            "10",
            "--max-requests",
            "5000",
            "--max-requests-jitter",
            "500",
        ),
        *("--no-control-socket", "--log-level", "info"),
    ]


def worker_command(queue: str, number: int = 1) -> list[str]:
    """Return the command line of one Celery worker for ``queue``.

    The solo pool works in the process that was started: nothing forks after a model's runtime was loaded
    (TensorFlow hangs in a forked child), and the memory of one model is the memory of one process.
    """
    return [
        *(
            sys.executable,
            "-m",
            "celery",
            "-A",
            "webapp.celery",
            "worker",
            "--pool",
            "solo",
            "--queues",
            queue,
        ),
        *("--hostname", f"{queue}-{number}@%h", "--loglevel", "INFO", *_QUIET_WORKER),
    ]


def beat_command() -> list[str]:
    """Return the command line of the clock that sends scheduled tasks; it stores no state."""
    return [
        *(sys.executable, "-m", "celery", "-A", "webapp.celery", "beat"),
        *("--scheduler", "celery.beat:Scheduler", "--pidfile=", "--loglevel", "INFO"),
    ]


def command(name: str, env: Env) -> list[str]:
    """Return the command line of the process ``name``; raises EnvironmentProblem for an unknown one."""
    if name == "web":
        port = env.integer("PORT", 8000, minimum=1, maximum=65535)
        host = env.text("HOST", "0.0.0.0")
        return web_command(env, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if name in {"analysis", "upkeep", "training"}:
        return worker_command(name)
    if name == "beat":
        return beat_command()
    raise EnvironmentProblem(f"There is no process called {name!r}: web, analysis, training, upkeep or beat.")


def main() -> None:
    """Replace this process by the one named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Say which process: python -m webapp.processes web|analysis|training|upkeep|beat")
    try:
        line = command(sys.argv[1], Env())
    except EnvironmentProblem as problem:
        raise SystemExit(str(problem)) from None
    os.execv(line[0], line)


if __name__ == "__main__":
    main()
