"""The sides of the drift benchmark: each reads two Parquet files and says in a few words what moved.

Each runs in the environment of what it measures, so every import is inside a function.
"""


def with_loopline(reference: str, current: list[str]) -> str:
    from loopline.components.data.schema import Column, Schema
    from loopline.components.data.tables import open_parquet
    from loopline.components.monitoring.drift import DriftSettings, judge
    from loopline.components.monitoring.reference_table import reference_of_table
    from loopline.components.monitoring.summary import summarize_traffic

    with open_parquet(reference) as file:
        names = file.schema_arrow.names
    schema = Schema(tuple(Column(name, "category" if name.startswith("text") else "number") for name in names))
    settings = DriftSettings(engine="scipy")
    profile = reference_of_table(reference, schema)
    found = judge(profile, summarize_traffic(current, profile, settings.sample), settings)
    return f"{found.verdict}: {', '.join(one.column.name for one in found.columns if one.drifted) or 'no column'}"


def with_alibi(reference: str, current: list[str], codes: bool) -> str:
    """Ask alibi-detect's TabularDrift, about texts as they are or as integer codes."""
    import numpy as np
    import pyarrow.parquet as pq
    from alibi_detect.cd import TabularDrift

    names = pq.read_schema(reference).names
    texts = [i for i, name in enumerate(names) if name.startswith("text")]

    def matrix(path: str) -> np.ndarray:
        table = pq.read_table(path, columns=names)
        columns = []
        for name in names:
            values = table.column(name)
            if codes and name.startswith("text"):
                # The generator's levels sort alike on both sides.
                values = values.combine_chunks().dictionary_encode()
                order = np.argsort(np.argsort(values.dictionary.to_numpy(zero_copy_only=False)))
                columns.append(order[values.indices.to_numpy()].astype(np.float32))
            else:
                columns.append(values.to_numpy())
        if codes:
            return np.column_stack(columns).astype(np.float32)
        found = np.empty((table.num_rows, len(names)), object)
        for i, values in enumerate(columns):
            found[:, i] = values
        return found

    detector = TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=dict.fromkeys(texts))
    answer = detector.predict(matrix(current[0]))["data"]
    moved = [name for name, p in zip(names, answer["p_val"], strict=True) if p < answer["threshold"]]
    return f"{'drift' if answer['is_drift'] else 'none'}: {', '.join(moved) or 'no column'}"


def with_evidently(reference: str, current: list[str]) -> str:
    """Ask evidently's preset, which counts columns whose distance passes a threshold."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    before, now = _frames(reference, current[0])
    answer = Report([DataDriftPreset()]).run(now, before).dict()
    return f"{int(answer['metrics'][0]['value']['count'])} of {len(before.columns)} columns"


def with_nannyml(reference: str, current: list[str]) -> str:
    """Ask nannyml: Kolmogorov-Smirnov for numbers, chi-squared for texts."""
    import nannyml

    before, now = _frames(reference, current[0])
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(before.columns),
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=1,
    )
    found = calculator.fit(before).calculate(now).filter(period="analysis").to_df()
    alerts = [column for column in found.columns if column[-1] == "alert" and bool(found[column].iloc[0])]
    return f"{len(alerts)} of {len(before.columns)} columns"


def with_whylogs(reference: str, current: list[str]) -> str:
    """Profile both sides with whylogs and compare the profiles: Kolmogorov-Smirnov and chi-squared."""
    import whylogs
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    before, now = (whylogs.log(pandas=frame).view() for frame in _frames(reference, current[0]))
    scores = calculate_drift_scores(target_view=now, reference_view=before, with_thresholds=True)
    moved = [name for name, score in scores.items() if score and score.get("drift_category") == "DRIFT"]
    return f"drift: {', '.join(sorted(moved))}" if moved else "none: no column"


def with_frouros(reference: str, current: list[str]) -> str:
    """Ask frouros column by column: Kolmogorov-Smirnov for numbers, chi-squared for texts, Bonferroni over all."""
    from frouros.detectors.data_drift import ChiSquareTest, KSTest

    before, now = _frames(reference, current[0])
    moved = []
    for name in before.columns:
        detector = ChiSquareTest() if name.startswith("text") else KSTest()
        detector.fit(X=before[name].to_numpy())
        result, _ = detector.compare(X=now[name].to_numpy())
        if result.p_value < 0.05 / len(before.columns):
            moved.append(name)
    return f"drift: {', '.join(moved)}" if moved else "none: no column"


def _frames(reference: str, current: str):
    import pandas as pd

    before = pd.read_parquet(reference)
    return before, pd.read_parquet(current, columns=list(before.columns))
