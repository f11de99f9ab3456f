"""The data stage: bring a table in, check it, split it, in one piece or in partitions."""

from typing import List

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
def divide_table(uri: str, most: int = 64) -> List[str]:
    """Divide the files of a table into partitions, so that they can be prepared side by side.

    Args:
        uri: A path, folder or glob, s3://bucket/key with a prefix or glob, or https://; CSV or Parquet.
        most: The most partitions, 1 to 256; with more files than that, a partition has several.

    Returns:
        The name of each partition, in the order of the files.

    Raises:
        InputError: There is no file, or the place cannot be read.
    """
    from loopline.components.data.partitions import divide_table

    return divide_table(uri, most)


@step
def profile_partition(
    uri: str,
    partition: str,
    profile: Output[Artifact],
    columns: str = "",
    csv: str = "{}",
    target: str = "",
    split_method: str = "random",
    split_column: str = "",
):
    """Read a partition of a table once and write what the schema of the whole table depends on.

    Args:
        uri: The table.
        partition: What divide_table returned.
        profile: Types, ranges, categories and counts as JSON: some kilobytes, whatever the size of the partition.
        columns: Comma-separated names of the columns to keep, in this order; empty for all.
        csv: JSON that says how CSV is written; see ingest_data.
        target: The column to predict.
        split_method: How the table is to be split: random, stratified, time or group.
        split_column: The class, timestamp or group to split by.

    Raises:
        InputError: A file of the partition cannot be read, or is unlike the others.
    """
    from loopline.components.data.partition_profile import write_profile

    write_profile(uri, partition, profile.path, columns, csv, target, split_method, split_column)


@step
def merge_profiles(
    profiles: Input[List[Artifact]],
    plan: Output[Artifact],
    schema_out: Output[Artifact],
    uri: str,
    target: str = "",
    csv: str = "{}",
    task: str = "auto",
    expectations: str = "{}",
    on_error: str = "fail",
    split_method: str = "random",
    split_column: str = "",
    test_size: float = 0.2,
    validation_size: float = 0.1,
    test_start: str = "",
    seed: int = 0,
):
    """Merge the profiles of all partitions to the schema that validate_data infers from the whole table.

    Where a column is text in some partitions and numbers in others, the others are read again, here.

    Args:
        profiles: What profile_partition wrote, for every partition of the table, in any order.
        plan: How each partition is to be read, checked and split, for prepare_partition.
        schema_out: The schema as JSON.
        uri: The table.
        target: The column to predict. It must be there, vary and be complete.
        csv: JSON that says how CSV is written; as in profile_partition.
        task: binary, multiclass, regression, or auto to go by the target.
        expectations: JSON that tightens the schema by column; see validate_data.
        on_error: fail or quarantine, when rows break a rule.
        split_method: random, stratified, time or group.
        split_column: The class, timestamp or group to split by.
        test_size: Share of the rows for the test, 0 to 1.
        validation_size: Share of the rows for validation, 0 to 1.
        test_start: For time: an ISO 8601 timestamp; rows from here on are the test, instead of test_size.
        seed: Seed of the hash that places a row or a group.

    Raises:
        InputError: A profile is missing, the partitions do not fit each other, or the table is unfit to train on.
    """
    from loopline.components.data.partition_plan import merge_profiles

    made = merge_profiles(
        [profile.path for profile in profiles], uri, csv,
        target=target, task=task, expectations=expectations, on_error=on_error, split_method=split_method,
        split_column=split_column, test_size=test_size, validation_size=validation_size, test_start=test_start,
        seed=seed,
    )  # fmt: skip
    made.save(plan.path)
    made.schema.save(schema_out.path)


@step
def prepare_partition(plan: Input[Artifact], prepared: Output[Artifact], uri: str, partition: str):
    """Read a partition of a table, check each row and put it on its side, in one pass.

    Args:
        plan: What merge_profiles wrote.
        prepared: A folder with the rows of each side, those that break a rule, and a report, for gather_partitions.
        uri: The table.
        partition: What divide_table returned.

    Raises:
        InputError: A file of the partition cannot be read, or has changed since it was profiled.
    """
    from loopline.components.data.partition_plan import Plan
    from loopline.components.data.partition_rows import prepare_partition
    from loopline.components.data.partitions import find_partition

    prepare_partition(find_partition(uri, partition), Plan.load(plan.path), prepared.path)


@step
def gather_partitions(
    prepared: Input[List[Artifact]],
    plan: Input[Artifact],
    train: Output[Dataset],
    validation: Output[Dataset],
    test: Output[Dataset],
    quarantined: Output[Dataset],
    report: Output[HTML],
):
    """Make the prepared partitions into one table a side, as validate_data and split_data give them of the whole table.

    Each table is a folder of Parquet files, which are linked or copied, not read.

    Args:
        prepared: What prepare_partition wrote, for every partition of the table, in any order.
        plan: What they were prepared by.
        train: The rows to train on. Metadata of all four: rows, digest.
        validation: The rows to tune on; without rows when validation_size is 0.
        test: The rows to evaluate on.
        quarantined: The rows that break a rule, empty unless on_error is quarantine.
        report: What was checked, what broke and what each column looks like.

    Raises:
        InputError: A partition is missing, rows break a rule and on_error is fail, or a side would be empty.
    """
    from loopline.components.data.partition_gather import gather_partitions
    from loopline.components.data.partition_plan import Plan

    tables = {"train": train, "validation": validation, "test": test, "quarantined": quarantined}
    paths = {name: artifact.path for name, artifact in tables.items()}
    written = gather_partitions([part.path for part in prepared], Plan.load(plan.path), paths, report.path)
    for name, artifact in tables.items():
        artifact.metadata.update(written[name])


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
