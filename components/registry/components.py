"""Components of the registry stage: keep models as versions in MLflow and fetch them again."""

from kfp.dsl import HTML, Artifact, Input, Markdown, Metrics, Model, Output, OutputPath

from loopline.components.step import step


@step
def register_model(
    model: Input[Model],
    metrics: Input[Metrics],
    report: Input[HTML],
    name: str,
    experiment: str = "",
    pipeline_run: str = "",
) -> int:
    """Register a model in MLflow as the challenger: a run with parameters, metrics and report, and a model version.

    The same model under the same name is registered once. Where MLflow is, and with which credentials, comes from the
    environment: MLFLOW_TRACKING_URI and its companions; on a laptop without it, SQLite under LOOPLINE_HOME.

    Args:
        model: The model directory.
        metrics: What evaluate_model measured.
        report: What evaluate_model reported.
        name: The name to register the model under.
        experiment: The MLflow experiment, unless MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME or MLFLOW_RUN_ID name
            one; the model's name when empty.
        pipeline_run: The pipeline run to note with the version; empty when unknown.

    Returns:
        The version that holds this model, from 1.

    Raises:
        InputError: An input cannot be used, or MLflow cannot be reached or refuses.
    """
    from loopline.components.registry.register import register

    return register(model.path, metrics.path, report.path, name, experiment, pipeline_run)


@step
def write_model_card(
    model: Input[Model],
    metrics: Input[Metrics],
    verdict: Input[Artifact],
    card: Output[HTML],
    card_text: Output[Markdown],
    name: str,
    version: int,
    data_uri: str = "",
    intended_use: str = "",
    limits: str = "",
):
    """Write the model card of a registered version from what was measured, and keep it with the version in MLflow.

    Data, intended use, metrics with intervals, slices, calibration, comparison with the champion, limits, drift
    thresholds, licenses, digests. Use and limits that are not given are taken from the card of the champion.

    Args:
        model: The model directory of the version.
        metrics: What evaluate_model measured.
        verdict: What compare_models decided.
        card: The card as a page.
        card_text: The card as Markdown.
        name: The registered model.
        version: The version, what register_model returned.
        data_uri: Where the data came from; logins and signatures in it are left out.
        intended_use: What the model is for, in words.
        limits: What it is not for and where it is known to fail, in words.

    Raises:
        InputError: There is no such version, it holds another model, an input cannot be used, or MLflow cannot be
            reached or refuses.
    """
    from loopline.components.registry.model_card import Sources, write_card

    sources = Sources(metrics.path, verdict.path, data_uri, intended_use, limits)
    write_card(model.path, name, version, card.path, card_text.path, sources)


@step
def update_model_card(
    model: Input[Model], card: Output[HTML], card_text: Output[Markdown], name: str, version: int, image: str
):
    """Write the model card of a version anew, with the image that was delivered and who approved it.

    The rest is as in the card that is there. Image and approvals stand in the version's tags, too.

    Args:
        model: The model directory of the version.
        card: The card as a page.
        card_text: The card as Markdown.
        name: The registered model.
        version: The version.
        image: Its image by digest, what test_model_image returned.

    Raises:
        InputError: There is no such version, the image holds another model or may not be promoted, or MLflow cannot be
            reached or refuses.
    """
    from loopline.components.registry.model_card import Sources, write_card

    write_card(model.path, name, version, card.path, card_text.path, Sources(image=image))


@step
def promote_model(name: str, version: int, compared_with: int = -1, verdict: str = "promote") -> int:
    """Make a version of a registered model the champion; the champion before it becomes the alias previous.

    A champion that another run promoted since the comparison stays.

    Args:
        name: The registered model.
        version: The version to promote.
        compared_with: The champion it was compared with, found_version of load_model, 0 when there was none; -1 to
            promote whatever is the champion now.
        verdict: What compare_models returned: promote, or keep to leave the champion as it is. For engines without
            conditions; a pipeline of KFP's need not run the step.

    Returns:
        The version that was the champion before, 0 when there was none; the champion itself when it stays.

    Raises:
        InputError: There is no such version or verdict, or MLflow cannot be reached or refuses.
    """
    from loopline.components.registry.versions import promote

    return promote(name, version, compared_with, verdict)


@step
def load_model(
    model: Output[Model],
    found_version: OutputPath(int),
    found_run: OutputPath(str),
    found_metrics: OutputPath(str),
    name: str,
    alias: str = "champion",
    version: int = 0,
    missing: str = "fail",
) -> str:
    """Fetch a registered model as a model directory and check that it is what was registered.

    Args:
        model: The model directory; its metadata gives name, version and digest.
        found_version: The version that was fetched, 0 when there is none.
        found_run: The MLflow run that registered it, empty when there is none.
        found_metrics: What was measured when it was registered, as JSON: a number by name; {} when unknown.
        name: The registered model.
        alias: Which version: champion, challenger, previous or any other alias.
        version: The version, instead of the alias; 0 to go by the alias.
        missing: What to do when there is none: fail, or absent to write a directory that says so.

    Returns:
        found or absent.

    Raises:
        InputError: There is no such version, its files were changed, or MLflow cannot be reached or refuses.
    """
    import json

    from loopline.components.registry.fetch import fetch

    fetched = fetch(model.path, name, alias, version, missing)
    model.metadata.update(name=name, version=fetched.version, digest=fetched.digest)
    metrics = json.dumps(fetched.metrics, separators=(",", ":"))
    for path, value in ((found_version, fetched.version), (found_run, fetched.run), (found_metrics, metrics)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(value))
    return "found" if fetched.version else "absent"


@step
def annotate_model(decision: Input[Artifact], name: str, version: int = 0, values: str = "{}") -> int:
    """Note at a version of a registered model what monitoring decided: tags loopline.monitoring.<key>.

    Args:
        decision: What decide_retraining wrote.
        name: The registered model.
        version: The version; 0 for the champion.
        values: Further tags as a JSON object of text.

    Returns:
        The version that was annotated.

    Raises:
        InputError: There is no such version, an input cannot be used, or MLflow cannot be reached or refuses.
    """
    from loopline.components.parameters import parse_object
    from loopline.components.registry.annotate import annotate, read_decision

    further = parse_object(values, "values", '{"ticket": "OPS-17"}')
    return annotate(name, version, {**further, **read_decision(decision.path)})
