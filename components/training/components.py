"""The contracts of the training stage."""

from typing import List

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from loopline.components.step import step


@step
def train_xgboost(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    model: Output[Model],
    metrics: Output[Metrics],
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    features: str = "",
    exclude: str = "",
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
):
    """Train gradient-boosted trees with XGBoost (histogram method, native categories), streaming the table.

    Args:
        train: Rows to learn from.
        validation: Rows that early stopping looks at; an empty table trains all rounds.
        schema: The schema that validate_data wrote.
        model: The model directory.
        metrics: Scores on the validation rows, and rounds kept.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        params: XGBoost parameters as a JSON object, e.g. {"max_depth": 6, "learning_rate": 0.1}.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty for equal weights, balanced, or a JSON object from label to weight.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.
        name: What a model server calls the model.
        seed: Random seed; the same input and parameters give the same model digest.
        pipeline_run: The pipeline run, kept as provenance.
    """
    from loopline.components.training.train import train_boosted_trees

    manifest = train_boosted_trees(
        train.path, validation.path, schema.path, model.path, target=target, task=task, params=params, rounds=rounds,
        early_stopping_rounds=early_stopping_rounds, class_weight=class_weight, features=features, exclude=exclude,
        name=name, seed=seed, pipeline_run=pipeline_run,
    )  # fmt: skip
    model.metadata.update(digest=manifest.digest, format=manifest.format, task=manifest.task)
    metrics.log_metric("rounds", manifest.training["best_iteration"])
    for metric, value in manifest.training["validation"].items():
        metrics.log_metric(f"validation_{metric}", value)


@step
def train_distributed(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    model: Output[Model],
    metrics: Output[Metrics],
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    features: str = "",
    exclude: str = "",
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
    workers: int = 2,
    memory: str = "4Gi",
    cpu: str = "2",
    runtime: str = "loopline",
    start_minutes: int = 15,
):
    """Train gradient-boosted trees with XGBoost on several machines, each with a share of the rows.

    The workers are those of a TrainJob of Kubeflow Trainer: pods where artifacts are in S3, processes on a laptop.

    Args:
        train: Rows to learn from.
        validation: Rows that early stopping looks at; an empty table trains all rounds.
        schema: The schema that validate_data wrote.
        model: The model directory, as train_xgboost writes it.
        metrics: Scores on the validation rows, and rounds kept.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        params: XGBoost parameters as a JSON object, e.g. {"max_depth": 6, "learning_rate": 0.1}.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty for equal weights, balanced, or a JSON object from label to weight.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.
        name: What a model server calls the model.
        seed: Random seed; the same input, parameters and workers give the same model digest.
        pipeline_run: The pipeline run, kept as provenance.
        workers: Machines to train on; 1 trains in the step itself.
        memory: Memory of each worker on a cluster, as Kubernetes writes it.
        cpu: CPUs of each worker on a cluster.
        runtime: Training runtime of the cluster; loopline is the one in deploy/openshift/components/training.
        start_minutes: How long the job may wait for its machines.
    """
    from loopline.components.training.distributed.train import train_on_workers

    manifest = train_on_workers(
        train.path, validation.path, schema.path, model.path, train_uri=train.uri, validation_uri=validation.uri,
        model_uri=model.uri, target=target, task=task, params=params, rounds=rounds,
        early_stopping_rounds=early_stopping_rounds, class_weight=class_weight, features=features, exclude=exclude,
        name=name, seed=seed, pipeline_run=pipeline_run, workers=workers, memory=memory, cpu=cpu, runtime=runtime,
        start_minutes=start_minutes,
    )  # fmt: skip
    model.metadata.update(digest=manifest.digest, format=manifest.format, task=manifest.task)
    metrics.log_metric("rounds", manifest.training["best_iteration"])
    for metric, value in manifest.training["validation"].items():
        metrics.log_metric(f"validation_{metric}", value)


@step
def train_sklearn(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    model: Output[Model],
    metrics: Output[Metrics],
    estimator: str = "LogisticRegression",
    target: str = "",
    task: str = "auto",
    params: str = "{}",
    features: str = "",
    exclude: str = "",
    allow_pickle: bool = False,
    name: str = "model",
    seed: int = 0,
    pipeline_run: str = "",
):
    """Train any estimator of scikit-learn by its public name, in a pipeline that imputes, scales and encodes.

    Args:
        train: Rows to learn from; they are read into memory.
        validation: Rows to score the model on; an empty table gives no scores.
        schema: The schema that validate_data wrote.
        model: The model directory.
        metrics: Scores on the validation rows.
        estimator: Public name of a classifier or regressor, e.g. RandomForestClassifier.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        params: The estimator's parameters as a JSON object, e.g. {"n_estimators": 200}.
        features: Comma-separated columns to learn from; all usable ones when empty.
        exclude: Comma-separated columns not to learn from.
        allow_pickle: Write a joblib pickle, the one format MLServer's scikit-learn runtime reads; never load one from
            a source you do not trust.
        name: What a model server calls the model.
        seed: Random seed; the same input and parameters give the same model digest.
        pipeline_run: The pipeline run, kept as provenance.
    """
    from loopline.components.training.train import train_estimator

    manifest = train_estimator(
        train.path, validation.path, schema.path, model.path, estimator=estimator, target=target, task=task,
        params=params, features=features, exclude=exclude, allow_pickle=allow_pickle, name=name, seed=seed,
        pipeline_run=pipeline_run,
    )  # fmt: skip
    model.metadata.update(digest=manifest.digest, format=manifest.format, task=manifest.task)
    for metric, value in manifest.training["validation"].items():
        metrics.log_metric(f"validation_{metric}", value)


