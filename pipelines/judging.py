"""The end of every training pipeline: evaluate, compare with the champion, register and promote if better."""

from dataclasses import dataclass

from kfp import dsl

from loopline.components import (
    compare_models,
    evaluate_model,
    load_model,
    promote_model,
    register_model,
    write_model_card,
)
from loopline.pipelines.settings import configure


@dataclass(frozen=True)
class Stated:
    """What people say of a model, for its card: parameters of the pipeline.

    Attributes:
        data_uri: Where the data came from.
        intended_use: What the model is for.
        limits: What it is not for.
    """

    data_uri: str
    intended_use: str
    limits: str


@dataclass(frozen=True)
class Judged:
    """Outputs of the steps that judged a model.

    Attributes:
        version: The registered version.
        verdict: ``promote`` or ``keep``.
        report: The evaluation report.
    """

    version: dsl.pipeline_channel.PipelineParameterChannel
    verdict: dsl.pipeline_channel.PipelineParameterChannel
    report: dsl.pipeline_channel.PipelineArtifactChannel


def judge_and_register(model, test, name, slices, metric, margin, seed, stated: Stated, champion=None) -> Judged:
    """Add the steps that judge a model on test rows and keep it in the registry.

    Args:
        model: The challenger's model directory.
        test: The test rows.
        name: The name to register under.
        slices: Columns to report by.
        metric: What champion and challenger are compared by.
        margin: How much better the challenger must be.
        seed: The random seed of the bootstraps.
        stated: What people say of the model.
        champion: The load_model task of the champion; one is added when None.

    Returns:
        The outputs later steps need.
    """
    evaluated = evaluate_model(model=model, test=test, slices=slices, seed=seed)
    configure(evaluated, "Evaluate model", memory="4Gi")
    if champion is None:
        champion = load_model(name=name, alias="champion", missing="absent")
        configure(champion, "Load champion", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    compared = compare_models(
        challenger=model, champion=champion.outputs["model"], test=test, metric=metric, margin=margin, seed=seed
    )
    configure(compared, "Compare with champion", memory="4Gi")
    registered = register_model(
        model=model, metrics=evaluated.outputs["metrics"], report=evaluated.outputs["report"], name=name,
        pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    )  # fmt: skip
    configure(registered, "Register model", outside=True, secret=("loopline-mlflow", "loopline-s3")).after(compared)
    described = write_model_card(
        model=model, name=name, version=registered.output, data_uri=stated.data_uri,
        intended_use=stated.intended_use, limits=stated.limits,
        metrics=evaluated.outputs["metrics"], verdict=compared.outputs["verdict"],
    )  # fmt: skip
    configure(described, "Write model card", outside=True, secret=("loopline-mlflow", "loopline-s3"))
    with dsl.If(compared.outputs["Output"] == "promote", name="better-than-champion"):
        promoted = promote_model(name=name, version=registered.output, compared_with=champion.outputs["found_version"])
        configure(promoted, "Promote to champion", outside=True, secret="loopline-mlflow")
    return Judged(registered.output, compared.outputs["Output"], evaluated.outputs["report"])
