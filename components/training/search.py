"""What Optuna decides in a sweep: which parameters come next, and which trials are not worth going on with.

Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019; parameters are drawn by the
tree-structured Parzen estimator of Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from loopline.components.evaluation.metrics import Metric
from loopline.components.training.space import Space
from loopline.components.training.study import COMPLETE, PRUNED, RUNNING, Trial

if TYPE_CHECKING:
    import optuna

#: Trials that must have ended before any is pruned.
_PRUNE_AFTER = 4
#: How often at most a trial is looked at, over all its rounds.
CHECKPOINTS = 20


def draw(space: Space, trials: Iterable[Trial], place: int, seed: int, metric: Metric) -> dict:
    """Choose the parameters of a trial.

    Args:
        space: What the sweep tries.
        trials: The trials so far, those that run included: no two draw alike.
        place: Which trial this is.
        seed: The random seed of the sweep.
        metric: What the trials are compared by.

    Returns:
        Its parameters.
    """
    if space.sets:
        return dict(space.sets[place])
    from optuna.samplers import TPESampler

    with _quiet():
        sampler = TPESampler(
            seed=seed * 100_003 + place, n_startup_trials=min(10, space.count // 2), constant_liar=True
        )
        study = as_optuna(space, trials, metric, sampler)
        drawn = study.ask(space.distributions()).params
    return drawn | (space.fixed or {})


def is_hopeless(curve: Mapping[int, float], trials: Iterable[Trial], rounds: int) -> bool:
    """Say whether a trial should be given up: its best loss so far is above the median of the others at that round.

    The first third of the rounds is left alone: with a low learning rate a trial begins behind and often ends ahead. A
    curve that ended early stands for its best loss from there on, as the model it gave does; without it the trials that
    learn fastest would not count.

    Args:
        curve: The trial's best loss so far by boosting round.
        trials: The trials of the sweep.
        rounds: The most boosting rounds.
    """
    now = max(curve)
    if now < rounds // 3:
        return False
    import optuna

    with _quiet():
        study = optuna.create_study(direction="minimize")
        for trial in trials:
            if trial.state == COMPLETE and trial.curve:
                reached = {step: loss for step, loss in trial.curve.items() if step <= now}
                study.add_trial(_frozen(COMPLETE, value=0.0, intermediate_values={now: min(reached.values())}))
        own = _frozen(RUNNING, intermediate_values={now: min(curve.values())})
        return optuna.pruners.MedianPruner(n_startup_trials=_PRUNE_AFTER).prune(study, own)


def as_optuna(
    space: Space,
    trials: Iterable[Trial],
    metric: Metric,
    sampler: "optuna.samplers.BaseSampler | None" = None,
) -> "optuna.Study":
    """Return trials as a study of Optuna in memory: to draw from, and for all that Optuna offers to look at one.

    Args:
        space: What the sweep tries.
        trials: Its trials.
        metric: What the trials are compared by.
        sampler: What draws from it.
    """
    import optuna

    study = optuna.create_study(direction="minimize" if metric.lower_is_better else "maximize", sampler=sampler)
    distributions, sign = space.distributions(), 1 if metric.lower_is_better else -1
    for trial in trials:
        params = {name: trial.params[name] for name in distributions if name in trial.params}
        if trial.state == RUNNING and not params:
            continue  # its parameters are being drawn
        study.add_trial(
            _frozen(
                trial.state,
                value=trial.scores.get(metric.name),
                params=params,
                distributions={name: distributions[name] for name in params},
                # Curves are of a loss, whatever the metric.
                intermediate_values={step: sign * value for step, value in trial.curve.items()},
                user_attrs={"run_id": trial.run_id},
            )
        )
    return study


def _frozen(state: str, **values) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial

    states = {RUNNING: TrialState.RUNNING, COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
    return create_trial(state=states[state], **values)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling of each study that there is one, and of what is experimental in it."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