@step
def list_trials(parameter_sets: str) -> List[str]:
    """List parameter sets, each checked to be a JSON object, for a pipeline that trains once a set, side by side.

    Args:
        parameter_sets: A JSON list of parameter objects, [{"max_depth": 4}, {"max_depth": 8}], or one object of lists
            whose every combination is a trial, {"max_depth": [4, 8], "learning_rate": [0.05, 0.1]}.

    Returns:
        One JSON object as text for each trial.
    """
    from loopline.components.training.trials import list_parameter_sets

    return list_parameter_sets(parameter_sets)


@step
def plan_sweep(
    name: str,
    parameter_sets: str = "",
    space: str = "",
    trials: int = 20,
    workers: int = 0,
    pipeline_run: str = "",
) -> List[str]:
    """Check what a sweep will try before anything runs, and make the run in MLflow that its trials share.

    Args:
        name: The model's name; the MLflow experiment has it, too, unless the environment names one.
        parameter_sets: What list_trials takes, each set a trial; empty to draw from a space.
        space: JSON by parameter: {"low": 3, "high": 10} with log and step where wanted, a list of choices, or one
            value; XGBoost's main parameters when empty.
        trials: How many trials draw from the space.
        workers: How many steps run the trials side by side; 0 for four on a cluster and two on one machine.
        pipeline_run: The pipeline run: the same again continues its sweep.

    Returns:
        One worker as JSON text for each step.

    Raises:
        InputError: XGBoost refuses a parameter, a number is out of range, or MLflow cannot be reached.
    """
    from loopline.components.training import sweep
    from loopline.components.training.space import read_space

    planned = sweep.plan_sweep(name, read_space(parameter_sets, space, trials), workers, pipeline_run)
    return [worker.write() for worker in planned]


@step
def run_trials(
    train: Input[Dataset],
    validation: Input[Dataset],
    schema: Input[Artifact],
    ran: Output[Artifact],
    worker: str,
    parameter_sets: str = "",
    space: str = "",
    trials: int = 20,
    target: str = "",
    task: str = "auto",
    rounds: int = 300,
    early_stopping_rounds: int = 20,
    class_weight: str = "",
    exclude: str = "",
    metric: str = "",
    prune: bool = True,
    seed: int = 0,
    pipeline_run: str = "",
):
    """Run trials of a sweep with XGBoost until none is left: draw parameters, train, give up on what is hopeless.

    Args:
        train: Rows to learn from.
        validation: Rows that early stopping looks at and trials are compared on.
        schema: The schema that validate_data wrote.
        ran: What this worker did as JSON; the trials themselves are runs in MLflow.
        worker: One of what plan_sweep returned. One that is run again goes on where it stopped.
        parameter_sets: As given to plan_sweep.
        space: As given to plan_sweep.
        trials: As given to plan_sweep.
        target: Column to predict; the schema's own when empty.
        task: binary, multiclass, regression, or auto to go by the target.
        rounds: Most boosting rounds.
        early_stopping_rounds: Stop after so many rounds without gain on the validation rows; 0 never stops.
        class_weight: Empty for equal weights, balanced, or a JSON object from label to weight.
        exclude: Comma-separated columns not to learn from.
        metric: What trials are compared by; log_loss for classes and rmse for numbers when empty.
        prune: Give up on a trial whose loss, from a third of the rounds on, is above the median of those before.
        seed: Random seed of training and of what is drawn.
        pipeline_run: The pipeline run.

    Raises:
        InputError: Something given cannot be used, there are no validation rows, or MLflow cannot be reached.
    """
    from loopline.components.documents import write_document
    from loopline.components.training.run_trials import Rules, run_trials
    from loopline.components.training.space import read_space
    from loopline.components.training.sweep import Worker

    rules = Rules(rounds, early_stopping_rounds, class_weight, metric, prune, seed)
    record = run_trials(
        train.path, validation.path, schema.path, Worker.read(worker), read_space(parameter_sets, space, trials), rules,
        target=target, task=task, exclude=exclude,
    )  # fmt: skip
    ran.metadata.update(record)
    write_document(ran.path, record)


@step
def finish_sweep(ran: Input[List[Artifact]], report: Output[HTML], metric: str = "", pipeline_run: str = "") -> str:
    """Find the best trial of a sweep by its score on the validation rows, and report all of them.

    Args:
        ran: What the workers did.
        report: One page: the trials, their learning curves, what each parameter was worth.
        metric: As given to run_trials.
        pipeline_run: The pipeline run.

    Returns:
        The best trial's parameters as a JSON object, for train_xgboost.

    Raises:
        InputError: No trial came to its end, or MLflow cannot be reached.
    """
    from loopline.components.training.finish_sweep import finish_sweep

    return finish_sweep([one.path for one in ran], report.path, metric)
