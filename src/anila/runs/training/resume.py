"""Resuming the run in a folder, or starting one: only with the same settings and data, or not at all."""

import platform
import re
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anila.messages import Say
from anila.runs.experiment import Experiment
from anila.runs.experiment.changes import CHOICES
from anila.runs.experiment.overrides import GROUPS
from anila.runs.folder import checkpoint
from anila.runs.folder.contents import describes_a_run, foreign
from anila.runs.folder.run import BACK, Run, RunError
from anila.runs.model.trained import CHANGEABLE, Trained, config_of
from anila.runs.training.guard import Guard, guard_of


def refuse_other_folders(run: Run, say: Say) -> None:
    """Never mix a run with other files; a run that a dead process was overwriting is put back first.

    Raises:
        RunError: If the folder is a file, has an impossible name, or holds something that is not a run.
    """
    try:
        is_there = run.path.exists()
    except OSError as error:
        raise RunError(f"--run {run.path}: {error.strerror}") from None
    if is_there and not run.path.is_dir():
        raise RunError(f"{run.path.absolute()} is a file; --run takes a folder")
    if run.settle():
        say(BACK)
    if why := not_a_run(run):
        raise RunError(f"{run.path.absolute()} {why}; choose a new or empty folder for --run")


def as_begun(run: Run, config: Experiment) -> Experiment:
    """The settings, with those that the version that began the run did not know as they were then."""
    saved = run.config()
    if saved is None or not describes_a_run(saved):
        return config
    then, now = asdict(config_of(run)), asdict(config)
    groups = [g for g in GROUPS if g not in CHOICES or then[g]["name"] == now[g]["name"]]
    new = {g: {k: v for k, v in then[g].items() if k not in saved["experiment"].get(g, {})} for g in groups}
    return config.changed(**new)


def not_a_run(run: Run) -> str | None:
    """Why an existing folder can be neither resumed nor overwritten; None if it can."""
    config = run.config()
    if config is not None:
        return None if describes_a_run(config) else "is not a run: its config.json does not hold a run's settings"
    others = [name for name in foreign(run.path) if not Path(name).name.startswith(".")]
    return f"holds {others[0]!r} and is not a run" if others else None


def resume(run: Run, trained: Trained, record: dict[str, Any], say: Say) -> Guard:
    """Restore the newest sound checkpoint of the run, or record a new run.

    Returns:
        The guard of that time.

    Raises:
        RunError: If the run was made with other settings or data, or no checkpoint of it is sound.
    """
    saved, guard, ranks = run.config(), guard_of(trained), trained.learner.ranks
    here = {name: version(name) for name in ("anila", "torch")}
    here |= {"python": platform.python_version(), "device": str(trained.device)}
    if saved is not None:
        refuse_other_settings(run, trained.whole, record, saved)
        changed = differences(flat(config_of(run)), flat(trained.whole)) + differences(saved.get("versions", {}), here)
        changed += trained.notices
        path, notices = checkpoint.newest(run.checkpoints, lambda path: restored(trained, path))
        for notice in notices:
            say(notice + (f"; going back to {path.name}" if path else ""))
        if path is None and notices:
            raise RunError(f"{run.path.absolute()} has no sound checkpoint left; start over with --overwrite")
        if path is not None:
            guard = restored(trained, path)
            i, last = trained.learner.iteration, trained.whole.iterations
            say(f"resumed at iteration {i} of {last}")
            if changed:
                say("changed since then: " + "; ".join(changed))
    if len(found := ranks.gather([float(trained.learner.iteration)]).unique()) > 1:
        raise RunError(f"the processes found different checkpoints ({found.tolist()}): do all see the same folder?")
    if not ranks.first:
        return guard
    run.forget_after(trained.learner.iteration)
    for line in run.stats():
        if line["iteration"] > trained.begin:
            run.mark_if_best(line)
    run.write_config(record | {"versions": here})
    return guard


def restored(trained: Trained, path: Path) -> Guard:
    """Restore the model of a checkpoint, and return the guard of that time.

    Raises:
        Damaged: As in `Trained.restore`, or if the guard's part of it is damaged.
    """
    state = trained.restore(path)
    guard = guard_of(trained)
    try:
        guard.load_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise checkpoint.Damaged(f"{path.name}: its guard is damaged: {type(error).__name__}: {error}") from None
    return guard


def refuse_other_settings(run: Run, config: Experiment, record: dict[str, Any], saved: dict[str, Any]) -> None:
    """Refuse settings that differ from those of the run and would change what is computed, showing the differences."""
    old, new = flat(config_of(run)), flat(config)
    last = f"stages.{len(config.stages)}.iterations" if config.stages else "training.iterations"
    longer = last if config.flat[-1].optimizer.decay == "constant" else ""
    differing = differences({k: old[k] for k in old if not is_changeable(k) and k != longer}, new)
    if saved.get("data", {}).get("fingerprint") != record["data"]["fingerprint"] and not differing:
        differing = [f"data: the content of {config.data.name} has changed"]
    if differing:
        raise RunError(
            f"{run.path.absolute()} holds a run with other settings:\n  " + "\n  ".join(differing)
            + "\nrepeat its settings to resume it, choose another --run, or replace it with --overwrite"
            + "".join(f"\n{line}" for line in accepting_code(old, new))
        )  # fmt: skip


def accepting_code(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """How to resume although a file of the user's own code has changed."""
    changed = [key for key in old if key.endswith(".code") and key in new and old[key] != new[key]]
    names = {key: new[key.replace("code", "name")] for key in changed}
    return [f"to continue with {name} as it is now, add {key}={old[key]}" for key, name in names.items()]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`name: before -> now` for entries that both have and that differ."""
    return [f"{name}: {old[name]} -> {new[name]}" for name in new if name in old and old[name] != new[name]]


def is_changeable(key: str) -> bool:
    """Whether a setting, also of a stage, may differ on resume."""
    return re.sub(r"^stages\.\d+\.", "", key) in CHANGEABLE


def flat(config: Experiment) -> dict[str, Any]:
    """{"group.field": value}, and {"stages.NUMBER.group.field": value} if there are stages."""
    found: dict[str, Any] = {"stages": len(config.stages), "training.minutes": config.training.minutes}
    for number, stage in enumerate(config.flat, 1):
        groups = ((group.name, getattr(stage, group.name)) for group in fields(Experiment) if group.name != "stages")
        values = {f"{name}.{f.name}": getattr(group, f.name) for name, group in groups for f in fields(group)}
        if not config.stages:
            return found | values
        found[f"stages.{number}.share"] = config.stages[number - 1].share
        found |= {key: values.pop(key) for key in list(values) if key.startswith(("data.", "network."))}
        found[f"stages.{number}.iterations"] = values.pop("training.iterations")
        found |= {f"stages.{number}.{key}": value for key, value in values.items()}
    return found
