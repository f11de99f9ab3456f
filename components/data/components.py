"""The data stage: bring a table in, check it, split it."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from loopline.components.step import step


@step
def ingest_data(
    uri: str,
    data: Output[Dataset],
    columns: str = "",
    csv: str = "{}",
):
    """Read CSV or Parquet from a path, S3 or HTTPS and write one Parquet file with typed columns.

    Args:
        uri: A file, a folder or a glob: a local path, s3://bucket/key (AWS_* environment), or one https:// address.
            CSV may be compressed (gzip, bzip2, xz, zstd, or a zip with one member).
        data: The table as Parquet. Metadata: rows, columns, digest, source.
        columns: Comma-separated names of the columns to keep, in this order; empty for all.
        csv: JSON that says how CSV is written, where its first lines do not tell or tell it wrong, e.g.
            {"encoding": "cp1252"}. Keys: delimiter (else , ; | or a tab, as found), decimal_point (else as found),
            encoding (else UTF-8, or UTF-16 with its mark), null_values (a list of spellings that mean "missing" in
            every column; an empty field always does, and in columns of numbers, booleans and timestamps so do NA, N/A,
            NaN, NULL, None, ?, - and their like), column_types (from column name to integer, number, boolean, category
            or timestamp, for columns whose type is not to be inferred).
    """
    from loopline.components.data.ingest import ingest

    data.metadata.update(ingest(uri, data.path, columns=columns, csv=csv))


@step
def validate_data(
    data: Input[Dataset],
    valid: Output[Dataset],
    quarantined: Output[Dataset],
    schema_out: Output[Artifact],
    report: Output[HTML],
    target: str = "",
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    min_rows: int = 0,
    duplicates: str = "",
    schema: Input[Artifact] = None,
):
    """Check a table against a schema, or infer the schema from it, and report every rule that is broken.

    Args:
        data: The table to check.
        valid: The rows that keep every rule. Metadata: rows, digest.
        quarantined: The rows that break a rule, empty unless on_error is quarantine. Metadata: rows, digest.
        schema_out: The schema the rows were checked against, as JSON.
        report: What was checked, what broke and what each column looks like.
        target: The column to predict. When a schema is inferred, it must be there, vary and be complete.
        task: binary, multiclass, regression, or auto to go by the target.
        expectations: JSON that tightens the schema by column, e.g. {"distance": {"minimum": 0, "nullable": false}}.
            Keys: kind, nullable, minimum, maximum, categories.
        on_error: fail (any broken rule stops the pipeline) or quarantine (rows that break a rule are set aside). A
            missing column, a wrong type or too few rows stop the pipeline in both.
        min_rows: The fewest rows the table may have; 0 for the schema's own limit, or 10 when it is inferred.
        duplicates: allow or forbid rows that occur twice; empty for what the schema says, or allow when inferred.
        schema: A schema that an earlier validate_data wrote; without it the schema is inferred.
    """
    from loopline.components.data.validate import validate

    result = validate(
        data.path,
        valid.path,
        quarantined.path,
        schema_out.path,
        report.path,
        schema_path=schema.path if schema else "",
        target=target,
        task=task,
        expectations=expectations,
        on_error=on_error,
        min_rows=min_rows,
        duplicates=duplicates,
    )
    valid.metadata.update(result.valid)
    quarantined.metadata.update(result.quarantined)


@step
def split_data(
    data: Input[Dataset],
    train: Output[Dataset],
    validation: Output[Dataset],
    test: Output[Dataset],
    method: str = "random",
    column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    seed: int = 0,
):
    """Split a table into training, validation and test rows; the same seed gives the same split.

    random and stratified place a row by a hash of its content: the order of the rows does not matter, and when rows are
    added or dropped the others keep their side, but for the few close to a cut. Up to ten equal rows stay together.

    Args:
        data: The table.
        train: The rows to train on. Metadata of all three: rows, digest.
        validation: The rows to tune on; without rows when validation_size is 0.
        test: The rows to evaluate on.
        method: random; stratified (each class in the same shares); time (train before validation before test, rows of
            one instant together); group (all rows of a group on one side).
        column: The class for stratified, the timestamp for time, the group for group; unused for random.
        test_size: Share of the rows for the test, 0 to 1.
        validation_size: Share of the rows for validation, 0 to 1.
        test_start: For time: an ISO 8601 timestamp; rows from here on are the test, instead of test_size.
        seed: Seed of the hash that places a row (random, stratified) or a group; unused for time.
    """
    from loopline.components.data.split import split_table

    parts = split_table(
        data.path,
        train.path,
        validation.path,
        test.path,
        method=method,
        column=column,
        test_size=test_size,
        validation_size=validation_size,
        test_start=test_start,
        seed=seed,
    )
    for artifact, metadata in zip((train, validation, test), parts, strict=True):
        artifact.metadata.update(metadata)


@step
def extend_data(
    history: Input[Dataset],
    recent: Input[Dataset],
    data: Output[Dataset],
    target: str,
    time_column: str = "",
    test_share: float = 0.3,
) -> str:
    """Write the data a model was trained on with the labeled traffic since after it, to train on both.

    Args:
        history: The data the model was trained on, as ingest_data wrote them.
        recent: The traffic with its truth, as collect_traffic wrote it; rows without truth are left out, and so are
            the few with a value that the history's types have no place for.
        data: The columns that both have, in the history's types, and loopline_time, which says when a row was.
            Metadata: rows, added, left_out, odd, digest.
        target: The column to predict.
        time_column: The history's column of timestamps; when empty, all of the history is older than the traffic.
        test_share: Share of the labeled traffic, the newest, to judge a new model on.

    Returns:
        The instant from which on rows are to be judged on, ISO 8601: test_start of split_data.

    Raises:
        InputError: Nothing in the traffic has truth, or the tables do not fit each other.
    """
    from loopline.components.data.extend import extend
    from loopline.components.data.tables import file_digest

    extended = extend(history.path, recent.path, data.path, target, time_column, test_share)
    data.metadata.update(
        rows=extended.rows, added=extended.added, left_out=extended.left_out, odd=extended.odd,
        digest=file_digest(data.path),
    )  # fmt: skip
    return extended.test_start
