"""All trials of a comparison, several at a time in processes of their own; what is complete is not done again.

A process that is killed leaves its trial where its last checkpoint is, and processes whose parent is killed end by
themselves: the same call again goes on. After Ctrl-C every trial finishes its iteration and is saved.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context

from anila.messages import are, counted
from anila.reports.comparison.plan import Plan, Trial
from anila.reports.comparison.trial import Curve, Stopped, require_same, run_trial
from anila.runs.training.machine import cores
from anila.runs.training.stop import Stop, stop_signals


def race(plan: Plan, jobs: int, say: Callable[[str], None]) -> None:
    """Run every trial that is not complete.

    Args:
        plan: The trials.
        jobs: Processes; 1 runs them one after the other in this one.
        say: Takes a line for the user.

    Raises:
        Stopped: After a signal.
        RunError: If a folder holds another run.
    """
    for trial in plan.trials:
        require_same(trial)
    left = [sharing(trial, jobs) for trial in plan.trials if not Curve(trial).complete]
    whole = len(plan.trials)
    if done := whole - len(left):
        say(f"{done} of {counted(whole, 'run')} {are(done)} complete")
    if jobs == 1:
        for k, trial in enumerate(left, whole - len(left) + 1):
            long = counted(trial.config.iterations, "iteration")
            say(f"run {k} of {whole}: {trial.sampler}, seed {trial.seed}, {long}")
            run_trial(trial, say)
    elif left:
        say(f"{counted(len(left), 'run')}, {jobs} at a time; one line as each ends")
        side_by_side(left, jobs, say)


def sharing(trial: Trial, jobs: int) -> Trial:
    """The trial on its share of the cores."""
    if jobs == 1 or trial.config.training.threads:
        return trial
    threads = max(1, cores() // jobs)
    return trial._replace(config=replace(trial.config, training=replace(trial.config.training, threads=threads)))


def side_by_side(trials: list[Trial], jobs: int, say: Callable[[str], None]) -> None:
    """Trials in so many processes."""
    count, context = min(jobs, len(trials)), get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=end_without, initargs=(os.getpid(),))
    with stop_signals() as stop, pool:
        waiting: set[Future[list[str]]] = {pool.submit(work, trial) for trial in trials}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    for line in future.result():
                        say(line)
                if stop.asked is not None:
                    raise Stopped(stop.asked)
        except BaseException:
            end(pool, stop)
            raise


def end(pool: ProcessPoolExecutor, stop: Stop) -> None:
    """Have every process save its trial and end, and wait for them."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(ProcessLookupError, OSError):
            if stop.asked != signal.SIGINT:
                process.terminate()
    for process in processes:
        process.join()


def end_without(parent: int) -> None:
    """Have this process end where its parent is gone: nobody would take the answer, or hand out more work."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def work(trial: Trial) -> list[str]:
    """One trial, in a process of its own; what there is to say."""
    lines: list[str] = []
    run_trial(trial, lines.append)
    return lines
